"""API keys: made here, shown once, kept as digests."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import InvalidInputError, UnknownIdError

__all__ = ["Key", "KeyFile", "default_path"]

_PREFIX = "lfm2_"
_LARGEST = 1 << 20
_LOOKED_AT = 1.0
"""Seconds for which the file isn't looked at again; a revoked key is good for no longer."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    Parameters
    ----------
    id
        By which it is revoked.
    name
        Whose it is, or what for.
    write
        Whether it may change documents; every key may read.
    created
        When, in seconds since 1970.
    digest
        SHA-256 of the key, in hexadecimal digits. The key is 256 random bits, so that nothing slower is
        needed.
    """

    id: str
    name: str
    write: bool
    created: int
    digest: str


def default_path() -> Path:
    """``lfm2-retrieval/keys.json`` where a user's settings lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "lfm2-retrieval" / "keys.json"


class KeyFile:
    """The keys of a server; several processes may share the file.

    Parameters
    ----------
    path
        By default ``~/.config/lfm2-retrieval/keys.json``.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = default_path() if path is None else Path(path)
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._state: tuple[int, int, int] | None = None
        self._keys: list[Key] = []

    def add(self, name: str, *, write: bool = False) -> tuple[str, Key]:
        """Make a key.

        Returns
        -------
        tuple
            The key itself, which is not kept and can't be shown again, and what is kept of it.

        Raises
        ------
        InvalidInputError
            If the name is empty or too long, or the file can't be written.
        """
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise InvalidInputError("a key's name has 1 to 200 printable characters, such as 'laptop'")
        secret = _PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            taken = {key.id for key in keys}
            id = next(id for id in iter(lambda: secrets.token_hex(4), "") if id not in taken)
            key = Key(id, name, bool(write), int(time.time()), _digest(secret))
            keys.append(key)
        return secret, key

    def revoke(self, id: str) -> Key:
        """Forget a key; servers refuse it within seconds.

        Raises
        ------
        UnknownIdError
            If there is none of this id.
        """
        with self._changing() as keys:
            for number, key in enumerate(keys):
                if key.id == id:
                    return keys.pop(number)
            raise UnknownIdError(f"no key has the id {id[:80]!r}: lfm2-retrieve serve keys list shows them")

    def known(self) -> list[Key]:
        """All keys, the oldest first.

        Raises
        ------
        InvalidInputError
            If the file is none of keys, or others may write to it.
        """
        with self._lock:
            if time.monotonic() - self._looked >= _LOOKED_AT:
                state = self._stat()
                if state != self._state or state is None:
                    self._keys = self._read()
                self._state, self._looked = state, time.monotonic()
            return list(self._keys)

    def find(self, secret: str) -> Key | None:
        """The key that a request came with; each is compared, in the same time whatever it holds."""
        digest, found = _digest(secret), None
        for key in self.known():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> list[Key]:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o022:
                    raise InvalidInputError(f"{self.path} can be written by others: chmod 600 {self.path}")
                content = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return []
        try:
            if len(content) > _LARGEST:
                raise ValueError("too large")
            return [_parse(one) for one in json.loads(content)["keys"]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError(
                f"{self.path} is no file of keys: remove it and make them anew"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, to be changed: written whole or not at all, by one process at a time."""
        with self._locked() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                try:
                    json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(self.path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            self._looked = float("-inf")

    def _locked(self) -> TextIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return self.path.with_name(self.path.name + ".lock").open("a")
        except OSError as error:
            raise InvalidInputError(
                f"can't keep keys in {self.path} ({error.strerror}): name a file in a folder of yours "
                "with --keys"
            ) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(values: Any) -> Key:
    key = Key(**values)
    kinds = {"id": str, "name": str, "write": bool, "created": int, "digest": str}
    if any(type(getattr(key, name)) is not kind for name, kind in kinds.items()) or not key.digest.isascii():
        raise ValueError("a key of other types")
    return key
