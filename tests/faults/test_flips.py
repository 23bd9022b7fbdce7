"""Every byte of a small index, changed: found by opening or by `verify`, or without any effect."""

import random
import shutil

import pytest
from model import columns
from report import EVERY, report

from lfm2_retrieval.errors import RetrievalError
from lfm2_retrieval.indexes import CompressedIndex

STATE = [(f"d{i}", i) for i in range(8)]


def make(folder, journal):
    """Segments, a tombstone, a changed document, settings; with ``journal``, all that not yet in index.db."""
    work = folder.with_name("work")
    with CompressedIndex.create(work, 16, settings={"mine": "x" * 40}) as index:
        index.add(*columns(STATE[:5]))
        index.add(*columns(STATE[5:]))
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
    hits = index.search(columns([("query", 1)])[1])
    return entries, stored.embeddings.tobytes(), stored.offsets.tobytes(), hits, index.settings


def verdict(folder, expected):
    """What becomes of an index with one changed byte: found, or harmless; an AssertionError if neither."""
    try:
        with CompressedIndex.open(folder) as index:
            index.verify()
            found = content(index)
            assert found == expected
            index.add(*columns([("new", 1)]))
            index.delete(["new"])
            index.verify()
            assert content(index) == expected
    except RetrievalError:
        return "found"
    return "harmless"


def flip_all(folder, scratch, positions, rng):
    """Change each of the bytes (file, offset) in turn; how many changes were found, and how many harmless."""
    shutil.copytree(folder, scratch)
    with CompressedIndex.open(scratch) as index:
        expected = content(index)
    shutil.rmtree(scratch)
    counts = {}
    for name, at in positions:
        shutil.copytree(folder, scratch)
        path = scratch / name
        data = bytearray(path.read_bytes())
        data[at] ^= rng.choice([1 << rng.randrange(8), 255, rng.randint(1, 255)])
        path.write_bytes(data)
        try:
            outcome = verdict(scratch, expected)
        except AssertionError as error:
            raise AssertionError(f"{name}, byte {at}, now {data[at]}") from error
        kind = "catalogue" if name == "index.db" else "journal" if name.endswith("-wal") else "other files"
        of = counts.setdefault(kind, {"found": 0, "harmless": 0})
        of[outcome] += 1
        shutil.rmtree(scratch)
    return counts


def all_bytes(folder):
    """(file, offset) of every byte, with the bytes that are not zero first."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found += [(not byte, str(path.relative_to(folder)), at) for at, byte in enumerate(data)]
    return [(name, at) for _, name, at in sorted(found)]


@pytest.mark.parametrize("journal", [False, True])
def test_some_bytes(tmp_path, journal):
    folder = tmp_path / "index"
    make(folder, journal)
    rng = random.Random(int(journal))
    places = all_bytes(folder)
    full = [place for place in places if place[0].startswith("index.db")]
    n_full = sum(any(byte) for byte in [(folder / "index.db").read_bytes()])
    chosen = [*rng.sample(full[: len(full) // 4 + n_full], 130), *rng.sample(places, 20)]
    counts = flip_all(folder, tmp_path / "scratch", chosen, rng)
    assert sum(of["found"] for of in counts.values()) > 20


@pytest.mark.campaign
def test_every_byte(tmp_path):
    """Of the catalogue, its journal and all other files."""
    figures = {"one in": EVERY}
    for journal in (False, True):
        folder = tmp_path / f"index{journal}"
        make(folder, journal)
        rng = random.Random(2)
        places = all_bytes(folder)[rng.randrange(EVERY) :: EVERY]
        counts = flip_all(folder, tmp_path / "scratch", places, rng)
        figures["with journal" if journal else "without journal"] = {"bytes": len(places), **counts}
    report("flips", figures)
