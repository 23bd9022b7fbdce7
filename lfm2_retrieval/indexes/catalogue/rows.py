"""A document as a row of the catalogue: its encoding, its checksum, and what callers get back."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import DamagedIndexError, DuplicateIdError, InvalidInputError, InvalidTypeError, UnknownIdError
from ...printable import quoted
from ..stored_text import decode_text, encode_text

if TYPE_CHECKING:
    from .sources import PassageRow, StoredPassage

__all__ = [
    "ALIVE",
    "COLUMNS",
    "Entry",
    "Row",
    "check_id",
    "check_ids",
    "check_whole",
    "checksum",
    "dead_checksum",
    "decode_row",
    "encode_ids",
    "encode_metadata",
    "encode_rows",
    "known_ids",
    "load_json",
    "name_some",
    "row_checksum",
    "unknown_ids",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as stored. ``text`` is None where none was given; ``n_tokens`` counts its vectors.

    In an index of passages it is a passage, under an id of its own and with the metadata of its document.
    """

    id: str
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_tokens: int = 0
    passage: StoredPassage | None = None

    @property
    def encoded(self) -> str | None:
        """What was encoded: the text, of a passage behind the headings in front of it."""
        return self.text if self.passage is None else self.passage.encoded


@dataclass(frozen=True, slots=True)
class Row:
    """What the catalogue stores of a document as it was given: bytes, and JSON in ASCII; or of a passage."""

    id: bytes
    text: bytes | None
    metadata: str
    passage: PassageRow | None = None

    @property
    def words(self) -> bytes | None:
        """What words are made from."""
        return self.text if self.passage is None else self.passage.words


ALIVE = "born <= ? AND (died IS NULL OR died > ?)"
"""The rows of `documents` that are alive at a commit, whose number is bound twice; also of ``sources``."""

_DEEPEST = 500
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')
"""A string of JSON, or a bracket outside of one."""

COLUMNS = "row, key, n_tokens, born, died, crc32, id, text, metadata"
"""What `decode_row` reads of the table ``documents``."""


def decode_row(values: Sequence[Any]) -> Entry:
    """A document as callers see it, from its `COLUMNS`.

    Raises
    ------
    DamagedIndexError
        If the row isn't what was written.
    """
    row, key, n_tokens, born, died, crc32, id, text, metadata = values
    try:
        if row_checksum(died, row, key, n_tokens, born, id, text, metadata) == crc32:
            described = load_json(metadata)
            numbers = (row, key, n_tokens, born, 0 if died is None else died)
            if isinstance(described, dict) and all(type(number) is int for number in numbers):
                return Entry(
                    decode_text(id), None if text is None else decode_text(text), described, n_tokens
                )
    except (DamagedIndexError, TypeError, ValueError):  # other types than were written
        pass
    raise DamagedIndexError(
        f"index.db: the checksum of document {id!r} doesn't match; restore a backup or add it anew"
    )


Value = bytes | str | int | None


def checksum(*values: Value) -> int:
    """The CRC-32 of a row's columns, each with its type and its length.

    Raises
    ------
    TypeError
        If one is of a type that no row has.
    """
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, int):
            parts.append(b"i%d;" % value)
        elif isinstance(value, str):
            data = encode_text(value)
            parts += b"s%d:" % len(data), data
        else:
            parts += b"b%d:" % len(value), value
    return zlib.crc32(b"".join(parts))


def dead_checksum(crc32: int, commit: int) -> int:
    """The checksum of a row that dies with a commit, from that of its life: the rest needn't be read."""
    return zlib.crc32(b"d%d;" % commit, crc32)


def row_checksum(died: int | None, *values: Value) -> int:
    """The checksum of a row that may be dead."""
    crc32 = checksum(*values)
    return crc32 if died is None else dead_checksum(crc32, died)


def check_whole(values: Iterable[object]) -> None:
    """Refuse other values than whole numbers in columns that are for such: SQLite keeps whatever it is given.

    Raises
    ------
    DamagedIndexError
        If there is one.
    """
    for value in values:
        if type(value) is not int:
            raise DamagedIndexError(
                f"index.db: {quoted(value)} stands in the place of a number; repair the index "
                "(Retriever.repair, or lfm2-retrieve repair) or restore a backup"
            )


