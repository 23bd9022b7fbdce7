"""The file of keys."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lfm2_retrieval.errors import InvalidInputError, UnknownIdError
from lfm2_retrieval.server import KeyFile


def test_a_key_is_found_again_and_not_kept(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "settings" / "keys.json")
    secret, key = keys.add("laptop", write=True)
    assert keys.find(secret) == key
    assert keys.find(secret + "x") is None
    assert secret not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o077 == 0


def test_a_revoked_key_is_gone(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    secret, key = keys.add("laptop")
    keys.add("phone")
    assert keys.revoke(key.id).name == "laptop"
    assert keys.find(secret) is None
    assert [one.name for one in keys.known()] == ["phone"]
    with pytest.raises(UnknownIdError, match="keys list"):
        keys.revoke(key.id)


def test_several_make_keys_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: KeyFile(tmp_path / "keys.json").add(f"key {n}"), range(24)))
    assert len({one.id for one in KeyFile(tmp_path / "keys.json").known()}) == 24


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_names_are_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError):
        KeyFile(tmp_path / "keys.json").add(name)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": 3}',
        '{"keys": [{}]}',
        "[" * 100_000,
        json.dumps({"keys": [{"id": 1}]}),
        "x" * (2 << 20),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInputError, match="no file of keys"):
        KeyFile(path).known()


def test_a_file_that_others_write_is_refused(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    keys.add("laptop")
    keys.path.chmod(0o666)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        KeyFile(keys.path).known()


def test_where_no_file_can_be_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "keys.json"):
        with pytest.raises(InvalidInputError, match="--keys"):
            KeyFile(path).add("laptop")
