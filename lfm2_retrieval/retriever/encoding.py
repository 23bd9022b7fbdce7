"""Texts as vectors, with nothing for those that are blank."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder, TruncationWarning
from ..errors import (
    callers_level,
    remedy,
)

__all__ = ["encode_texts", "read_all", "warn_of_cut"]


def read_all() -> str:
    """The option that reads all of a long document."""
    return remedy("long_documents='window'", "index --long-documents window")


def warn_of_cut(n_cut: int, n_documents: int, encoder: Encoder) -> None:
    """Say that texts were cut."""
    warnings.warn(
        f"{n_cut} of {n_documents} documents were longer than the {encoder.document_length} tokens that are "
        f"read and were cut; {read_all()} reads all of a document",
        TruncationWarning,
        stacklevel=callers_level(),
    )


class Text(Protocol):
    """What has a text that is to be encoded: a `Draft`, or a `Piece`."""

    @property
    def text(self) -> str:
        """The text."""


Item = TypeVar("Item", bound=Text)


def encoded_batches(
    encoder: Encoder, batches: Iterator[list[Item]]
) -> Generator[tuple[list[Item], TokenEmbeddings, int], None, None]:
    """Each batch, its vectors, none for what is without text, and how many of its texts were cut."""
    waiting: deque[tuple[list[Item], list[str]]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            read = [item.text for item in batch]
            waiting.append((batch, read))
            yield [text for text in read if text.strip()]

    with closing(encoder.iter_batches(texts(), output="float16")) as results:
        for embeddings, cut in results:
            batch, read = waiting.popleft()
            yield batch, _with_blanks(embeddings, read), cut


def encode_texts(encoder: Encoder, texts: list[str]) -> tuple[TokenEmbeddings, int]:
    """The texts' vectors, none for one of white space, and how many texts were cut."""
    cuts: list[int] = []
    encoded = encoder.encode_documents(
        [text for text in texts if text.strip()], output="float16", on_cut=cuts.append
    )
    return _with_blanks(encoded, texts), sum(cuts)


def _with_blanks(encoded: TokenEmbeddings, texts: list[str]) -> TokenEmbeddings:
    """The vectors of those texts that aren't blank, with nothing for the others between them."""
    lengths = np.zeros(len(texts), dtype=np.int64)
    lengths[np.array([bool(text.strip()) for text in texts], dtype=bool)] = encoded.lengths
    return replace(encoded, offsets=np.concatenate(([0], np.cumsum(lengths))))