def load_json(text: str) -> Any:
    """JSON that somebody may have made to do harm.

    Raises
    ------
    ValueError, TypeError
        If it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def encode_ids(ids: Iterable[str]) -> list[bytes]:
    """Some ids to look for, as they are stored; refused as by `check_ids`."""
    return [encode_text(id) for id in check_ids(ids)]


def check_ids(ids: Iterable[str]) -> list[str]:
    """Some ids to look for, as a list.

    Raises
    ------
    InvalidTypeError
        If they are one str, of which each letter would be looked for, or one of them is none.
    """
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidTypeError(f"ids must be a list or another iterable of str, not {ids!r:.80}")
    return [check_id(id) for id in ids]


def check_id(id: object) -> str:
    """An id.

    Raises
    ------
    InvalidTypeError
        If it is no str.
    """
    if not isinstance(id, str):
        raise InvalidTypeError(f"a document's id must be a str, not {type(id).__name__}: {id!r:.80}")
    return id


def name_some(names: Sequence[str]) -> str:
    """A few of many names, each cut to a readable length."""
    shown = ", ".join(repr(name) if len(name) <= 80 else repr(name[:80]) + "…" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def encode_rows(
    ids: Sequence[str],
    n_texts: int,
    texts: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
) -> list[Row]:
    """The rows of a call to ``add``, all of it checked.

    Parameters
    ----------
    ids
        Not empty, each once.
    n_texts
        How many token embeddings came with them.
    texts, metadata
        One an id, or None.

    Raises
    ------
    InvalidInputError
        If the numbers differ, an id is empty or some metadata isn't JSON.
    InvalidTypeError
        If an id or a text is not a str, or some metadata not a mapping.
    DuplicateIdError
        If an id comes twice.
    """
    if isinstance(ids, (str, bytes)) or isinstance(texts, (str, bytes)):
        raise InvalidTypeError("ids and texts are sequences of str, not one str")
    ids = list(ids)
    for name, values in (("token embeddings", range(n_texts)), ("texts", texts), ("metadata", metadata)):
        if values is not None and len(values) != len(ids):
            raise InvalidInputError(f"{len(ids)} ids, but {len(values)} {name}")
    for id in ids:
        if not check_id(id):
            raise InvalidInputError("a document's id must not be empty")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = [id for id in ids if id in seen or seen.add(id)]  # type: ignore[func-returns-value]
        raise DuplicateIdError(f"the same id twice in one call: {name_some(twice)}")
    return [
        Row(encode_text(id), _encode_body(id, text), encode_metadata(id, values))
        for id, text, values in zip(
            ids,
            [None] * len(ids) if texts is None else texts,
            [{}] * len(ids) if metadata is None else metadata,
            strict=True,
        )
    ]


def _encode_body(id: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidTypeError(f"the text of document {id!r} must be a str, not {type(text).__name__}")
    return encode_text(text)


def encode_metadata(id: str, metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON in ASCII; InvalidInputError where they aren't JSON."""
    if not isinstance(metadata, Mapping):
        raise InvalidTypeError(
            f"the metadata of document {id!r} must be a mapping, not {type(metadata).__name__}"
        )
    try:
        encoded = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the metadata of document {id!r} is not JSON: {error}") from error
    if _is_deep(encoded):
        raise InvalidInputError(f"the metadata of document {id!r} is nested more than {_DEEPEST} deep")
    if not _has_str_keys(metadata):
        raise InvalidTypeError(f"the keys in the metadata of document {id!r} must be str")
    return encoded


def _has_str_keys(metadata: Mapping[str, Any]) -> bool:
    """Whether all keys are, at any depth; ``json`` would make ``"1"`` of 1, and two of one name."""
    left: list[Any] = [metadata]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                return False
            left.extend(value.values())
        elif isinstance(value, (list, tuple)):
            left.extend(value)
    return True


def _is_deep(encoded: str) -> bool:
    """Whether JSON is nested more deeply than every SQLite reads."""
    if encoded.count("[") + encoded.count("{") <= _DEEPEST:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(encoded):
        depth += (bracket in "[{") - (bracket in "]}")
        if depth > _DEEPEST:
            return True
    return False


def known_ids(ids: Sequence[str]) -> DuplicateIdError:
    """The error for ids that are in the index and should not be."""
    return DuplicateIdError(
        f"already in the index: {name_some(ids)}; on_conflict='replace' or 'skip' allows that"
    )


def unknown_ids(ids: Sequence[str], remedy: str) -> UnknownIdError:
    """The error for ids that are not in the index and should be."""
    return UnknownIdError(f"not in the index: {name_some(ids)}; {remedy}")
