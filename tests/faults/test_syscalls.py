"""System calls that fail below Python and SQLite: our error, the last commit intact, and it goes on."""

import errno
import random

import pytest
from life import Life
from report import EVERY, report
from zygote import CREATE, FAIL, MAKE, REMOVE, RENAME, SHORT, SYNC, TRUNCATE, WRITE

from lfm2_retrieval import errors as library

JOBS = [
    "add",
    "add_again",
    "stream",
    "replace",
    "delete",
    "update",
    "transaction",
    "build",
    "merge",
    "backup",
]
FAULTS = {
    "disk full": (CREATE | MAKE | WRITE, FAIL, errno.ENOSPC, 0),
    "disk full for good": (CREATE | MAKE | WRITE, FAIL, errno.ENOSPC, 1),
    "write error": (WRITE, FAIL, errno.EIO, 0),
    "short write": (WRITE, SHORT, errno.ENOSPC, 0),
    "short write, then full": (WRITE, SHORT, errno.ENOSPC, 1),
    "sync error": (SYNC, FAIL, errno.EIO, 0),
    "rename error": (RENAME, FAIL, errno.EIO, 0),
    "truncation error": (TRUNCATE, FAIL, errno.EIO, 0),
    "removal error": (REMOVE, FAIL, errno.EIO, 0),
    "removal error for good": (REMOVE, FAIL, errno.EPERM, 1),
    "quota": (CREATE | MAKE | WRITE | RENAME, FAIL, errno.EDQUOT, 1),
    "read-only": (CREATE | MAKE | WRITE | RENAME | TRUNCATE, FAIL, errno.EROFS, 1),
}
MOST = 1 << 30
FEW = 50
"""So many steps are all taken."""


def known(error):
    """Whether it is one of the library's errors, or what an interrupted one turned into."""
    name = error.split(":")[0]
    return issubclass(getattr(library, name, Exception), library.StoredIndexError)


def strike(life, job, fault, at):
    """Run a job of which one operation fails; whether it did."""
    ops, what, number, for_ever = FAULTS[fault]
    status, _, errors = life.run(job, fault=[ops, at, what, number, for_ever])
    assert status == 0, (job, fault, at, status)
    assert all(known(error) for error in errors), (job, fault, at, errors)
    return bool(errors)


def measure(life, job, fault):
    """How many operations of a job, on a new index, can meet a fault."""
    life.begin()
    ops = FAULTS[fault][0]
    status, _, errors = life.run(job, fault=[ops, MOST, FAIL, errno.EIO, 0])
    assert (status, errors) == (0, [])
    return life.operations()


@pytest.mark.parametrize("job", JOBS)
def test_a_failing_call_leaves_the_last_commit(zygote, tmp_path, job):
    life, rng = Life(zygote, tmp_path), random.Random(job)
    for fault in rng.sample(list(FAULTS), 2):
        strike(life, job, fault, rng.randint(1, measure(life, job, fault)))


@pytest.mark.campaign
@pytest.mark.parametrize("job", JOBS)
def test_every_call_fails(zygote, tmp_path, job):
    """Each step of a job on a new index; if one in so many is taken, then others for each fault."""
    life, found = Life(zygote, tmp_path), {}
    for number, fault in enumerate(FAULTS):
        steps = range(1, measure(life, job, fault) + 1)
        chosen = steps if len(steps) <= FEW else steps[number % EVERY :: EVERY]
        met = 0
        for at in chosen:
            life.begin()
            met += strike(life, job, fault, at)
        found[fault] = {"steps": len(steps), "struck": len(chosen), "errors": met}
    struck = sum(one["struck"] for one in found.values())
    report(f"syscalls-{job}", {"one in": EVERY, "struck": struck, "by fault": found})
