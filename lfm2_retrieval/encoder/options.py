"""How documents are read where the caller decides: long ones, and how many vectors are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np

from ..errors import InvalidInputError, InvalidTypeError, remedy

__all__ = ["CONTEXT", "OPTIONS", "DocumentKeywords", "DocumentOptions", "LongDocuments", "check_whole"]

CONTEXT = 32_768
"""The positions that LFM2's backbone was trained to read, whatever a ``config.json`` allows beyond."""

LongDocuments = Literal["truncate", "window", "full"]
_MOST_POOLED = 4


def check_whole(name: str, value: object, least: int) -> None:
    """InvalidInputError where ``value`` is no whole number, or less than ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise InvalidInputError(f"{name} must be at least {least}, not {value}")


class DocumentKeywords(TypedDict, total=False):
    """The fields of :class:`DocumentOptions` as keywords; None leaves one as it is."""

    long_documents: LongDocuments | None
    document_length: int | None
    pool_factor: int | None
    protected_tokens: int | None


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How documents are read.

    Parameters
    ----------
    long_documents
        What happens to a document of more than ``document_length`` positions: ``"truncate"`` cuts it;
        ``"window"`` reads it in windows of that length, which overlap by at least a quarter, and keeps each
        token once, from the window where it has most context. Every window begins with BOS and prefix, whose
        vectors are kept from the first. ``"full"`` is ``"truncate"`` at all that the backbone reads.
    document_length
        The most positions of a sequence, BOS and prefix counted, up to 32,768 or what the checkpoint has.
        None: what the checkpoint was trained with, and for ``"full"`` the most.
    pool_factor
        1 to 4. Above 1, the vectors of a document are clustered to this fraction of their number, see
        :mod:`lfm2_retrieval.encoder.pooling`.
    protected_tokens
        How many vectors at the start of a document stay out of it; by default BOS and prefix.

    Raises
    ------
    InvalidInputError
        If a value is none of these.
    """

    long_documents: LongDocuments = "truncate"
    document_length: int | None = None
    pool_factor: int = 1
    protected_tokens: int = 2

    def __post_init__(self) -> None:
        if self.long_documents not in get_args(LongDocuments):
            raise InvalidInputError(
                f"long_documents must be 'truncate', 'window' or 'full', not {self.long_documents!r}"
            )
        for name, least in (("document_length", 1), ("pool_factor", 1), ("protected_tokens", 0)):
            value = getattr(self, name)
            if value is None and name == "document_length":
                continue
            check_whole(name, value, least)
        if self.pool_factor > _MOST_POOLED:
            raise InvalidInputError(f"pool_factor must be at most {_MOST_POOLED}, not {self.pool_factor}")

    @classmethod
    def recorded(cls, identity: Mapping[str, Any]) -> DocumentOptions:
        """The options that an encoder's ``identity`` names, as an index records it."""
        return cls().changed({field.name: identity.get(field.name) for field in fields(cls)})

    @property
    def chosen(self) -> DocumentKeywords:
        """Those that are not the default."""
        names = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return cast(DocumentKeywords, {name: getattr(self, name) for name in names})

    def changed(self, given: Mapping[str, Any]) -> DocumentOptions:
        """These options with those given; None changes nothing.

        Raises
        ------
        TypeError
            If a name is none of the options'.
        """
        unknown = set(given) - {field.name for field in fields(self)}
        if unknown:
            raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def length(self, trained: int, limit: int) -> int:
        """The most positions of a sequence, for a checkpoint trained at ``trained`` that reads ``limit``.

        Raises
        ------
        InvalidInputError
            If ``document_length`` is more than the checkpoint reads.
        """
        if self.document_length is None:
            return limit if self.long_documents == "full" else min(trained, limit)
        if self.document_length > limit:
            window = remedy("long_documents='window'", "--long-documents window")
            raise InvalidInputError(
                f"document_length must be at most {limit}, the positions that this model reads, not "
                f"{self.document_length}; {window} reads longer documents"
            )
        return int(self.document_length)


OPTIONS = tuple(field.name for field in fields(DocumentOptions))
"""Their names."""
