"""What processes do that are going to be killed, starved or watched. Each says what it begins and has done.

A job gets the index's folder and `Diary`, and is run by `zygote`.
"""

import json
import os
import random
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path

import whole
from model import check_search, columns, held

from lfm2_retrieval.errors import DuplicateIdError, StoredIndexError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.recovery.repair import repair


class Diary:
    """A file outside of the index: which state a commit leads to, and that it was acknowledged."""

    def __init__(self, path, mark):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._mark = mark
        self._number = 0

    def begin(self, state):
        self._write({"begin": state})

    def done(self):
        self._number += 1
        self._mark(self._number)
        self._write({"done": self._number})

    def failed(self, error):
        self._write({"failed": f"{type(error).__name__}: {error}"})

    def _write(self, value):
        os.write(self._file, (json.dumps(value) + "\n").encode())


def outcomes(path, before):
    """The states that an index may be in after a job: the last one acknowledged, and one begun after it.

    Returns
    -------
    tuple
        Those states, how many commits were acknowledged, and the errors that were met.
    """
    acknowledged, begun, count, errors = before, None, 0, []
    for line in Path(path).read_text().splitlines():
        entry = json.loads(line)
        if "begin" in entry:
            begun = entry["begin"]
        elif "done" in entry:
            acknowledged, begun, count = begun, None, count + 1
        else:
            errors.append(entry["failed"])
    return [acknowledged, *([] if begun is None else [begun])], count, errors


def add(folder, diary, state, seed, commits=3):
    """Commits of one to four documents, in one writer or several."""
    rng = random.Random(seed)
    with Index.open(folder) as index:
        for number in range(commits):
            new = [(f"d{seed}-{number}-{i}", rng.randrange(10)) for i in range(rng.randint(1, 4))]
            diary.begin(state + new)
            index.add(*columns(new))
            diary.done()
            state = state + new


def stream(folder, diary, state, seed, commits=3):
    """One writer that commits now and then."""
    rng = random.Random(seed)
    with Index.open(folder) as index, index.writer() as writer:
        for number in range(commits):
            for part in range(3):
                new = [(f"s{seed}-{number}-{part}-{i}", rng.randrange(10)) for i in range(2)]
                writer.add(*columns(new))
                state = state + new
            diary.begin(state)
            writer.commit()
            diary.done()


def replace(folder, diary, state, seed):
    """Everything in the place of everything."""
    new = [(f"r{seed}-{i}", i) for i in range(5)]
    with Index.open(folder) as index:
        diary.begin(new)
        with index.writer(replace={"dim": index.dim}) as writer:
            writer.add(*columns(new))
        diary.done()


def build(folder, diary, state, seed):
    """Compress: the content stays."""
    with Index.open(folder) as index:
        diary.begin(state)
        index.build(force=True, retrain=seed % 3 == 0)
        diary.done()


def tune(folder, diary, state, seed):
    """Commits of settings."""
    with Index.open(folder) as index:
        diary.begin(state)
        index.tune(0.9, sample=4)
        diary.done()


def add_again(folder, diary, state, seed):
    """Adds, and after an error once more, through the same index: an error is not the end of it."""
    with Index.open(folder) as index:
        for number in range(2):
            new = [(f"a{seed}-{number}-{i}", i) for i in range(5)]
            diary.begin(state + new)
            try:
                index.add(*columns(new))
            except StoredIndexError as error:
                diary.failed(error)
                with suppress(DuplicateIdError):  # it had reached the disk after all
                    index.add(*columns(new))
            diary.done()
            state = state + new


def put_documents(folder, diary, state, seed, commits=3):
    """Commits that put new documents of passages, change one in part, and delete one; see `whole`."""
    rng = random.Random(seed)
    with Index.open(folder) as index:
        for number in range(commits):
            new = [(f"p{seed}-{number}-{i}", rng.randrange(whole.N_VERSIONS)) for i in range(2)]
            rest = [tuple(one) for one in state]
            own = [one for one in rest if one[0].startswith(f"p{seed}-")]
            changed = [(own[0][0], (own[0][1] + 1) % whole.N_VERSIONS)] if own else []
            dropped = own[-1:] if len(own) > 2 else []
            after = [one for one in rest if one not in dropped and one not in own[: len(changed)]]
            state = [*after, *changed, *new]
            diary.begin(state)
            with index.writer() as writer:
                for id, version in changed:
                    whole.put(writer, id, version, before=own[0][1])
                writer.delete([id for id, _ in dropped])
                for id, version in new:
                    whole.put(writer, id, version)
            diary.done()


GROUP, KEPT = 3, 4  # documents of a commit, and how many commits' documents a writer keeps


def group_of(name, number):
    """The documents that a writer adds in one commit."""
    return [(f"{name}-{number}-{i}", number % 10) for i in range(GROUP)]


