"""What has to be done so that an index holds what folders hold: by content, whatever dates say.

Files and documents are matched by path, and by content where files were renamed. Memory doesn't grow with
their number.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any, NamedTuple

from ..errors import InvalidInputError, remedy
from .digests import Unreadable, digest_file
from .folders import find_files
from .formats import DocumentFormat, suffix
from .reach import Disks, is_certain, is_listable, is_mounted
from .reading import ChosenFile
from .report import ReadingReport, storable
from .rows import ReadOptions
from .sync_tables import SyncTables, to_id, to_path

__all__ = ["FileChange", "Refusals", "SyncPlan", "check_folders", "reading_version"]

Refusals = Mapping[str, Sequence[str]]
"""Of files that gave nothing the last time: path → version, reason, what else is known."""


_COMPARE = """
UPDATE files SET
    state = CASE WHEN known.version = files.version THEN 'unchanged' ELSE 'changed' END, name = known.name
FROM (SELECT source, name, min(version) AS version FROM held GROUP BY source) AS known
WHERE known.source = files.source
"""
_UNNAMED = """
SELECT number, relative, root FROM files WHERE +name IS NULL AND number > CAST(? AS INTEGER) ORDER BY number
"""
_MISSING = """
SELECT source, min(version), max(disk) FROM held
WHERE source < ? AND source > max(?, ?)
    AND NOT EXISTS (SELECT 1 FROM files WHERE files.source = held.source)
    AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.source = held.source)
