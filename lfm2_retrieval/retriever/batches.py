"""What people give, by the batch and checked, before it is encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ..documents import FileDocument
from ..encoder import batched, check_whole, numbered
from ..errors import (
    DuplicateIdError,
    InvalidInputError,
    InvalidTypeError,
)
from ..frames import collected, column_names, is_frame, iter_records, length
from ..indexes import Index, encode_metadata
from ..records import COLUMNS, Columns, Draft, Problems, Source, as_mapping, check_names, draft_of

__all__ = ["batches", "is_table", "parsed", "refuse_one"]


def refuse_one(documents: object, what: str = "documents") -> None:
    """Refuse a single document where several are expected."""
    if is_frame(documents) or hasattr(documents, "dtype"):  # also a column, or an array, of texts
        return
    several = f"{what} must be a list or another iterable of {what}"
    if isinstance(documents, Mapping) and any(map(is_table, documents.values())):
        raise InvalidTypeError(f"{several}, not a mapping of several: choose one of {list(documents)}")
    if (
        isinstance(documents, (str, bytes))
        or as_mapping(documents) is not None
        or not isinstance(documents, Iterable)
    ):
        raise InvalidTypeError(f"{several}, not a single one")


def is_table(value: object) -> bool:
    """Whether something has named columns, as a frame or a data set."""
    return column_names(value) is not None


def batches(
    documents: Iterable[Source],
    size: int,
    ids: set[str],
    store: Index | None = None,
    columns: Columns = COLUMNS,
) -> Iterator[list[Draft]]:
    """Documents by the batch; those of a list or a frame are checked as a whole before the first comes out.

    Parameters
    ----------
    documents
        As people give them. What another iterable than a list raises comes after a batch of what it gave
        before; a bad document in its first batch comes at once.
    size
        How many make a batch.
    ids
        Those that none of them may have; theirs are added as they are read. Who numbers some adds the
        numbers, so that no later document comes with one of these.
    store
        An index that must not hold any of their ids.
    columns
        Which columns of rows are what.

    Raises
    ------
    InvalidInputError
        Naming all bad documents of a list or a frame, or of as many as a batch has of another iterable.
    """
    check_whole("batch_size", size, 1)
    documents = collected(documents)
    check_names(column_names(documents), columns)
    whole = isinstance(documents, Sequence) or (is_frame(documents) and length(documents) is not None)
    checked: Iterable[Draft] = _checked(documents, ids, store, columns, None if whole else size)
    if isinstance(documents, Sequence):
        checked = list(checked)
    elif whole:  # a frame, which holds its rows in less memory than Python's objects take
        for _ in checked:
            pass
        checked = _checked(documents, set(), store, columns, size)
    return batched(checked, size, lambda draft: len(draft.text), at_once=InvalidInputError)


def _checked(
    documents: Iterable[Source],
    ids: set[str],
    store: Index | None,
    columns: Columns,
    ahead: int | None,
) -> Iterator[Draft]:
    """The documents, each under an id that neither an earlier one nor the store has, or under none.

    After a bad one come no more; ``ahead`` further ones are looked at, or all, to name the bad ones of these.
    """

    def parse(position: int, source: Source) -> Draft:
        draft = draft_of(source, position, columns)
        if draft.id is not None:
            if draft.id in ids:
                where = f", again in {source.source}" if isinstance(source, FileDocument) else ""
                raise DuplicateIdError(
                    f"the document id {draft.id[:80]!r} comes twice{where}; ids must be unique"
                )
            ids.add(draft.id)
            if store is not None and store.newest_ids([draft.id]):
                raise DuplicateIdError(
                    f"the document id {draft.id[:80]!r} is already in the index {store.path}"
                )
        # Refuses what the index can't store.
        encode_metadata(str(position) if draft.id is None else draft.id, draft.metadata)
        return draft

    return parsed(iter_records(documents), parse, ahead)


_Parsed = TypeVar("_Parsed")


def parsed(
    sources: Iterable[Source], parse: Callable[[int, Source], _Parsed], ahead: int | None
) -> Iterator[_Parsed]:
    """What ``parse`` makes of each source and its position, up to the first that it refuses.

    Then ``ahead`` more are looked at, or all, so that one error names all that is wrong.
    """
    problems = Problems()
    end: int | None = None
    try:
        for position, source in numbered(sources):
            try:
                found = parse(position, source)
            except InvalidInputError as error:
                problems.add(position, error)
                if end is None and ahead is not None:
                    end = position + ahead
            else:
                if not problems:
                    yield found
            if problems and end is not None and position >= end:
                break
    except Exception as error:
        if problems:
            raise problems.error() from error
        raise
    if problems:
        raise problems.error()
