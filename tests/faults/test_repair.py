"""Repair keeps every intact document, says which ones are lost, and leaves the damaged index as it was."""

import hashlib
import random
import shutil
import sqlite3

import numpy as np
import pytest
from model import check_search, columns, held, metadata, text, vectors

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.errors import DamagedIndexError, IndexNotFoundError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.recovery.repair import repair

FIRST = [(f"long{i}", i) for i in range(66)]
LATER = [(f"d{i}", i) for i in range(30)]


def make(folder, tier):
    """A compressed segment, fp16 ones, tombstones, a changed document and some settings."""
    with Index.create(folder, 16, tier=tier, settings={"mine": [1]}) as index:
        index.add(*columns(FIRST))
        index.build(force=True)
        index.add(*columns(LATER[:20]))
        index.add(*columns(LATER[20:]))
        index.delete(["long7", "d3"])
        index.add(*columns([("d5", 55)]), on_conflict="replace")
        return held(index, 0.5)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}

    def get(tier):
        if tier not in found:
            folder = tmp_path_factory.mktemp(tier) / "index"
            found[tier] = folder, make(folder, tier)
        return found[tier]

    return get


@pytest.fixture
def copied(made, tmp_path):
    def get(tier="balanced"):
        folder, state = made(tier)
        shutil.copytree(folder, tmp_path / "index")
        return tmp_path / "index", state

    return get


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def flip(path, at, mask=0x10):
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def repaired(folder, state, **options):
    """Repair, and hold the report and the index to each other; the report and the ids without vectors."""
    before = digest(folder)
    told = repair(folder, dry_run=True)
    assert digest(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["index"]
    report = repair(folder, **options)
    assert report.original is not None
    assert digest(report.original) == before
    assert (told.problems, told.lost) == (report.problems, report.lost)
    missing = set(report.lost)
    with Index.open(folder) as index:
        index.verify()
        found = {entry.id: entry for entry in index.documents()}
        left = [one for one in state if one[0] not in missing]
        assert list(found) == [id for id, _ in left]
        bare = set(report.without_vectors)
        for id, version in left:
            assert (found[id].text, found[id].metadata) == (text(id, version), metadata(id, version))
            assert found[id].n_tokens == (0 if id in bare else len(vectors(id, version)))
        stored = index.embeddings([id for id, _ in left])
        for number, (id, version) in enumerate(left):
            if id not in bare:
                assert np.abs(stored[number] - vectors(id, version)).max() < 0.35
        assert report.kept + len(report.encoded) + len(bare) == len(left)
        check_search(
            index,
            [one for one in left if one[0] not in bare],
            stored.select([n for n, one in enumerate(left) if one[0] not in bare]),
        )
        index.add(*columns([("after", 1)]))
        index.verify()
    return report


def test_a_sound_index_is_left_alone(copied):
    folder, state = copied()
    before = digest(folder)
    report = repair(folder)
    assert (report.problems, report.kept, report.original) == ((), len(state), None)
    assert digest(folder) == before


def segments(folder, name):
    return sorted(folder.glob(f"segments/*/{name}"))


@pytest.mark.parametrize("tier", ["compact", "balanced", "accurate"])
@pytest.mark.parametrize("name", ["codes.npy", "centroids.npy", "int8.npy", "vectors.npy", "token_ids.npy"])
def test_one_flipped_bit_costs_one_document_at_most(copied, tier, name):
    folder, state = copied(tier)
    if not segments(folder, name):
        pytest.skip("has none")
    path = segments(folder, name)[0]
    flip(path, path.stat().st_size // 2)
    report = repaired(folder, state)
    assert report.lost == ()
    assert len(report.without_vectors) <= (name in ("vectors.npy", "int8.npy") or tier == "compact")


@pytest.mark.parametrize("name", ["steps.npy", "step_sizes.npy", "step_errors.npy"])
@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_vectors_in_steps_are_made_again(copied, name, how):
    folder, state = copied("exact")
    path = segments(folder, name)[0]
    if how == "flipped":
        flip(path, path.stat().st_size - 1)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(DamagedIndexError, match=name), Index.open(folder) as index:
        index.verify()
    report = repaired(folder, state)
    assert (report.lost, report.without_vectors) == ((), ())
    assert segments(folder, name)


@pytest.mark.parametrize("name", ["offsets.npy", "keys.npy", "lists.npy", "documents.npy", "checksums.npy"])
def test_what_can_be_derived_costs_nothing(copied, name):
    folder, state = copied()
    for path in segments(folder, name):
        flip(path, min(128 + 8 * 3, path.stat().st_size - 1))
    report = repaired(folder, state)
    assert report.lost == ()
    if name != "keys.npy":
        assert report.without_vectors == ()
    assert len(report.without_vectors) <= len(segments(folder, name))


@pytest.mark.parametrize("tier", ["compact", "balanced", "accurate"])
def test_a_codec_is_needed_only_where_codes_are_all(copied, tier):
    folder, state = copied(tier)
    flip(folder / "codecs" / "00000001" / "codebooks.npy", 3000)
    report = repaired(folder, state)
    lost = [id for id, _ in state if id.startswith("long")] if tier == "compact" else []
    assert sorted(report.without_vectors) == sorted(lost)


@pytest.mark.parametrize("how", ["missing", "truncated", "header", "folder"])
def test_files_that_are_gone(copied, how):
    folder, state = copied()
    path = segments(folder, "vectors.npy")[0]
    own = {id for id, _ in LATER[:20]} & {id for id, _ in state} - {"d5"}
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:400])
    elif how == "header":
        flip(path, 20)
        own = set()
    else:
        shutil.rmtree(path.parent)
    report = repaired(folder, state)
    assert report.lost == ()
    if how == "truncated":
        assert 0 < len(report.without_vectors) < len(own)
    else:
        assert set(report.without_vectors) == own


