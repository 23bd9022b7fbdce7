"""Vectors of a sync that isn't committed: what comes back, and what of a damaged or strange file doesn't."""

import os

import numpy as np
import pytest

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import DamagedIndexError, IndexLockedError
from lfm2_retrieval.indexes.spool import (
    Spool,
    read_refusals,
    sweep_spool,
    sync_folder,
    sync_lock,
    write_refusals,
)

KEYS = ["0" * 32, "1" * 32, "ab" * 16]


def vectors(seed=0, ids=True):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((6, 4)).astype(np.float16)
    return TokenEmbeddings(values, [0, 2, 2, 6], np.arange(6) if ids else None)


@pytest.mark.parametrize("ids", [True, False])
def test_what_was_put_comes_back_in_another_process(tmp_path, ids):
    given = vectors(ids=ids)
    spool = Spool(tmp_path, {"encoder": "a"}, 4)
    spool.put(KEYS, given)
    spool.close()
    again = Spool(tmp_path, {"encoder": "a"}, 4)
    for found, number in zip(again.get([*KEYS, "f" * 32]), (0, 1, 2, None), strict=True):
        if number is None:
            assert found is None
            continue
        expected = given.select([number])
        assert np.array_equal(found.embeddings, expected.embeddings)
        assert (found.token_ids is None) is (not ids)
        assert not ids or np.array_equal(found.token_ids, expected.token_ids)
    again.remove()
    assert not (tmp_path / "sync/vectors").exists()


@pytest.mark.parametrize(("identity", "dim"), [({"encoder": "b"}, 4), ({"encoder": "a"}, 2)])
def test_vectors_of_another_model_are_dropped(tmp_path, identity, dim):
    spool = Spool(tmp_path, {"encoder": "a"}, 4)
    spool.put(KEYS, vectors())
    spool.close()
    assert Spool(tmp_path, identity, dim).get(KEYS) == [None] * 3


def test_damage_anywhere_gives_right_vectors_or_none(tmp_path):
    given = vectors()
    spool = Spool(tmp_path, {}, 4)
    spool.put(KEYS, given)
    spool.close()
    path = tmp_path / "sync/vectors"
    whole = path.read_bytes()
    cases = [whole[:cut] for cut in range(0, len(whole), 7)]
    cases += [whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in range(len(whole))]
    cases += [whole + b"x" * 100, whole + b"\xff" * 100]
    for data in cases:
        path.write_bytes(data)
        spool = Spool(tmp_path, {}, 4)
        for number, found in enumerate(spool.get(KEYS)):
            assert found is None or np.array_equal(found.embeddings, given[number])
        spool.put(KEYS[:1], given.select([0]))
        assert np.array_equal(spool.get(KEYS[:1])[0].embeddings, given[0]) or data[:44] != whole[:44]
        spool.close()


def test_what_is_not_finite_is_refused(tmp_path):
    spool = Spool(tmp_path, {}, 2)
    spool.put(KEYS[:1], TokenEmbeddings(np.full((1, 2), np.nan, np.float16), [0, 1]))
    assert spool.get(KEYS[:1]) == [None]


def test_it_is_bounded(tmp_path):
    spool = Spool(tmp_path, {}, 4, most_bytes=200)
    for number in range(100):
        spool.put([f"{number:032x}"], vectors(number).select([2]))
    assert 0 < len(spool) < 5
    assert (tmp_path / "sync/vectors").stat().st_size <= 200


def test_a_full_disk_keeps_nothing_and_is_no_error(tmp_path, monkeypatch):
    spool = Spool(tmp_path, {}, 4)
    spool.put(KEYS[:1], vectors().select([0]))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    spool.put(KEYS, vectors())
    assert spool.failure.errno == 28
    monkeypatch.undo()
    assert spool.get(KEYS)[0] is not None
    assert spool.get(KEYS)[1:] == [None, None]


def test_nothing_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "index").mkdir()
    (tmp_path / "index/sync").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedIndexError, match="no folder"):
        Spool(tmp_path / "index", {}, 4)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = sync_folder(tmp_path)
    (folder / "vectors").symlink_to(victim)
    (folder / "refused.json").symlink_to(victim)
    spool = Spool(tmp_path, {}, 4)
    spool.put(KEYS, vectors())
    assert spool.failure is not None
    assert read_refusals(tmp_path) == {}
    write_refusals(tmp_path, {"/a": ("1", "broken", "")})
    assert victim.read_text() == "mine"


def test_refusals(tmp_path):
    given = {"/a/\udcff.pdf": ("1:2", "broken", "why"), "/b": ("3", "encrypted", "")}
    write_refusals(tmp_path, given)
    assert read_refusals(tmp_path) == given
    for bad in (b"", b"[]", b'{"a": 1, "b": ["x"], "c": [1, 2, 3]}', b"\xff", b"[" * 100_000):
        (tmp_path / "sync/refused.json").write_bytes(bad)
        assert read_refusals(tmp_path) == {}
    write_refusals(tmp_path, {})
    assert not (tmp_path / "sync/refused.json").exists()


def test_one_sync_at_a_time_and_sweeping_waits_for_none(tmp_path):
    Spool(tmp_path, {}, 4).close()
    with sync_lock(tmp_path, 0):
        with pytest.raises(IndexLockedError), sync_lock(tmp_path, 0):
            pass
        sweep_spool(tmp_path)
        assert (tmp_path / "sync/vectors").exists()
    sweep_spool(tmp_path)
    assert not (tmp_path / "sync/vectors").exists()