def write_groups(folder, diary, name, seconds):
    """Until the time is up: a commit adds a group and deletes an old one; now and then, a merge."""
    with Index.open(folder) as index:
        number, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            with index.transaction(timeout=60):
                index.add(*columns(group_of(name, number)))
                if number >= KEPT:
                    index.delete([id for id, _ in group_of(name, number - KEPT)])
            number += 1
            if number % 16 == 0:
                index.merge()
        diary.begin(number)


def read_groups(folder, diary, names, seconds):
    """Until the time is up: what is read is one commit, whole, and never an older one than before."""
    seen, count, states = dict.fromkeys(names, 0), 0, set()
    with Index.open(folder) as index:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            index.refresh()
            state, stored = held(index)
            check_search(index, state, stored)
            left = state
            for name in names:
                own = [one for one in state if one[0].startswith(f"{name}-")]
                newest = int(own[-1][0].split("-")[1]) + 1 if own else 0
                assert newest >= seen[name], (name, newest, seen)
                expected = [group_of(name, number) for number in range(max(0, newest - KEPT), newest)]
                assert own == list(chain.from_iterable(expected)), (name, own)
                left = [one for one in left if one not in own]
                seen[name] = newest
            assert all(id.startswith("long") for id, _ in left)
            count += 1
            states.add(tuple(seen.values()))
    diary.begin([count, len(states)])


def write_numbers(folder, diary, name, commits, seconds=0.0):
    """Documents without ids beside some with numbers of their own; tells which ids they got and kept."""
    rng = random.Random(name)
    kept, deleted, number, end = [], [], 0, time.monotonic() + seconds
    with Index.open(folder) as index:
        while number < commits or time.monotonic() < end:
            wanted = [None] * rng.randint(1, 3)
            if number % 5 == 4:  # somebody's own, soon to be reached by the others; no two processes have one
                wanted.insert(1, str(index.next_number() * 8 + sum(map(ord, name)) % 8))

            def change(writer, wanted=wanted):
                known = writer.find([id for id in wanted if id is not None])
                ids = writer.fill_ids([id for id in wanted if id not in known])
                # on_conflict="error": a number that somebody has is an error.
                writer.add(*columns([(id, len(id)) for id in ids]))
                return ids

            new = index.change(change, timeout=60)
            kept += new
            if number % 7 == 6:
                gone = rng.sample(kept, 2)
                index.delete(gone, timeout=60)
                kept = [id for id in kept if id not in gone]
                deleted += gone
            if number % 16 == 15:
                index.merge(timeout=60)
            number += 1
    diary.begin([kept, deleted])


def delete(folder, diary, state, seed):
    """Some documents, then some more."""
    rng = random.Random(seed)
    with Index.open(folder) as index:
        for _ in range(2):
            gone = {id for id, _ in rng.sample(state, min(3, len(state)))}
            state = [one for one in state if one[0] not in gone]
            diary.begin(state)
            index.delete(sorted(gone))
            diary.done()


def renewed(state, chosen, seed):
    """The state with other versions of some documents, in their places."""
    return [(id, (version + seed) % 50 + 1) if id in chosen else (id, version) for id, version in state]


def update(folder, diary, state, seed):
    """New versions of some documents, by ``add`` and by ``update``."""
    rng = random.Random(seed)
    with Index.open(folder) as index:
        for number in range(2):
            chosen = {id for id, _ in rng.sample(state, min(4, len(state)))}
            state = renewed(state, chosen, seed + number)
            new = [one for one in state if one[0] in chosen]
            diary.begin(state)
            if number:
                index.update(*columns(new))
            else:
                index.add(*columns(new), on_conflict="replace")
            diary.done()


def transaction(folder, diary, state, seed):
    """All kinds of changes in one commit."""
    rng = random.Random(seed)
    with Index.open(folder) as index:
        gone, changed = rng.sample([id for id, _ in state], 2)
        new = [(f"t{seed}-{i}", i) for i in range(3)]
        after = renewed([one for one in state if one[0] != gone], {changed}, seed) + new
        diary.begin(after)
        with index.transaction():
            index.add(*columns(new))
            index.delete([gone])
            index.update(*columns([one for one in after if one[0] == changed]))
        diary.done()


def merge(folder, diary, state, seed):
    """Rewrite segments and reclaim space: the content stays."""
    with Index.open(folder) as index:
        diary.begin(state)
        index.merge()
        diary.done()


def backup(folder, diary, state, seed):
    """A copy beside the index."""
    with Index.open(folder) as index:
        diary.begin(state)
        index.backup(Path(folder).with_name("backup"))
        diary.done()


def mend(folder, diary, index):
    """Repair an index in the folder that is watched."""
    repair(index)
    diary.done()


_ALL = (add, add_again, stream, replace, build, tune, delete, update, transaction, merge, backup, mend)
JOBS = {job.__name__: job for job in (*_ALL, put_documents, write_groups, read_groups, write_numbers)}


def warm_up():
    """Compile and load whatever the jobs will need, in the process that they are forked from."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        with Index.create(path, 16) as index:
            state = [(f"long{i}", i) for i in range(70)]
            index.add(*columns(state))
            index.build(force=True)
            index.delete(["long3"])
            index.backup(Path(folder) / "backup")
