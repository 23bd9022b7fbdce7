"""SIGKILL at random points: the index opens, is in a committed state, has every acknowledged commit, and takes writes."""

import random
import shutil
import time
from pathlib import Path

import pytest
from jobs import outcomes
from model import check, columns
from report import report
from zygote import KILL

from lfm2_retrieval.indexes import CompressedIndex

ANY = 127
JOBS = ["add", "stream", "replace", "build", "tune"]


class Life:
    """An index that is killed again and again, and what it holds."""

    def __init__(self, zygote, folder, seed):
        self.zygote = zygote
        self.folder = folder / "index"
        self.diary = str(folder / "diary")
        self.rng = random.Random(seed)
        self.number = 0
        self.state = []
        self.extent = {}  # of each job, how long it takes and how many operations

    def begin(self):
        """A new index that a build finds something to do in."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.state = [(f"long{i}", i) for i in range(66)]
        with CompressedIndex.create(self.folder, 16) as index:
            index.add(*columns(self.state[:-6]))
            index.build(force=True)
            index.add(*columns(self.state[-6:]))

    def run(self, job, **fate):
        """Run a job once; whether it came to its end."""
        self.number += 1
        request = {
            "job": job,
            "folder": str(self.folder),
            "diary": self.diary,
            "arguments": {"state": self.state, "seed": self.number},
        }
        started = time.monotonic()
        status = self.zygote.run({**request, **fate})[0]
        seconds = time.monotonic() - started
        states, acknowledged, errors = outcomes(self.diary, self.state)
        assert not errors, (job, errors)
        assert status in (0, -9), (job, fate, status)
        with CompressedIndex.open(self.folder) as index:
            self.state = check(index, states)
            probe = [(f"probe{self.number}", self.number % 10)]
            index.add(*columns(probe))
            self.state = check(index, [self.state + probe])
        return status == 0, seconds, acknowledged

    def kill(self, job):
        """Kill a job at a random moment, or at a random operation."""
        if job not in self.extent:
            _, seconds, _ = self.run(job, fault=[ANY, 1 << 30, KILL, 0, 0])
            self.extent[job] = seconds, int(Path(self.diary + ".count").read_text())
            return None
        seconds, operations = self.extent[job]
        if self.rng.random() < 0.5:
            fate = {"kill": self.rng.uniform(0, seconds)}
        else:
            fate = {"fault": [ANY, self.rng.randint(1, operations), KILL, 0, 0]}
        return self.run(job, **fate)


def campaign(zygote, folder, jobs, kills, seed=0):
    """Kill ``kills`` times; per job: kills, runs that came to their end before, commits acknowledged."""
    life = Life(zygote, folder, seed)
    found = {job: {"killed": 0, "ended": 0, "acknowledged": 0} for job in jobs}
    killed = 0
    while killed < kills:
        if killed % 40 == 0:
            life.begin()
        job = jobs[killed % len(jobs)] if life.rng.random() < 0.5 else life.rng.choice(jobs)
        outcome = life.kill(job)
        if outcome is not None:
            ended, _, acknowledged = outcome
            found[job]["ended" if ended else "killed"] += 1
            found[job]["acknowledged"] += acknowledged
            killed += not ended
    return found


@pytest.mark.parametrize("job", JOBS)
def test_a_kill_leaves_a_committed_state(zygote, tmp_path, job):
    found = campaign(zygote, tmp_path, [job], 4, seed=JOBS.index(job))
    assert found[job]["killed"] == 4


@pytest.mark.campaign
def test_five_hundred_kills(zygote, tmp_path):
    found = campaign(zygote, tmp_path, JOBS, 520, seed=1)
    report("kills", {"killed": sum(one["killed"] for one in found.values()), "by job": found})
