"""What people give for documents, as documents: strings, mappings, rows of tables and databases, objects.

Frames and objects of other libraries are known by what they can do; none of these libraries is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .datatypes import Document, Hit
from .errors import InvalidInputError, InvalidTypeError
from .json_values import is_absent, plain, whole_number
from .titles import join

__all__ = [
    "COLUMNS",
    "Columns",
    "Draft",
    "Problems",
    "Source",
    "as_mapping",
    "check_columns",
    "check_names",
    "document_of",
    "draft_of",
]

Source = Any
"""What is taken for a document: a string, a mapping or another row (`as_mapping`), a `Document`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """Which columns, or keys, of a row are what.

    Parameters
    ----------
    text
        The text.
    id
        The id; None for ``id`` or ``_id``.
    metadata
        All that is kept as metadata; None for whatever is left.
    """

    text: str = "text"
    id: str | None = None
    metadata: tuple[str, ...] | None = None


COLUMNS = Columns()


def check_columns(
    text: str | None = None, id: str | None = None, metadata: Sequence[str] | None = None
) -> Columns:
    """The columns that the keywords of a call name.

    Raises
    ------
    InvalidTypeError
        If one is no name, or ``metadata`` no list of names.
    """
    for name, value in (("text", text), ("id", id)):
        if value is not None and not isinstance(value, str):
            raise InvalidTypeError(f"{name}= is the name of a column, not {value!r:.80}")
    kept = None
    if metadata is not None:
        listed = isinstance(metadata, Iterable) and not isinstance(metadata, (str, bytes, Mapping))
        kept = tuple(metadata) if listed else ()
        if not listed or not all(isinstance(name, str) for name in kept):
            raise InvalidTypeError(
                f"metadata= is a list of the columns to keep, such as ['year', 'lang'], not {metadata!r:.80}"
            )
    return Columns("text" if text is None else text, id, kept)


def check_names(names: Sequence[str] | None, columns: Columns) -> None:
    """Refuse columns that a frame doesn't have, given the names of those that it has (None: not known)."""
    if names is None:
        return
    asked: dict[str, Iterable[str | None]]
    asked = {"text": [columns.text], "id": [columns.id], "metadata": columns.metadata or ()}
    for keyword, wanted in asked.items():
        for name in wanted:
            if name is not None and name not in names:
                raise InvalidInputError(f"the table has no column {name!r}; {_existing(names, keyword)}")


class Problems:
    """Bad documents, gathered so that one error names them all.

    What is the same of several is said once.
    """

    _MOST = 5

    def __init__(self) -> None:
        self._first: dict[str, tuple[InvalidInputError, list[int]]] = {}
        self._kinds: set[type[InvalidInputError]] = set()
        self._counts: dict[str, int] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, position: int, error: InvalidInputError) -> None:
        """Note what is wrong with the document at a position."""
        self._count += 1
        self._kinds.add(type(error))
        says = str(error).replace(f"document {position} ", "document _ ")
        if says not in self._first and len(self._first) < self._MOST:
            self._first[says] = (error, [])
        if says in self._first:
            self._counts[says] = self._counts.get(says, 0) + 1
            if len(positions := self._first[says][1]) <= self._MOST:
                positions.append(position)

    def error(self) -> InvalidInputError:
        """One error for all of them."""
        if self._count == 1:
            [(error, _)] = self._first.values()
            return error
        parts = []
        for says, (error, positions) in self._first.items():
            more = self._counts[says] - len(positions)
            same = ", ".join(map(str, positions[1:])) + (f" and {more} more" if more else "")
            parts.append(f"{error} (so has {same})" if same else str(error))
        if left := self._count - sum(self._counts.values()):
            parts.append(f"{left} more")
        kind = self._kinds.pop() if len(self._kinds) == 1 else InvalidInputError
        return kind(f"{self._count} documents can't be used: {'; '.join(parts)}")


