"""Damaged and hostile files: an error that names the file, never wrong results, never a crash."""

import shutil
import sqlite3

import numpy as np
import pytest
from support import DIM, embeddings

from lfm2_retrieval.errors import DamagedIndexError, IndexFormatError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.catalogue.rows import checksum

STEPS = ["steps.npy", "step_sizes.npy", "step_errors.npy"]
FILES = ["vectors.npy", "offsets.npy", "token_ids.npy", "keys.npy", *STEPS]


@pytest.fixture
def folder(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        index.add([f"id{i}" for i in range(20)], embeddings([7] * 20), [f"body{i}" for i in range(20)])
    return tmp_path / "index"


def segment_file(folder, name):
    return folder / "segments" / "00000001" / name


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def execute(folder, sql, *values):
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        connection.execute(sql, values)
    connection.close()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    segment_file(folder, name).unlink()
    with pytest.raises(DamagedIndexError, match=name):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_named(folder, name, change):
    data = segment_file(folder, name).read_bytes()
    segment_file(folder, name).write_bytes(data[:change] if change < 0 else data + b"x")
    with pytest.raises(
        DamagedIndexError, match=rf"{name} has {len(data) + change} bytes instead of {len(data)}"
    ):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_header_is_named(folder, name):
    flip(segment_file(folder, name), 30)
    with pytest.raises(DamagedIndexError, match=name):
        Index.open(folder)


def test_damaged_offsets_are_found_by_open(folder):
    flip(segment_file(folder, "offsets.npy"), 128 + 8 * 5 + 6)
    with pytest.raises(DamagedIndexError, match="offsets"):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_by_verify_or_open(folder, name):
    flip(segment_file(folder, name), -1 if name != "offsets.npy" else 128 + 8 * 3)
    with pytest.raises(DamagedIndexError, match=name), Index.open(folder) as index:
        index.verify()


def test_a_missing_segment_is_named(folder):
    shutil.rmtree(folder / "segments" / "00000001")
    with pytest.raises(DamagedIndexError, match="00000001"):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(folder, name, tmp_path):
    segment_file(folder, name).rename(tmp_path / name)
    segment_file(folder, name).symlink_to(tmp_path / name)
    with pytest.raises(DamagedIndexError, match=name):
        Index.open(folder)


def test_a_link_in_the_place_of_a_folder_is_refused(folder, tmp_path):
    for path in (folder / "segments" / "00000001", folder / "segments"):
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
        with pytest.raises(DamagedIndexError, match="00000001"):
            Index.open(folder)
        path.unlink()
        (tmp_path / "moved").rename(path)
    Index.open(folder).close()


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "00000001/..", "", "00000001\n"])
def test_a_name_that_leaves_the_folder_is_refused(folder, name):
    execute(folder, "UPDATE segments SET name = ?", name)
    with pytest.raises(DamagedIndexError):
        Index.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        "n_tokens = -1",
        "n_tokens = 1 << 62",
        "n_documents = -1",
        "n_documents = -2",
        "n_documents = 'many'",
        "codec = 'pickle'",
        "files = '{}'",
        "files = '[]'",
        "files = 'nonsense'",
    ],
)
def test_impossible_rows_of_segments_are_refused(folder, change):
    execute(folder, f"UPDATE segments SET {change}")
    with pytest.raises(DamagedIndexError):
        Index.open(folder)


@pytest.mark.parametrize("position", [-1, 20, 1 << 31])
def test_tombstones_that_cannot_be_are_refused(folder, position):
    data = b"" if position < 0 else position.to_bytes(4, "little")
    values = data, checksum(1, 1, data) + (position < 0)
    execute(folder, "INSERT INTO tombstones (segment, born, positions, crc32) VALUES (1, 1, ?, ?)", *values)
    with pytest.raises(DamagedIndexError):
        Index.open(folder)


@pytest.mark.parametrize("value", ['"wide"', "0", "null", "nonsense"])
def test_impossible_settings_are_refused(folder, value):
    execute(folder, "UPDATE settings SET value = ? WHERE key = 'dim'", value)
    with pytest.raises(DamagedIndexError):
        Index.open(folder)


def test_a_changed_text_is_not_returned(folder):
    execute(folder, "UPDATE documents SET text = CAST('other' AS BLOB) WHERE id = CAST('id3' AS BLOB)")
    with Index.open(folder) as index:
        assert index.get("id2").text == "body2"
        for damaged in (lambda: index.get("id3"), lambda: index.search(embeddings([2]), 20), index.verify):
            with pytest.raises(DamagedIndexError, match="id3"):
                damaged()


def test_an_id_of_another_type_is_damage_where_ids_are_listed(folder):
    execute(folder, "UPDATE documents SET id = 7 WHERE id = CAST('id3' AS BLOB)")
    with Index.open(folder) as index, pytest.raises(DamagedIndexError, match="7 is no text"):
        index.ids()


def test_a_document_in_another_place_is_found_by_verify(folder):
    execute(folder, "UPDATE documents SET n_tokens = 3 WHERE id = CAST('id3' AS BLOB)")
    execute(folder, "DELETE FROM documents WHERE id = CAST('id5' AS BLOB)")
    with (
        Index.open(folder) as index,
        pytest.raises(DamagedIndexError, match=r"id3.*2 documents that it doesn't name"),
    ):
        index.verify()


def test_a_missing_table_is_damage(folder):
    execute(folder, "DROP TABLE settings")
    with pytest.raises(DamagedIndexError, match=r"index\.db"):
        Index.open(folder)


@pytest.mark.parametrize("keep", [0, 50, 5000])
def test_a_truncated_catalogue_is_damage(folder, keep):
    path = folder / "index.db"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedIndexError, match=r"index\.db"):
        Index.open(folder)


def test_a_missing_catalogue_is_damage(folder):
    (folder / "index.db").unlink()
    with pytest.raises(DamagedIndexError, match=r"index\.db"):
        Index.open(folder)


def test_a_catalogue_of_noise_raises_our_errors_only(folder):
    rng = np.random.default_rng(0)
    original = (folder / "index.db").read_bytes()
    for _ in range(40):
        data = bytearray(original)
        for offset in rng.integers(100, len(data), 30):
            data[offset] ^= 1 << int(rng.integers(8))
        (folder / "index.db").write_bytes(data)
        try:
            with Index.open(folder) as index:
                index.verify()
                index.search(embeddings([2]))
        except IndexFormatError:
            pass


def test_a_damaged_index_can_be_overwritten(folder):
    segment_file(folder, "vectors.npy").unlink()
    with Index.create(folder, DIM, if_exists="overwrite", tier="exact") as index:
        index.add(["a"], embeddings([1]))
        index.verify()
        assert index.ids() == ["a"]
