"""SIGKILL at random points: the index opens, has every acknowledged commit, no half one, and takes writes."""

import random
import shutil
import time

import pytest
from life import Life
from report import report
from zygote import KILL

from lfm2_retrieval.errors import DamagedIndexError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.recovery.repair import repair

ANY = 127
JOBS = ["add", "stream", "replace", "delete", "update", "transaction", "build", "merge", "tune", "backup"]


def measure(life, job):
    """How long a job takes, and how many operations."""
    started = time.monotonic()
    status, _, errors = life.run(job, fault=[ANY, 1 << 30, KILL, 0, 0])
    assert (status, errors) == (0, [])
    return time.monotonic() - started, life.operations()


def campaign(zygote, folder, jobs, kills, seed=0, told=lambda found: None):
    """Kill ``kills`` times; per job: kills, runs that came to their end before, commits acknowledged."""
    life, rng = Life(zygote, folder), random.Random(seed)
    found = {job: {"killed": 0, "ended": 0, "acknowledged": 0} for job in jobs}
    extent = {}
    killed = 0
    while killed < kills:
        if killed % 40 == 0 or len(life.state) < 8:
            life.begin()
        job = rng.choice(jobs)
        if job not in extent:
            extent[job] = measure(life, job)
        seconds, operations = extent[job]
        if rng.random() < 0.5:
            fate = {"kill": rng.uniform(0, seconds)}
        else:
            fate = {"fault": [ANY, rng.randint(1, operations), KILL, 0, 0]}
        status, acknowledged, errors = life.run(job, **fate)
        assert status in (0, -9), (job, fate, status)
        assert not errors, (job, fate, errors)
        found[job]["ended" if status == 0 else "killed"] += 1
        found[job]["acknowledged"] += acknowledged
        killed += status != 0
        if killed % 50 == 0:
            told(found)
    return found


@pytest.mark.parametrize("job", JOBS)
def test_a_kill_leaves_a_committed_state(zygote, tmp_path, job):
    found = campaign(zygote, tmp_path, [job], 2, seed=JOBS.index(job))
    assert found[job]["killed"] == 2


def kill_repairs(zygote, folder, step):
    """Kill a repair at every ``step``th operation: the damaged index is as it was, or all is repaired."""
    life = Life(zygote, folder)
    life.begin()
    path = min(life.folder.glob("segments/*/vectors.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    damaged = folder / "damaged"
    life.folder.rename(damaged)
    kills, at = 0, 1
    while True:
        place = folder / f"try{at}"
        place.mkdir()
        index = place / "index"
        shutil.copytree(damaged, index)
        request = {"job": "mend", "folder": str(place), "diary": life.diary, "fault": [ANY, at, KILL, 0, 0]}
        request["arguments"] = {"index": str(index)}
        (status,) = zygote.run(request)
        if (place / "index.damaged").exists():
            assert index.exists() or (place / "index.repaired").exists()
        else:
            with Index.open(index) as opened, pytest.raises(DamagedIndexError):
                opened.verify()
        repair(index)
        with Index.open(index) as opened:
            opened.verify()
            assert sorted(opened.ids()) == sorted(id for id, _ in life.state)
        shutil.rmtree(place)
        if status == 0:
            return kills
        kills, at = kills + 1, at + step


def test_a_kill_leaves_an_index_that_can_be_repaired(zygote, tmp_path):
    assert kill_repairs(zygote, tmp_path, 40) > 1


@pytest.mark.campaign
def test_kills_of_a_repair(zygote, tmp_path):
    report("kills-repair", {"killed": kill_repairs(zygote, tmp_path, 4)})


@pytest.mark.campaign
def test_five_hundred_kills(zygote, tmp_path):
    def told(found):
        report("kills", {"killed": sum(one["killed"] for one in found.values()), "by job": found})

    told(campaign(zygote, tmp_path, JOBS, 520, 1, told))
