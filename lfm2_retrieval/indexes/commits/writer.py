"""Adding, changing and deleting documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...datatypes import TokenEmbeddings
from ...errors import InvalidInputError
from ...platform.forks import busy
from ..analysis.versions import ANALYSIS, SETTING
from ..catalogue.derived import derive
from ..catalogue.rows import Entry, Row, check_ids, encode_ids, encode_rows, known_ids, unknown_ids
from ..catalogue.schema import last_row, last_source, read_settings, write_settings
from ..catalogue.settings import check_settings
from ..catalogue.sources import sources_of_rows
from ..filters.conditions import ALWAYS, Sql
from ..filters.fields import check_fields
from ..filters.unknown import check_known
from ..filters.where import Where, parse_where
from ..stored_text import decode_text, encode_text
from .documents import DocumentWriter
from .matching import matching
from .transaction import rows_of
from .vectors import to_half

__all__ = ["OnConflict", "Writer"]

_PLACE = "row, key, born"

OnConflict = Literal["error", "replace", "skip"]
"""What `Writer.add` does with an id that the index holds."""


class Writer(DocumentWriter):
    """Changes an index in one transaction; made by `Index.writer` and used in a ``with`` statement.

    Entering takes the index's writer lock. Leaving commits what was done since the last `commit`, or, on an
    exception, drops it. Everything goes straight to disk, and the documents of two commits never to one
    segment. One thread at a time may use it. A call that is refused changes nothing, and the transaction
    goes on; after an error in writing the writer is of no further use.

    Parameters
    ----------
    catalogue
        The index's catalogue.
    timeout
        Seconds to wait for another writer.
    replace
        Makes the settings of a new content from those of the old one, under the lock: the first commit
        retires all that the index held. Where it makes None, the content stays.
    known
        A snapshot that is open, whose segments needn't be opened again.
    on_commit
        Called when there may be a new commit.

    Raises
    ------
    IndexLockedError
        On entering, if another writer is at work for longer than ``timeout``.
    """

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings | Any,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        on_conflict: OnConflict = "error",
    ) -> int:
        """Add documents; readers see them after the commit. Everything is checked before anything is written.

        Parameters
        ----------
        ids
            Not empty, no two alike.
        embeddings
            One text an id, in the same order: `TokenEmbeddings`, or a list of arrays or tensors
            ``[n_tokens, dim]``, see `TokenEmbeddings.of`. Vectors are stored as float16 and otherwise as
            given, so scores are cosines only if the vectors are normalised. A text without tokens is stored
            and never found.
        texts, metadata
            One an id: any string, any JSON object.
        on_conflict
            If the index holds an id: ``"error"`` refuses the call, ``"replace"`` puts the new document in the
            old one's place, ``"skip"`` leaves the old one and adds the others.

        Returns
        -------
        int
            How many documents were added or replaced.

        Raises
        ------
        InvalidInputError
            If the numbers or widths differ, a vector holds NaN, infinity or a value beyond float16 (±65504),
            an id is empty or some metadata isn't JSON.
        DuplicateIdError
            If an id comes twice, or, with ``"error"``, is in the index.
        IndexClosedError
            Outside of its ``with`` statement, or after an error in writing.
        """
        self._check_open()
        if on_conflict not in ("error", "replace", "skip"):
            raise InvalidInputError(f"on_conflict must be 'error', 'replace' or 'skip', not {on_conflict!r}")
        self.refuse_passages("added")
        embeddings = TokenEmbeddings.of(embeddings, self._dim)
        rows = encode_rows(ids, len(embeddings), texts, metadata)
        vectors = to_half(ids, embeddings, self._dim)
        with self._storing():
            known = self._find_ids([row.id for row in rows])
            if known and on_conflict == "error":
                raise known_ids([decode_text(id) for id in known])
            if known and on_conflict == "skip":
                new = [number for number, row in enumerate(rows) if row.id not in known]
                rows, embeddings, known = [rows[number] for number in new], embeddings.select(new), {}
                vectors = to_half(ids, embeddings, self._dim)
            if rows:
                self._begin()
                self._bury(known.values(), places=True)
                self._write(rows, known, vectors, embeddings)
        return len(rows)

    def update(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings | Any | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Change documents; what isn't given (None) stays as it is.

        Without ``embeddings`` the vectors stay where they are, so new metadata costs a row. With them, they
        go to a new segment. The documents keep their places in the order.

        Parameters
        ----------
        ids
            Of documents in the index, no two alike.
        embeddings, texts, metadata
            As for `add`; metadata replace what was there as a whole.

        Returns
        -------
        int
            How many documents were changed.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id; then nothing is changed.
        InvalidInputError, DuplicateIdError, IndexClosedError
            As for `add`.
        """
        self._check_open()
        self.refuse_passages("changed")
        if embeddings is not None:
            embeddings = TokenEmbeddings.of(embeddings, self._dim)
        given = encode_rows(ids, len(ids) if embeddings is None else len(embeddings), texts, metadata)
        vectors = None if embeddings is None else to_half(ids, embeddings, self._dim)
        with self._storing():
            known = self._find_ids([row.id for row in given])
            if unknown := [id for id, row in zip(ids, given, strict=True) if row.id not in known]:
                raise unknown_ids(unknown, "add() adds documents")
            if not given:
                return 0
            rows = given
            if texts is None or metadata is None:
                stored = {row.id: self._stored(row)[1] for row in known.values()}
                rows = [
                    Row(
                        row.id,
                        stored[row.id].text if texts is None else row.text,
                        stored[row.id].metadata if metadata is None else row.metadata,
                    )
                    for row in given
                ]
            self._begin()
            self._bury(known.values(), places=embeddings is not None)
            if embeddings is not None and vectors is not None:
                self._write(rows, known, vectors, embeddings)
            else:
                lengths = np.array([known[row.id].n_tokens for row in rows], np.int64)
                self._insert(rows, lengths, self._number_rows(rows, known))
        return len(rows)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
    ) -> int:
        """Delete documents, by id, by filter or all, those added in this transaction included.

        In an index of passages these are whole documents: ids are theirs, and of what meets a filter all
        passages go.

        Parameters
        ----------
        ids
            One, or several.
        where
            A filter, see `filters`: all documents that meet it. One that says nothing, such as ``{}``, is
            refused.
        all
            Delete all documents.
        missing_ok
            Whether ids that the index doesn't hold are passed over.

        Returns
        -------
        int
            How many were deleted.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id, unless ``missing_ok``; then nothing is deleted.
        InvalidInputError
            If not one of ``ids``, ``where`` and ``all`` is given, the filter isn't understood, or says
            nothing.
        """
        self._check_open()
        if (ids is not None) + (where is not None) + bool(all) != 1:
            raise InvalidInputError("delete takes either ids, where= or all=True")
        with self._storing():
            if self._has_passages and where is None and not all:
                return self._delete_documents(
                    [ids] if isinstance(ids, str) else check_ids(ids or ()), missing_ok=missing_ok
                )
            if where is not None:
                found = self._meeting(where)
            elif all:
                living = self._connection.execute(f"SELECT {_PLACE} FROM documents WHERE +died IS NULL")
                found = rows_of(living)
            else:
                wanted = [ids] if isinstance(ids, str) else check_ids([] if ids is None else ids)
                known = self._find_ids(list(dict.fromkeys(encode_ids(wanted))))
                unknown = [id for id in wanted if encode_text(id) not in known]
                if unknown and not missing_ok:
                    raise unknown_ids(unknown, "missing_ok=True passes over them")
                found = rows_of((one.row, one.key, one.born) for one in known.values())
            if self._has_passages:
                return self._delete_sources(sources_of_rows(self._connection, found[:, 0].tolist()))
            if len(found):
                self._begin()
                self._bury_rows(found, places=True)
        return len(found)

    def _meeting(self, where: Where) -> NDArray[np.int64]:
        """The living documents that meet a filter which says something, as `rows_of` gives them."""
        if isinstance(where, str) and not where.strip():
            where = {}
        condition = parse_where(where)
        if condition == ALWAYS:
            raise InvalidInputError(
                f"the filter {where!r:.80} says nothing, and so all documents would be deleted: if that is "
                "meant, say all=True (--all)"
            )
        # The sign keeps SQLite from the index of living ids, in whose order rows lie all over the file. A
        # field's own index has all that is asked for, so that rows are not read at all.
        alive = Sql("+died IS NULL")
        fields = read_settings(self._connection).get("fields") or ()
        met = matching(self._connection, condition, _PLACE, alive, fields, passages=self._has_passages)
        found = rows_of(met)
        check_known(self._connection, condition.fields(), alive, self._catalogue.checked_fields)
        return found

    def find(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of some documents that the index holds, by id, as this transaction has them."""
        self._check_open()
        with self._storing():
            known = self._find_ids(list(dict.fromkeys(encode_ids(ids))))
            entries = [self._stored(row)[0] for row in known.values()]
            return {entry.id: entry for entry in entries}

    def fill_ids(self, ids: Sequence[str | None], taken: Collection[str] = ()) -> list[str]:
        """Number the documents that have no id, for a call of `add` that follows.

        Parameters
        ----------
        ids
            Of all documents of that call, in order; None for those that are to be numbered.
        taken
            Ids that are to be left to others.

        Returns
        -------
        list[str]
            The ids, with numbers that no document has, and that were given to none before. They count on
            from what was ever added.
        """
        self._check_open()
        given = {id for id in ids if id is not None}
        if None not in ids:
            return [id for id in ids if id is not None]
        with self._storing():
            self._begin()
            # A document's number is less than its row, and rows never come back: so numbers don't, either.
            while True:
                last = self._last_source if self._has_passages else self._last_row
                first = last - self._rows_before
                names = [str(number) for number, id in enumerate(ids, first) if id is None]
                if self._has_passages:
                    used = set(self.has_documents(names))
                else:
                    used = {decode_text(id) for id in self._find_ids(encode_ids(names))}
                used |= {name for name in names if name in given or name in taken}
                if not used:
                    break
                beyond = max(map(int, used)) + 1 - first
                if self._has_passages:
                    self._last_source += beyond
                else:
                    self._last_row += beyond
        free = iter(names)
        return [next(free) if id is None else id for id in ids]

    def next_number(self) -> int:
        """A number that no row and no document has or had."""
        self._check_open()
        with busy:
            last = last_source if self._has_passages else last_row
            if not self._connection.in_transaction:
                return last(self._connection)
            return self._last_source if self._has_passages else self._last_row

    def number(self, numbers: Mapping[str, int]) -> None:
        """Give documents that are added next numbers of their own, which rise in the order of their coming.

        So the parts of a collection have one order: equal scores come by number. A number that isn't above
        all that the index ever had is raised.

        Parameters
        ----------
        numbers
            By id of the document; from 1 on.
        """
        self._check_open()
        self._numbers.update(zip(encode_ids(numbers), numbers.values(), strict=True))

    def set(self, settings: Mapping[str, Any]) -> None:
        """Change settings (JSON values), in the commit of what was done."""
        self._check_open()
        check_settings(settings)
        with self._storing():
            self._begin()
            write_settings(self._connection, settings)

    def configure(self, *, lexical: bool | None = None, fields: Sequence[str] = ()) -> None:
        """Change what is derived from the documents, in the commit of what was done.

        Parameters
        ----------
        lexical
            Whether words are kept, to search by. None: as it is. Words that an older version made are made
            anew, if they are kept.
        fields
            Fields of the metadata to declare, beside those that are: see `fields`.

        Raises
        ------
        InvalidInputError
            If a field can't be named, or they are too many.
        """
        self._check_open()
        with self._storing():
            before = self._replace or read_settings(self._connection)
            wanted: dict[str, Any] = {
                "lexical": bool(before.get("lexical")) if lexical is None else lexical,
                "fields": check_fields([*(before.get("fields") or ()), *check_fields(fields)]),
            }
            if wanted["lexical"]:
                wanted[SETTING] = ANALYSIS
            if wanted != {name: before.get(name) for name in wanted}:
                self._begin()
                write_settings(
                    self._connection, derive(self._connection, read_settings(self._connection), wanted)
                )
                self._lexical, self._old_words = wanted["lexical"], False