def as_mapping(source: Any) -> Mapping[str, Any] | None:  # noqa: PLR0911  (a line a kind)
    """A row of any kind as a mapping; None for what is none.

    Documents of LangChain, LlamaIndex and Haystack give their text, metadata and id; rows of databases, named
    tuples, data classes and models of pydantic all their fields.
    """
    if isinstance(source, Mapping):
        return source
    if isinstance(source, (str, bytes, type)) or source is None:
        return None
    if isinstance(source, Hit):
        return {"id": source.id, "text": source.text, "metadata": source.metadata}
    if (document := _framework_document(source)) is not None:
        return document
    for method in ("_asdict", "asDict", "model_dump"):  # named tuples and rows of SQLAlchemy; Spark; pydantic
        if callable(to_dict := getattr(source, method, None)):
            found = to_dict()
            return found if isinstance(found, Mapping) else None
    if dataclasses.is_dataclass(source):
        return {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    if hasattr(type(source), "__attrs_attrs__"):
        return {field.name: getattr(source, field.name) for field in type(source).__attrs_attrs__}
    if callable(keys := getattr(source, "keys", None)) and hasattr(source, "__getitem__"):
        if callable(to_dict := getattr(source, "to_dict", None)):  # a row of pandas
            found = to_dict()
            return found if isinstance(found, Mapping) else None
        return {str(key): source[key] for key in keys()}  # sqlite3.Row
    return None


def _framework_document(source: Any) -> dict[str, Any] | None:
    """A LangChain, LlamaIndex or Haystack document: its text, metadata and id."""
    if hasattr(source, "node") and hasattr(source, "score"):  # what LlamaIndex finds
        source = source.node
    if hasattr(source, "page_content"):
        text, metadata, id = (
            source.page_content,
            getattr(source, "metadata", None),
            getattr(source, "id", None),
        )
    elif (
        hasattr(source, "node_id")
        and hasattr(source, "metadata")
        and callable(get := getattr(source, "get_content", None))
    ):
        text, metadata, id = get(), source.metadata, source.node_id
    elif hasattr(source, "content") and hasattr(source, "meta"):
        text, metadata, id = source.content, source.meta, getattr(source, "id", None)
    else:
        return None
    return {"text": text, "metadata": metadata} | ({} if id is None else {"id": id})


class Draft(NamedTuple):
    """A document on its way into an index; one without an id gets a number when it is written.

    ``document`` is itself, if it was given as one.
    """

    id: str | None
    text: str
    metadata: Mapping[str, Any]
    document: Document | None = None


def draft_of(source: Any, position: int = 0, columns: Columns = COLUMNS) -> Draft:
    """What somebody gave as a document, which may have no id; as :func:`document_of`."""
    document, named = _parse(source, position, position, columns)
    given = document if isinstance(source, Document) else None
    return Draft(document.id if named else None, document.text, document.metadata, given)


def document_of(source: Any, number: int = 0, position: int = 0, columns: Columns = COLUMNS) -> Document:
    """What somebody gave as a document.

    Parameters
    ----------
    source
        A string, a row as :func:`as_mapping` knows it, or a document.
    number
        The id of one without.
    position
        How errors call it: its place among those given.
    columns
        Which keys of a row are what.

    Raises
    ------
    InvalidInputError
        If it can't be used. The message names its position or its id.
    """
    return _parse(source, number, position, columns)[0]


def _parse(source: Any, number: int, position: int, columns: Columns) -> tuple[Document, bool]:
    """A document, and whether it came with its id."""
    if isinstance(source, Document):
        metadata = _metadata(source.id, source.metadata, keep_none=True)
        return dataclasses.replace(source, metadata=metadata), True
    if isinstance(source, str):
        return Document(str(number), str(source)), False
    if (text := _scalar_text(source)) is not None:
        return Document(str(number), text), False
    row = as_mapping(source)
    if row is None:
        raise InvalidTypeError(f"document {position} is a {_kind(source)}; {_remedy(source)}")
    if columns.text not in row:
        raise InvalidInputError(f"document {position} has no {columns.text!r}; {_existing(row, 'text')}")
    return _document(dict(row), number, position, columns)


def _document(rest: dict[str, Any], number: int, position: int, columns: Columns) -> tuple[Document, bool]:
    """A row that has a text, as a document, and whether it has an id."""
    text, id = rest.pop(columns.text), None
    if columns.id is None:
        key = "id" if "id" in rest else "_id"
        id = rest.pop(key, None)
    elif columns.id in rest:
        id = rest.pop(columns.id)
    else:
        raise InvalidInputError(f"document {position} has no {columns.id!r}; {_existing(rest, 'id')}")
    named = not is_absent(id)
    id = _id(id, position) if named else str(number)
    if is_absent(text):
        raise InvalidTypeError(
            f"the text of document {id!r} is missing ({text!r}): leave the row out, or give it the text ''"
        )
    if (found := _scalar_text(text)) is not None:
        text = found
    if isinstance(text, str):
        text = join(rest.get("title"), text)
    nested = None if columns.text == "metadata" else rest.pop("metadata", None)
    nested = {} if is_absent(nested) else nested
    if not isinstance(nested, Mapping):
        if columns.metadata is None or "metadata" not in columns.metadata:
            raise InvalidTypeError(f"the metadata of document {id!r} must be a mapping, not {nested!r:.80}")
        nested = {"metadata": nested}
    metadata = {**rest, **nested}
    if columns.metadata is not None:
        metadata = {name: metadata[name] for name in columns.metadata if name in metadata}
    return Document(id, text, _metadata(id, metadata)), named


def _metadata(id: str, metadata: Mapping[str, Any], *, keep_none: bool = False) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidTypeError(
            f"the metadata of document {id!r} must be a mapping, not {type(metadata).__name__}"
        )
    try:
        found: dict[str, Any] = plain(metadata, keep_none=keep_none)
    except InvalidInputError as error:
        raise InvalidInputError(f"the metadata of document {id!r} is not JSON: {error}") from error
    except RecursionError:
        return dict(metadata)  # refused where it is stored, if it is too deep for that
    return found


def _id(value: Any, position: int) -> str:
    """An id as text: whole numbers as their digits, also where pandas made floats of them."""
    number = whole_number(value)
    if number is not None:
        return str(number)
    try:
        found = plain(value)
    except InvalidInputError:
        found = None
    if not isinstance(found, str):
        raise InvalidTypeError(
            f"the id of document {position} must be a str or a whole number, not {type(value).__name__}: "
            f"{value!r:.80}"
        )
    return found


def _scalar_text(value: Any) -> str | None:
    """A string of Arrow or NumPy as one of Python; None for all else."""
    if isinstance(value, str):
        return str(value)
    if callable(as_py := getattr(value, "as_py", None)):
        found = as_py()
        return found if isinstance(found, str) else None
    return None


def _existing(row: Iterable[Any], keyword: str) -> str:
    """What there is in the place of a column that isn't there, and the keyword that names it."""
    names = sorted(map(str, row))
    if not names:
        return "it is empty"
    shown = ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"it has {shown}: {keyword}= names the column"


def _kind(source: object) -> str:
    kind = type(source)
    return (
        kind.__name__
        if kind.__module__ == "builtins"
        else f"{kind.__module__.partition('.')[0]} {kind.__name__}"
    )


def _remedy(source: object) -> str:
    if isinstance(source, (tuple, list)):
        return "name its columns: give a mapping such as dict(zip(names, row)), or the cursor itself"
    if isinstance(source, (bytes, bytearray)):
        return "decode it"
    return "give a str, a mapping or another row with 'text', or a Document"
