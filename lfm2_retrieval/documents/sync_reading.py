"""The documents of files that are new, changed or renamed, and what goes and is renamed for them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from .digests import Unreadable, digest_file
from .file_document import FileDocument
from .formats import TABLES
from .reader import DocumentReader
from .reading import Reading
from .report import ReadingReport
from .rows import ReadOptions
from .sync_plan import FileChange, SyncPlan
from .sync_tables import to_id, to_path
from .workers import Limits

__all__ = ["SyncReading"]

_PASSING = frozenset(("vanished", "unreadable", "changed while it was read"))
_ELSEWHERE = ("of a format that needs an extra", "took more than", "took too much", "brought the parser down")
"""How reasons begin that don't lie in the file alone, so that it is tried again."""
_TAKEN = "of ids that come twice, or that other documents have"


class SyncReading:
    """Reads what a plan says.

    Tables are read to their ends when this is made, so that none is taken in half, and the ids of their rows
    are known before anything is changed.

    Parameters
    ----------
    plan
        What is to be read.
    options, limits
        How.

    Attributes
    ----------
    refused
        What gave nothing, by path: version, reason and detail; not to be tried again in this version.
    """

    def __init__(self, plan: SyncPlan, options: ReadOptions, limits: Limits | None = None) -> None:
        self._plan = plan
        self._tables = plan.tables
        self._options = options
        self._limits = limits
        self._read = ReadingReport()
        self.refused: dict[str, Sequence[str]] = dict(plan.refused)
        self._check_tables()

    @property
    def report(self) -> ReadingReport:
        """What was read so far and what was left out, by the plan's walk, too."""
        report = self._plan.report
        for name in (
            "files",
            "bytes",
            "documents",
            "seconds",
            "formats",
            "encodings",
            "text_columns",
            "types",
        ):
            setattr(report, name, getattr(self._read, name))
        return report

    def _check_tables(self) -> None:
        """Read all tables, and note the ids of their rows."""
        reading = self._reading(change for change in self._plan.changes() if _is_table(change))
        twice: set[str] = set()
        for document in reading.documents():
            if document.source not in twice and not self._note(document.id, document.source):
                twice.add(document.source)
        for source in sorted(twice):
            self._refuse(source, _TAKEN, "")

    def _note(self, id: str, source: str) -> bool:
        """Note a row's id; whether nobody else has it."""
        found = self._tables.one("SELECT source FROM held WHERE id = ?", _id(id))
        if found is not None and (found[0] is None or not self._gives_up(found[0], source)):
            return False
        if self._tables.one("SELECT 1 FROM rows WHERE id = ?", _id(id)) is not None:
            return False
        if self._tables.one("SELECT 1 FROM files WHERE name = ? AND source != ?", _id(id), _path(source)):
            return False
        self._tables.run("INSERT INTO rows VALUES (?, ?)", (_id(id), _path(source)))
        return True

    def _gives_up(self, holder: bytes, source: str) -> bool:
        """Whether the file that an id is of is this one, or was, or goes."""
        if holder == _path(source):
            return True
        if self._tables.one("SELECT 1 FROM files WHERE source = ? AND before = ?", _path(source), holder):
            return True
        return self._tables.one("SELECT 1 FROM gone WHERE source = ? AND NOT taken", holder) is not None

    def _refuse(self, source: str, reason: str, detail: str) -> None:
        """A file gives nothing: what the index holds of it stays."""
        query = "SELECT version, before, relative FROM files WHERE source = ?"
        version, before, relative = self._tables.one(query, _path(source))
        self._plan.report.leave_out(to_path(relative), reason, detail)
        if reason == "empty":
            self._tables.run("UPDATE files SET state = 'emptied' WHERE source = ?", (_path(source),))
        else:
            self._tables.run("UPDATE files SET state = 'refused' WHERE source = ?", (_path(source),))
            self._tables.run("UPDATE gone SET taken = 0 WHERE source = ?", (before,))
        self._tables.run("DELETE FROM rows WHERE source = ?", (_path(source),))
        if reason not in _PASSING and not reason.startswith(_ELSEWHERE):
            self.refused[source] = (str(version), reason, detail)

    def _reading(self, changes: Iterable[FileChange]) -> Reading:
        chosen = (change.chosen for change in changes)
        return Reading([], None, self._options, limits=self._limits, chosen=chosen, on_refusal=self._refuse)

    def deletes(self, *, gone: bool = True) -> Iterator[str]:
        """The ids of documents that go before any is put; ``gone``: also those of files that are gone."""
        for source in chain(self._plan.gone(), self._plan.emptied()) if gone else ():
            yield from self._plan.ids_of(source)
        for change in self._plan.changes():
            if change.state == "changed":
                table = _is_table(change)
                for id in self._plan.ids_of(change.source):
                    stays = self._is_row(id, change.source) if table else id == change.name
                    if not stays:
                        yield id
            elif change.before is not None:
                yield from (old for old, new in self._moves(change) if new is None)

    def renames(self) -> dict[str, str]:
        """The new ids of documents of renamed files, by those that they have."""
        return {
            old: new
            for change in self._plan.changes()
            for old, new in self._moves(change)
            if new is not None and old != new
        }

    def renamed_facts(self) -> dict[str, dict[str, Any]]:
        """What the index is to keep with documents of renamed files, by their new ids."""
        return {
            new: {"source": change.source, **_facts(change)}
            for change in self._plan.changes()
            for _, new in self._moves(change)
            if new is not None
        }

    def _moves(self, change: FileChange) -> Iterator[tuple[str, str | None]]:
        """The documents of the file that a renamed one was: old ids, and new ones, None if there is none."""
        if change.before is None:
            return
        found = self._tables.one("SELECT name FROM held WHERE source = ?", _path(change.before))
        old_name = to_id(found[0])
        for id in self._plan.ids_of(change.before):
            if not _is_table(change):
                yield id, change.name if id == old_name else None
                continue
            new = change.name + id[len(old_name) :] if id.startswith(f"{old_name}:") else id
            yield id, new if self._is_row(new, change.source) else None

    def _is_row(self, id: str, source: str) -> bool:
        found = self._tables.one("SELECT source FROM rows WHERE id = ?", _id(id))
        return found is not None and bool(found[0] == _path(source))

    def documents(self) -> Generator[FileDocument, None, None]:
        """The documents, read ahead of their turn; of a file that changes meanwhile none."""
        with DocumentReader(self._reading(self._plan.changes())) as reader:
            last: FileChange | None = None
            for document in reader:
                self._read = reader.report
                if last is None or last.source != document.source:
                    last = self._plan.change_of(document.source)
                if last is None or not self._is_sound(document, last):
                    continue
                yield replace(document, facts=_facts(last))

    def _is_sound(self, document: FileDocument, change: FileChange) -> bool:
        """Whether a document is of the content that the plan saw."""
        if _is_table(change):  # what else it holds by now is read the next time
            return self._is_row(document.id, change.source)
        try:
            same = digest_file(change.source, change.format).digest == change.digest
        except Unreadable as error:
            self._refuse(change.source, error.reason, error.detail)
            return False
        if not same:
            self._refuse(change.source, "changed while it was read", "")
        return same


def _facts(change: FileChange) -> dict[str, Any]:
    """What an index keeps with the documents of a file."""
    disk = {} if change.disk is None else {"disk": change.disk}
    return {
        **disk,
        "root": change.root,
        "name": change.name,
        "digest": change.digest,
        "size": change.size,
        "version": change.version,
    }


def _is_table(change: FileChange) -> bool:
    return change.format in TABLES.values()


def _id(id: str) -> bytes:
    return id.encode("utf-8", "surrogatepass")


def _path(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