GROUP BY source ORDER BY source
"""
_CHANGE = """
SELECT number, source, name, relative, format, state, root, digest, size, version, disk, before FROM files
WHERE state IN ('new', 'changed', 'renamed')
"""
_CHANGES = f"{_CHANGE} AND number > CAST(? AS INTEGER) ORDER BY number"


_LOST_SHARE, _LOST_MOST = 0.5, 100
"""A folder may lose this share of its documents, or so many, without anybody being asked."""


class FileChange(NamedTuple):
    """A file that is to be read: ``state`` is ``new``, ``changed`` or ``renamed``.

    ``disk`` is where the disk that it lies on is mounted, if that is beneath ``root``.
    """

    source: str
    name: str
    relative: str
    format: DocumentFormat | None
    state: str
    root: str
    digest: str
    size: int
    version: str
    disk: str | None
    before: str | None

    @property
    def chosen(self) -> ChosenFile:
        """As a reading takes it."""
        return ChosenFile(self.source, self.name, self.relative, self.format)


@dataclass(frozen=True, slots=True)
class _Root:
    path: str
    prefix: str


def reading_version(options: ReadOptions) -> str:
    """A digest of what decides how a file of some content becomes documents."""
    chosen = [options.text, options.id, options.metadata, options.delimiter, options.encoding]
    text = json.dumps([*chosen, dict(options.types)], sort_keys=True, default=list)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


class SyncPlan:
    """A comparison of folders with an index.

    Parameters
    ----------
    folders
        The folders' paths.
    options
        How files are read, and which.
    held
        The id of each document that the index holds, and its facts.
    refusals
        Files that gave nothing in this version the last time, which are not tried again.
    allow_empty
        Whether folders may hold nothing of what the index has of them, or little, or lack a disk.
    deletes
        Whether documents of files that are gone will be deleted.

    Attributes
    ----------
    report
        Gets what is left out.
    tables
        Where files are compared.

    Raises
    ------
    InvalidInputError
        If a folder is none, can't be read, or holds nothing, or far too little, of what the index has of it.
    """

    def __init__(
        self,
        folders: Iterable[str | os.PathLike[str]],
        options: ReadOptions,
        held: Iterable[tuple[str, Mapping[str, Any]]],
        refusals: Refusals,
        *,
        allow_empty: bool = False,
        deletes: bool = True,
    ) -> None:
        self.report = ReadingReport()
        self._options = options
        self._reading = reading_version(options)
        self._refusals = refusals
        self.refused: dict[str, Sequence[str]] = {}
        paths = check_folders(folders)
        self.tables = SyncTables()
        try:
            self._learn("held", held)
            self._roots = [_Root(path, self._prefix(path, paths)) for path in paths]
            for number in range(len(self._roots)):
                self._walk(number)
            self._find_gone(allow_empty)
            if not allow_empty:
                self._check_roots()
            self._decide()
            if deletes and not allow_empty:
                self._check_shares()
        except BaseException:
            self.tables.close()
            raise

    @property
    def roots(self) -> list[str]:
        """The folders, absolute and without links."""
        return [root.path for root in self._roots]

    def still_holds(self, held: Iterable[tuple[str, Mapping[str, Any]]]) -> bool:
        """Whether the plan is right for an index that others have changed meanwhile.

        It isn't, if they touched documents of its folders, or took ids that it gives.

        Parameters
        ----------
        held
            What the index holds by now.
        """
        self.tables.run("DELETE FROM newer")
        self._learn("newer", held)
        ours = " OR ".join(["source > ? AND source < ?"] * len(self._roots))
        roots = [edge for one in self._roots for edge in (_beneath(one.path), _behind(_beneath(one.path)))]
        lost = f"SELECT 1 FROM (SELECT * FROM held EXCEPT SELECT * FROM newer) WHERE {ours}"
        taken = (
            f"SELECT 1 FROM (SELECT * FROM newer EXCEPT SELECT * FROM held) AS other WHERE {ours} "
            "OR EXISTS (SELECT 1 FROM files WHERE files.name = other.id) "
            "OR EXISTS (SELECT 1 FROM rows WHERE rows.id = other.id)"
        )
        return self.tables.one(lost, *roots) is None and self.tables.one(taken, *roots) is None

    def _learn(self, table: str, held: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """What the index holds."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for id, facts in held:
                source = facts.get("source")
                known = isinstance(source, str) and source.startswith("/") and "\0" not in source
                values = [facts.get(name) for name in ("root", "name", "version", "disk")]
                root, name, version, disk = (one if isinstance(one, str) else None for one in values)
                yield (
                    _id(id),
                    _path(str(source)) if known else None,
                    None if root is None else _path(root),
                    _id(id if name is None else name),
                    version,
                    None if disk is None else _path(disk),
                )

        self.tables.many(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", rows())

    def _prefix(self, path: str, paths: Sequence[str]) -> str:
        """What stands before the names of a folder's files: as before, or something that nobody else has."""
        own, beneath = _path(path), _beneath(path)
        for condition, values in (
            ("root = ? AND source > ?", (own, beneath)),
            ("source > ? AND source < ?", (beneath, _behind(beneath))),
        ):
            found = self.tables.one(f"SELECT source, name FROM held WHERE {condition} LIMIT 1", *values)
            if found is not None and found[0].startswith(beneath):
                relative = storable(to_path(found[0][len(beneath) :]))
                name = to_id(found[1])
                if name.endswith(relative):
                    return name.removesuffix(relative)
                return ""
        if len(paths) == 1 and self.tables.one("SELECT 1 FROM held") is None:
            return ""
        parts = PurePath(path).parts[1:]
        others = [PurePath(other).parts[1:] for other in paths if other != path]
        for length in range(1, len(parts) + 1):
            prefix = storable("/".join(parts[-length:])) + "/"
            taken = self.tables.one(
                "SELECT 1 FROM held WHERE id >= ? AND id < ?", _id(prefix), _id(prefix) + b"\xff"
            )
            if taken is None and not any(other[-length:] == parts[-length:] for other in others):
                return prefix
        return storable(path.lstrip("/")) + "/"

    def _walk(self, number: int) -> None:
        """All files of a folder, with their digests."""
        root = self._roots[number]
        disks = Disks(root.path)

        def rows() -> Iterator[tuple[Any, ...]]:
            rules = self._options.rules()
            for path, relative, format in find_files(root.path, None, self.report, rules):
                source = _path(path)
                try:
                    digest, size, blank = digest_file(path, format)
                except Unreadable as error:
                    self.report.leave_out(relative, error.reason, error.detail)
                    if error.reason != "vanished":
                        self.tables.run("INSERT OR IGNORE INTO kept VALUES (?)", (source,))
                    continue
                if blank:
                    self.report.leave_out(relative, "empty")
                    continue
                version = f"{digest}:{self._reading}"
                before = self._refusals.get(path)
                if before is not None and before[0] == version:
                    self.report.leave_out(relative, before[1], before[2])
                    self.refused[path] = before
                    self.tables.run("INSERT OR IGNORE INTO kept VALUES (?)", (source,))
                    continue
                name = None if format is None else str(format)
                disk = disks.of(os.path.dirname(path))  # noqa: PTH120
                mounted = None if disk is None else _path(disk)
                yield source, number, os.fsencode(relative), name, digest, size, version, mounted

        columns = "source, root, relative, format, digest, size, version, disk"
        try:
            self.tables.many(
                f"INSERT OR IGNORE INTO files ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows()
            )
        except OSError as error:
            raise InvalidInputError(
                f"{root.path}: can't be read: {error.strerror or error}; nothing was changed"
            ) from error

    def _find_gone(self, allow_empty: bool) -> None:
        """Files of the folders that aren't there any more, or are left out by now."""
        listable = lru_cache(maxsize=1 << 12)(is_listable)
        mounted = lru_cache(maxsize=1 << 12)(self._may_be_mounted)
        for root in self._roots:
            beneath = _beneath(root.path)
            for source, version, disk in self.tables.pages(_MISSING, _behind(beneath), beneath):
                if not source.startswith(beneath):
                    continue
                path = to_path(source)
                away = not (allow_empty or disk is None or mounted(root.path, disk))
                if not away and is_certain(path, root.path, listable):
                    self.tables.run(
                        "INSERT OR IGNORE INTO gone (source, version, base, suffix) VALUES (?, ?, ?, ?)",
                        (source, version, *_parts(source)),
                    )
                else:
                    reason = "on a disk that isn't mounted" if away else "unreadable"
                    self.report.leave_out(path[len(root.path) + 1 :], reason)
                    self.tables.run("INSERT OR IGNORE INTO kept VALUES (?)", (source,))

    def _may_be_mounted(self, root: str, disk: bytes) -> bool:
        """Whether files on a disk can be missed: it is mounted, or files lie in its place."""
        beneath = _beneath(to_path(disk))
        if not beneath.startswith(_beneath(root)):  # a stranger's word
            return True
        found = self.tables.one(
            "SELECT 1 FROM files WHERE source > ? AND source < ? LIMIT 1", beneath, _behind(beneath)
        )
        return found is not None or is_mounted(to_path(disk))

    def _check_roots(self) -> None:
        """Refuse a folder with nothing of what the index has of it: a disk may not be mounted."""
        for number, root in enumerate(self._roots):
            beneath = _beneath(root.path)
            held = self.tables.count(
                "SELECT count(*) FROM held WHERE source > ? AND source < ?", beneath, _behind(beneath)
            )
            found = self.tables.one("SELECT 1 FROM files WHERE root = ?", number)
            kept = self.tables.one(
                "SELECT 1 FROM kept WHERE source > ? AND source < ?", beneath, _behind(beneath)
            )
            if held and found is None and kept is None:
                allow = remedy("allow_empty=True", "--allow-empty")
                raise InvalidInputError(
                    f"{root.path}: holds none of the files of the {held:,} documents that the index has of "
                    f"it; if its disk is mounted and that is meant, {allow} deletes them. Nothing was changed"
                )

    def _check_shares(self) -> None:
        """Refuse a folder that has lost most of what the index has of it."""
        for root in self._roots:
            beneath = _beneath(root.path)
            span = "held.source > ? AND held.source < ?"
            lost = self.tables.count(
                "SELECT count(*) FROM held JOIN gone ON gone.source = held.source "
                f"WHERE NOT gone.taken AND {span}",
                beneath,
                _behind(beneath),
            )
            if lost <= _LOST_MOST:
                continue
            held = self.tables.count(f"SELECT count(*) FROM held WHERE {span}", beneath, _behind(beneath))
            if lost > held * _LOST_SHARE:
                allow = remedy("allow_empty=True", "--allow-empty")
                raise InvalidInputError(
                    f"{root.path}: {lost:,} of the {held:,} documents that the index has of it would be "
                    f"deleted, as their files are gone or left out; if that is meant, {allow} deletes them. "
                    "Nothing was changed"
                )

    def _decide(self) -> None:
        """What is to become of each file."""
        self.tables.run(_COMPARE)
        self._find_renamed()
        for number, relative, root in self.tables.pages(_UNNAMED):
            name = self._new_name(self._roots[root].prefix + storable(to_path(relative)))
            self.tables.run(
                "UPDATE files SET name = ?, state = coalesce(state, 'new') WHERE number = ?",
                (_id(name), number),
            )

    def _find_renamed(self) -> None:
        """New files with the content of one that is gone; those of the same name in another folder first."""
        query = (
            "SELECT number, source, version FROM files WHERE state IS NULL AND "
            "EXISTS (SELECT 1 FROM gone WHERE gone.version = files.version) "
            "AND number > CAST(? AS INTEGER) ORDER BY number"
        )
        for same in ("base", "suffix"):
            condition = f"version = ? AND {same} = ? AND NOT taken"
            candidate = f"SELECT source FROM gone WHERE {condition} ORDER BY source LIMIT 1"
            for number, source, version in self.tables.pages(query):
                base, extension = _parts(source)
                found = self.tables.one(candidate, version, base if same == "base" else extension)
                if found is not None:
                    self.tables.run("UPDATE gone SET taken = 1 WHERE source = ?", found)
                    self.tables.run(
                        "UPDATE files SET state = 'renamed', before = ? WHERE number = ?", (*found, number)
                    )

    def _new_name(self, name: str) -> str:
        """A name that no other document has."""
        tried, count = name, 1
        while self._is_taken(tried):
            count += 1
            tried = f"{name}~{count}"
        return tried

    def _is_taken(self, name: str) -> bool:
        """Whether another file's documents are called so, and stay."""
        id = _id(name)
        if self.tables.one("SELECT 1 FROM files WHERE name = ?", id) is not None:
            return True
        found = self.tables.one("SELECT source FROM held WHERE id = ?", id)
        if found is None:
            return False
        return found[0] is None or self.tables.one("SELECT 1 FROM gone WHERE source = ?", found[0]) is None

    def changes(self) -> Iterator[FileChange]:
        """The files that are to be read, in the order of the walk."""
        return map(self._change, self.tables.pages(_CHANGES))

    def change_of(self, source: str) -> FileChange | None:
        """What is to become of a file; None if it isn't to be read."""
        found = self.tables.one(f"{_CHANGE} AND source = ?", _path(source))
        return None if found is None else self._change(found)

    def _change(self, row: tuple[Any, ...]) -> FileChange:
        _, source, name, relative, format, state, root, digest, size, version, disk, before = row
        return FileChange(
            to_path(source),
            to_id(name),
            to_path(relative),
            None if format is None else DocumentFormat(format),
            state,
            self._roots[root].path,
            digest,
            size,
            version,
            None if disk is None else to_path(disk),
            None if before is None else to_path(before),
        )

    def gone(self) -> Iterator[str]:
        """The paths of files whose documents are to be deleted."""
        query = "SELECT source FROM gone WHERE NOT taken AND source > ? ORDER BY source"
        return (to_path(source) for (source,) in self.tables.pages(query))

    def emptied(self) -> Iterator[str]:
        """The paths of tables that have no rows any more, of which the index holds some."""
        query = "SELECT source FROM files WHERE state = 'emptied' AND source > ? ORDER BY source"
        held = "SELECT 1 FROM held WHERE source = ?"
        return (to_path(one) for (one,) in self.tables.pages(query) if self.tables.one(held, one) is not None)

    def ids_of(self, source: str) -> Iterator[str]:
        """The ids of the documents that the index holds of a file."""
        query = "SELECT id FROM held WHERE source = ? AND id > ? ORDER BY id"
        return (to_id(id) for (id,) in self.tables.pages(query, _path(source)))

    def count(self, state: str) -> int:
        """How many files are ``new``, ``changed``, ``renamed`` or ``unchanged``."""
        return self.tables.count("SELECT count(*) FROM files WHERE state = ?", state)

    def close(self) -> None:
        """Forget all of it."""
        self.tables.close()


def _id(id: str) -> bytes:
    return id.encode("utf-8", "surrogatepass")


def _path(path: str) -> bytes:
    """A path as bytes, also one that is none, as a stranger's index may name."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogatepass")


def _parts(source: bytes) -> tuple[bytes, bytes]:
    """A file's name without its folder, and its extension."""
    return source.rpartition(b"/")[2], _path(suffix(to_path(source)))


def _beneath(folder: str) -> bytes:
    """What the paths of all that lies in a folder begin with."""
    return _path(folder.rstrip("/") + "/")


def _behind(beneath: bytes) -> bytes:
    """What no path in that folder reaches."""
    return beneath[:-1] + b"0"


def check_folders(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Folders as absolute paths without links, each once.

    Raises
    ------
    InvalidInputError
        If there is none, or one isn't there.
    """
    paths = []
    for folder in folders:
        given = os.fspath(folder)
        path = os.path.realpath(given)
        if not os.path.exists(path):  # noqa: PTH110
            raise InvalidInputError(f"{given}: no such folder; nothing was changed")
        if not os.path.isdir(path):  # noqa: PTH112
            add = remedy("Retriever.add(documents.read(…))", "lfm2-retrieve add")
            raise InvalidInputError(
                f"{given}: is no folder, and folders are synced; {add} takes single files"
            )
        paths.append(path)
    if not paths:
        raise InvalidInputError("sync takes at least one folder")
    return list(dict.fromkeys(paths))
