"""SIGKILL at random points: the index opens, is in a committed state, has every acknowledged commit, and takes writes."""

import random
import time

import pytest
from life import Life
from report import report
from zygote import KILL

ANY = 127
JOBS = ["add", "stream", "replace", "build", "tune"]


def measure(life, job):
    """How long a job takes, and how many operations."""
    started = time.monotonic()
    status, _, errors = life.run(job, fault=[ANY, 1 << 30, KILL, 0, 0])
    assert (status, errors) == (0, [])
    return time.monotonic() - started, life.operations()


def campaign(zygote, folder, jobs, kills, seed=0):
    """Kill ``kills`` times; per job: kills, runs that came to their end before, commits acknowledged."""
    life, rng = Life(zygote, folder), random.Random(seed)
    found = {job: {"killed": 0, "ended": 0, "acknowledged": 0} for job in jobs}
    extent = {}
    killed = 0
    while killed < kills:
        if killed % 40 == 0:
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
    return found


@pytest.mark.parametrize("job", JOBS)
def test_a_kill_leaves_a_committed_state(zygote, tmp_path, job):
    found = campaign(zygote, tmp_path, [job], 4, seed=JOBS.index(job))
    assert found[job]["killed"] == 4


@pytest.mark.campaign
def test_five_hundred_kills(zygote, tmp_path):
    found = campaign(zygote, tmp_path, JOBS, 520, seed=1)
    report("kills", {"killed": sum(one["killed"] for one in found.values()), "by job": found})
