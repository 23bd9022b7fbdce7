"""Every byte of a small index, changed: found by opening or by `verify`, or without any effect."""

import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from model import columns
from report import EVERY, report

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.errors import RetrievalError
from lfm2_retrieval.indexes import Index

STATE = [(f"d{i}", i) for i in range(8)]
GOLDEN = Path(__file__).parents[2] / "indexes" / "golden" / "format-1" / "balanced"
TOGETHER = 64
"""Bytes that are changed at once where the catalogue is empty."""


def make(folder, journal):
    """Segments, a tombstone, a changed document; ``journal`` keeps the newest commits out of index.db."""
    work = folder.with_name("work")
    with Index.create(work, 16, settings={"mine": "x" * 40}) as index:
        index.add(*columns(STATE[:5]))
        index.add(*columns(STATE[5:]))
        if journal:
            with closing(sqlite3.connect(work / "index.db")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        index.delete(["d2"])
        index.add(*columns([("d3", 33)]), on_conflict="replace")
        if journal:
            shutil.copytree(work, folder, ignore=shutil.ignore_patterns("readers", "*-shm"))
    if not journal:
        shutil.copytree(work, folder)
    shutil.rmtree(work)


def content(index):
    """All that an index holds and does."""
    entries = list(index.documents())
    stored = index.embeddings([entry.id for entry in entries])
    hits = index.search(query(index.dim))
    return entries, stored.embeddings.tobytes(), stored.offsets.tobytes(), hits, index.settings


def query(dim):
    """One, and so wide."""
    found = columns([("query", 1)])[1]
    return TokenEmbeddings(found.embeddings[:, :dim], found.offsets)


def lay_out(folder, scratch, changes):
    """A copy of an index with some bytes changed: (file, offset) → what is to be XORed.

    Files of segments and codecs, which nobody writes to again, are links to the same ones.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder, scratch, copy_function=link_or_copy)
    for (name, at), bits in changes.items():
        path = scratch / name
        data = bytearray(path.read_bytes())
        data[at] ^= bits
        path.unlink()
        path.write_bytes(data)


def link_or_copy(source, target):
    """For `copytree`."""
    (os.link if source.endswith(".npy") else shutil.copyfile)(source, target)


def verdict(folder, expected):
    """What becomes of an index with changed bytes: found, or harmless; an AssertionError if neither."""
    try:
        with Index.open(folder) as index:
            index.verify()
            assert content(index) == expected
            with index.writer() as writer:
                writer.add(["new"], query(index.dim), ["new words"], [{"new": 1}])
            index.delete(["new"])
            index.verify()
            assert content(index) == expected
    except RetrievalError:
        return "found"
    return "harmless"


class Flips:
    """Changes bytes of an index and sees what becomes of it.

    ``counts`` says, by kind of file, how many changes were found, and how many were harmless.
    """

    def __init__(self, folder, scratch, rng):
        self.counts = {}
        self._folder, self._scratch, self._rng = folder, scratch, rng
        lay_out(folder, scratch, {})
        with Index.open(scratch) as index:
            self._expected = content(index)

    def each(self, places):
        """Change each of the bytes (file, offset) alone."""
        for place in places:
            self._note(place, self._judge([place]))

    def some(self, places, together):
        """Change so many bytes together, and each of them alone where that is found."""
        for first in range(0, len(places), together):
            group = places[first : first + together]
            if self._judge(group) == "harmless":
                for place in group:
                    self._note(place, "harmless")
            else:
                self.each(group)

    def _judge(self, places):
        changes = {place: self._bits() for place in places}
        lay_out(self._folder, self._scratch, changes)
        try:
            return verdict(self._scratch, self._expected)
        except AssertionError as error:
            raise AssertionError(f"{changes}") from error

    def _bits(self):
        return self._rng.choice([1 << self._rng.randrange(8), 255, self._rng.randint(1, 255)])

    def _note(self, place, outcome):
        name = place[0]
        kind = "catalogue" if name == "index.db" else "journal" if name.endswith("-wal") else "other files"
        self.counts.setdefault(kind, {"found": 0, "harmless": 0})[outcome] += 1


def all_bytes(folder):
    """(file, offset) of every byte, with the bytes that are not zero first."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found += [(not byte, str(path.relative_to(folder)), at) for at, byte in enumerate(data)]
    return [(name, at) for _, name, at in sorted(found)]


def empty_stretches(folder):
    """(file, offset) of bytes of the catalogue with sixteen zeros at least on either side."""
    data = (folder / "index.db").read_bytes()
    stretches = re.finditer(rb"\0{40,}", data)
    return [("index.db", at) for found in stretches for at in range(found.start() + 16, found.end() - 16)]


def is_covered(place):
    """Whether one checksum covers a byte and thousands beside it: arrays, and pages in the journal."""
    name, at = place
    if name.endswith("-wal"):
        return at >= 32 and (at - 32) % (24 + 4096) >= 24  # after the headers of the journal and of the page
    return name.endswith(".npy") and at >= 128


@pytest.mark.parametrize("journal", [False, True])
def test_some_bytes(tmp_path, journal):
    folder = tmp_path / "index"
    make(folder, journal)
    rng = random.Random(int(journal))
    places = all_bytes(folder)
    full = [place for place in places if place[0].startswith("index.db")]
    flips = Flips(folder, tmp_path / "scratch", rng)
    flips.each([*rng.sample(full[: len(full) // 4], 130), *rng.sample(places, 20)])
    flips.some(rng.sample(empty_stretches(folder), 64), TOGETHER)
    assert sum(of["found"] for of in flips.counts.values()) > 20


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["plain", "journal", "compressed"])
def test_every_byte(tmp_path, kind):
    """Of an index, of one with a journal, and of one with a codec.

    What lies amid zeros is changed many bytes at a time: either nothing reads that, or all is found. Of what
    one checksum covers, which no change of a byte escapes, one in eight is taken.
    """
    folder = tmp_path / "index"
    if kind == "compressed":
        shutil.copytree(GOLDEN, folder)
    else:
        make(folder, kind == "journal")
    rng = random.Random(2)
    places = all_bytes(folder)
    chosen = [place for place in places if not is_covered(place) or place[1] % 8 == 3]
    chosen = chosen[rng.randrange(EVERY) :: EVERY]
    empty = set(empty_stretches(folder))
    flips = Flips(folder, tmp_path / "scratch", rng)
    flips.some(sorted(empty & set(chosen)), TOGETHER)
    n_empty = len(empty & set(chosen))
    flips.each([place for place in chosen if place not in empty])
    report(
        f"flips-{kind}",
        {
            "one in": EVERY,
            "bytes": len(places),
            "changed": len(chosen),
            "of these amid zeros": n_empty,
            **flips.counts,
        },
    )
