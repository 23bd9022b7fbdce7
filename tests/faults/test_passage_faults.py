"""Documents and their passages, killed, starved, and written by two at once: all of a commit, or nothing."""

import errno
import random
import shutil
from pathlib import Path

import pytest
from jobs import outcomes
from whole import check, make
from zygote import CREATE, FAIL, KILL, MAKE, SYNC, WRITE

ANY = 127
STATE = [(f"d{number}", number % 6) for number in range(8)]


class Documents:
    """An index of passages to which things happen."""

    def __init__(self, zygote, folder):
        self._zygote = zygote
        self._fresh = folder / "fresh"
        make(self._fresh, STATE)
        self.folder = folder / "place/index"
        self.diary = str(folder / "diary")
        self.begin()

    def begin(self):
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        shutil.copytree(self._fresh, self.folder)
        self.state = sorted(STATE)

    def request(self, seed, diary=None, **fate):
        arguments = {"state": self.state, "seed": seed}
        base = {"job": "put_documents", "folder": str(self.folder), "diary": diary or self.diary}
        return {**base, "arguments": arguments, "watch": str(self.folder.parent), **fate}

    def run(self, seed, **fate):
        """Run a job; the index is in a state that it committed, or began to. Its exit status and errors."""
        (status,) = self._zygote.run(self.request(seed, **fate))
        states, _, errors = outcomes(self.diary, self.state)
        found = check(self.folder)
        assert found in [sorted(map(tuple, state)) for state in states]
        self.state = found
        return status, errors

    def operations(self):
        """How many operations the job takes, on a new index."""
        status, errors = self.run(0, fault=[ANY, 1 << 30, KILL, 0, 0])
        assert (status, errors) == (0, [])
        count = int(Path(self.diary + ".count").read_text("ascii"))
        self.begin()
        return count


@pytest.fixture
def documents(zygote, tmp_path):
    return Documents(zygote, tmp_path)


def kill(documents, times, seed):
    dice, operations = random.Random(seed), documents.operations()
    for turn in range(times):
        status, errors = documents.run(turn, fault=[ANY, dice.randint(1, operations), KILL, 0, 0])
        assert (status, errors) in ((0, []), (-9, []))
        if turn % 20 == 19:
            documents.begin()


def test_killed_in_the_middle_of_commits(documents):
    kill(documents, 3, seed=1)


def starve(documents, times, seed):
    dice, operations = random.Random(seed), documents.operations()
    for turn in range(times):
        kind, number = dice.choice(
            [(CREATE | MAKE | WRITE, errno.ENOSPC), (WRITE, errno.EIO), (SYNC, errno.EIO)]
        )
        status, errors = documents.run(turn, fault=[kind, dice.randint(1, operations // 3), FAIL, number, 1])
        assert status == 0
        assert all(error.split(":")[0].startswith("Index") for error in errors), errors
        if turn % 20 == 19:
            documents.begin()


def test_a_disk_that_is_full_or_broken(documents):
    starve(documents, 3, seed=2)


def at_once(documents, zygote, folder, dice, fate):
    """Two writers at a time, of other documents each; one may be killed."""
    diaries = [str(folder / name) for name in ("one", "two")]
    requests = [documents.request(f"{dice.random()}", diary) for diary in diaries]
    requests[0].update(fate)
    statuses = zygote.run(*requests)
    assert statuses[1] == 0
    found = set(check(documents.folder))
    states = [outcomes(diary, documents.state) for diary in diaries]
    assert states[1][2] == []
    (certain,) = states[1][0]
    own = {tuple(one) for one in certain} - set(documents.state)
    assert own <= found  # what the one committed that was let live
    documents.state = sorted(found)


def test_two_at_once(documents, zygote, tmp_path):
    at_once(documents, zygote, tmp_path, random.Random(3), {})


@pytest.mark.campaign
def test_many_kills_and_faults(documents, zygote, tmp_path):
    kill(documents, 150, seed=4)
    starve(documents, 100, seed=5)
    dice = random.Random(6)
    for turn in range(60):
        at_once(documents, zygote, tmp_path, dice, {"kill": dice.uniform(0, 0.4)} if turn % 2 else {})
        if turn % 10 == 9:
            documents.begin()
