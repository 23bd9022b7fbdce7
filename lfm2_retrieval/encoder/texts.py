"""Texts as they come in, and the report of those that were cut."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..errors import InvalidInputError, InvalidTypeError, callers_level
from .streams import numbered
from .tokenization import Tokens

__all__ = ["TruncationWarning", "check_output", "checked", "count_cut", "each_checked", "report_cut"]


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads, and were cut."""


def checked(texts: Sequence[str]) -> list[str]:
    """The texts as a list; InvalidTypeError, with the position, where one is no string."""
    return list(each_checked(texts))


def each_checked(texts: Iterable[str]) -> Iterator[str]:
    """The same for a stream; that it is not one string is checked at once."""
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        raise InvalidTypeError(
            f"texts must be a list or another iterable of strings, not a {type(texts).__name__}; "
            "for one text give [text]"
        )

    def check() -> Iterator[str]:
        for i, text in numbered(texts):
            if not isinstance(text, str):
                raise InvalidTypeError(f"texts[{i}] is a {type(text).__name__}, not a str")
            yield text

    return check()


def check_output(output: str) -> None:
    """InvalidInputError where vectors can't be had in this dtype."""
    if output not in ("float32", "float16"):
        raise InvalidInputError(f"output must be 'float32' or 'float16', not {output!r}")


def count_cut(texts: list[list[Tokens]]) -> int:
    """How many texts, given as their sequences, were cut."""
    return sum(first.cut for [first, *_] in texts)


def report_cut(
    cut: int, total: int, role: str, length: int | None, on_cut: Callable[[int], None] | None
) -> None:
    """Tell ``on_cut`` how many texts were cut, or warn."""
    if cut and on_cut is not None:
        on_cut(cut)
    elif cut:
        remedy = "; long_documents='window' reads all of a document" if role == "document" else ""
        warnings.warn(
            f"{cut} of {total} {role} texts were longer than the {length} tokens that are read and were cut"
            + remedy,
            TruncationWarning,
            stacklevel=callers_level(),
        )