def test_lost_vectors_are_made_again(copied):
    folder, state = copied()
    segments(folder, "vectors.npy")[0].unlink()
    asked = []

    def encode(texts, settings):
        assert settings["mine"] == [1]
        asked.extend(texts)
        versions = dict(state)
        ids = [one.split(" ")[0] for one in texts]
        parts = [vectors(id, versions[id]) for id in ids]
        return TokenEmbeddings(np.concatenate(parts), np.cumsum([0, *map(len, parts)]).astype(np.int64))

    report = repaired(folder, state, encode=encode)
    without_text = {id for id, version in state if text(id, version) is None}
    assert set(report.without_vectors) <= without_text
    assert len(report.encoded) == len(asked) > 10


def flip_in(folder, what, value=b"\x00"):
    """Change a byte of the catalogue after some bytes in it."""
    path = folder / "index.db"
    data = bytearray(path.read_bytes())
    at = data.index(what) + len(what)
    data[at] ^= 1
    path.write_bytes(data)


def test_a_damaged_row_is_named(copied):
    folder, state = copied()
    flip_in(folder, text("d12", 12)[:20].encode())
    report = repaired(folder, state)
    assert report.lost == ("d12",)
    assert report.n_unknown == 0


@pytest.mark.parametrize("page", ["first", "root", "some"])
def test_damaged_pages_of_the_catalogue(copied, page):
    folder, state = copied()
    path = folder / "index.db"
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    rng = random.Random(0)
    if page == "some":
        number = data.index(text("d11", 11)[:20].encode()) // 4096
    else:
        number = 0 if page == "first" else root - 1
    data[number * 4096 : (number + 1) * 4096] = rng.randbytes(4096)
    path.write_bytes(data)
    report = repaired(folder, state)
    if page == "some":
        assert "d11" in report.lost
        assert len(report.lost) < 40
    else:
        assert report.lost == ()
    assert report.without_vectors == ()


def test_a_journal_with_a_flipped_bit(copied, tmp_path):
    """SQLite silently drops all commits from there on; a repair finds them."""
    folder, state = copied()
    other = tmp_path / "other"
    with Index.open(folder) as index:
        index.add(*columns([("new1", 1)]))
        index.add(*columns([("new2", 2)]))
        shutil.copytree(folder, other)
    shutil.rmtree(folder)
    other.rename(folder)
    journal = folder / "index.db-wal"
    data = bytearray(journal.read_bytes())
    data[32 + 24 + 2000] ^= 4
    journal.write_bytes(data)
    report = repaired(folder, [*state, ("new1", 1), ("new2", 2)])
    assert report.lost == ()


@pytest.mark.parametrize(
    "sql", ["DELETE FROM settings", "DELETE FROM settings WHERE key = 'dim'", "DELETE FROM codecs"]
)
def test_rows_that_are_missing(copied, sql):
    folder, state = copied()
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        connection.execute(sql)
    connection.close()
    assert repaired(folder, state).without_vectors == ()


@pytest.mark.parametrize("tier", ["compact", "balanced", "accurate"])
@pytest.mark.parametrize("table", ["segments", "codecs"])
def test_a_lost_row_of_a_segment_or_codec_costs_nothing(copied, tier, table):
    folder, state = copied(tier)
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        connection.execute(f"UPDATE {table} SET crc32 = crc32 + 1 WHERE died IS NULL")
    connection.close()
    report = repaired(folder, state)
    assert (report.lost, report.without_vectors) == ((), ())


def test_damage_gets_no_new_checksums(copied):
    """Merging and building check what they copy."""
    folder, _ = copied()
    path = segments(folder, "vectors.npy")[0]
    flip(path, -1)
    with Index.open(folder) as index:
        for work in (index.merge, lambda: index.build(force=True)):
            with pytest.raises(DamagedIndexError, match="vectors"):
                work()
        with pytest.raises(DamagedIndexError, match="vectors"):
            index.verify()


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(IndexNotFoundError):
        repair(tmp_path / "nothing")
    with Index.create(tmp_path / "index", 16) as index:
        index.add(*columns(LATER))
    (tmp_path / "index" / "index.db").unlink()
    with pytest.raises(DamagedIndexError, match="backup"):
        repair(tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_an_interrupted_exchange_is_brought_to_its_end(copied):
    folder, state = copied()
    folder.rename(folder.with_name("index.repaired"))
    assert "interrupted" in repair(folder).problems[0]
    with Index.open(folder) as index:
        assert held(index)[0] == state
