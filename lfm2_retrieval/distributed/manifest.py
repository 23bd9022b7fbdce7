"""The manifest of a collection: which shards it has, and what is common to them.

One JSON file beside the folders of the shards, written last and in one step, with a checksum: a folder that
has one has all its shards. The format is described in ``indexes/FORMAT.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import __version__
from ..errors import (
    DamagedIndexError,
    IndexFormatError,
    IndexNotFoundError,
    IndexWriteError,
    NewerFormatError,
    remedy,
)
from ..indexes import MANIFEST, is_collection
from ..platform.plain_files import read_regular
from .routing import ROUTING

__all__ = ["MANIFEST", "Manifest", "ShardEntry", "is_manifest", "manifest_path", "write_atomically"]

_KIND = "lfm2-retrieval collection"
_VERSION = 1
_MOST_BYTES = 64 << 20
_AGAIN = "restore it from a backup, or build the collection anew"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard as the manifest names it.

    Parameters
    ----------
    path
        Its folder, relative to that of the manifest, in which it lies.
    uuid
        The identity of the index.
    commit
        Its commit when the manifest was written; it may have later ones.
    documents
        How many documents it had then.
    """

    path: str
    uuid: str
    commit: int
    documents: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a collection consists of.

    Parameters
    ----------
    uuid
        The collection's identity.
    shards
        In the order of their numbers.
    codec
        The digest of the codec that all shards have; None where there is none.
    encoder
        What the shards record of the model that made their vectors.
    tier, dim, passages, lexical, fields
        What is common to all shards, as the setting of that name of an index.
    """

    uuid: str
    shards: tuple[ShardEntry, ...]
    codec: str | None
    encoder: Mapping[str, Any]
    tier: str
    dim: int
    passages: Mapping[str, Any] | None
    lexical: bool
    fields: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write it to a folder, durably and in one step.

        Raises
        ------
        IndexWriteError
            If it can't be written.
        """
        values = {"kind": _KIND, "version": _VERSION, "routing": ROUTING, "written_by": __version__}
        values |= asdict(self)
        values["checksum"] = _checksum(values)
        write_atomically(folder / MANIFEST, json.dumps(values, indent=1).encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a collection's manifest.

        Parameters
        ----------
        path
            The file, or the folder that it lies in.

        Raises
        ------
        IndexNotFoundError, NewerFormatError, DamagedIndexError, IndexFormatError
            If there is none, or it is of a newer version, damaged, or something else.
        """
        file = manifest_path(path)
        values = _load(file)
        if not isinstance(values, dict) or values.get("kind") != _KIND:
            raise IndexFormatError(f"{file} is no manifest of a collection")
        version = values.get("version")
        if type(version) is int and version > _VERSION:
            raise NewerFormatError(
                f"{file} was written by lfm2-retrieval {str(values.get('written_by'))[:40]}, as version "
                f"{version} of the manifest; this one reads up to {_VERSION}: pip install -U lfm2-retrieval"
            )
        given = values.pop("checksum", None)
        if version != _VERSION or given != _checksum(values):
            raise DamagedIndexError(f"{file}: its checksum doesn't match; {_AGAIN}")
        if values.get("routing") != ROUTING:
            raise NewerFormatError(
                f"{file} routes documents by {str(values.get('routing'))[:40]!r}, which this version doesn't "
                "know: pip install -U lfm2-retrieval"
            )
        try:
            return cls._parsed(values)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedIndexError(f"{file}: {error!r} can't be; {_AGAIN}") from error

    @classmethod
    def _parsed(cls, values: Mapping[str, Any]) -> Manifest:
        shards = []
        for one in values["shards"]:
            entry = ShardEntry(str(one["path"]), str(one["uuid"]), int(one["commit"]), int(one["documents"]))
            place = PurePosixPath(entry.path)
            if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in entry.path:
                raise ValueError(f"the path {entry.path[:80]!r}, which leads out of the folder")
            shards.append(entry)
        if not shards or len({one.path for one in shards}) < len(shards):
            raise ValueError("shards")
        return cls(
            uuid=str(values["uuid"]),
            shards=tuple(shards),
            codec=None if values["codec"] is None else str(values["codec"]),
            encoder=dict(values["encoder"]),
            tier=str(values["tier"]),
            dim=int(values["dim"]),
            passages=None if values["passages"] is None else dict(values["passages"]),
            lexical=bool(values["lexical"]),
            fields=tuple(map(str, values["fields"])),
        )


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """The manifest's file, given that or the folder that it lies in."""
    given = Path(path).absolute()
    return given / MANIFEST if given.is_dir() else given


def is_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a collection's: its manifest, or a folder that holds one."""
    return is_collection(Path(path))


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file durably: whatever happens, it has its old content or its new one.

    Raises
    ------
    IndexWriteError
        If it can't be written.
    """
    name = None
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise IndexWriteError(f"{file} can't be written: {error.strerror or error}") from error


def _load(file: Path) -> Any:
    try:
        with read_regular(file) as opened:
            content = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        build = remedy("lfm2_retrieval.distributed.build makes one", "lfm2-retrieve index --shards makes one")
        raise IndexNotFoundError(f"there is no {file}, the manifest of a collection: {build}") from None
    except OSError as error:
        raise IndexFormatError(f"{file} can't be read: {error.strerror or error}") from error
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError
        return json.loads(content)
    except (ValueError, RecursionError):
        raise DamagedIndexError(f"{file} is no JSON, or cut off; {_AGAIN}") from None


def _checksum(values: Mapping[str, Any]) -> str:
    """SHA-256 of all else, as JSON with sorted keys."""
    rest = {key: value for key, value in values.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
