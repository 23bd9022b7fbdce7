"""Documents as an encoder reads them: their sequences, their vectors, and the characters behind each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..platform.forks import busy
from .engine import Engine
from .options import DocumentOptions
from .packing import embed
from .streams import in_order
from .texts import check_output, checked, count_cut, report_cut
from .tokenization import TextTokenizer, Tokens, columns

if TYPE_CHECKING:
    from .pooling import Clusters

__all__ = ["DocumentEncoder"]


@dataclass(frozen=True)
class DocumentEncoder:
    """How one encoder reads documents.

    Parameters
    ----------
    tokenizer, engine
        Of the encoder.
    options
        How long documents are read, and how many vectors are kept.
    length
        The most positions of a sequence.
    dim
        Of a vector.
    causal
        Whether the backbone is.
    normalize
        Whether vectors get length 1.
    threads
        How many may work on a call.
    """

    tokenizer: TextTokenizer
    engine: Engine
    options: DocumentOptions
    length: int
    dim: int
    causal: bool
    normalize: bool
    threads: int = 1

    def sequences(self, texts: list[str]) -> list[list[Tokens]]:
        """The sequences of each document: one, or one for each window."""
        if self.options.long_documents == "window":
            return self.tokenizer.windows(texts, self.length, causal=self.causal)
        return [[one] for one in self.tokenizer.documents(texts, self.length)]

    def encode(
        self, texts: Sequence[str], output: str, on_cut: Callable[[int], None] | None
    ) -> TokenEmbeddings:
        """The vectors of documents; those that were cut are told."""
        tokens = self.sequences(checked(texts))
        report_cut(count_cut(tokens), len(tokens), "document", self.length, on_cut)
        return self.embed(tokens, output)

    def embed(
        self, tokens: list[list[Tokens]], output: str, stop: threading.Event | None = None
    ) -> TokenEmbeddings:
        """The vectors of documents, pooled where the options say so."""
        check_output(output)
        skip = self.tokenizer.document_skiplist
        if self.options.pool_factor == 1:
            return embed(self.engine, tokens, self.dim, output, skip, stop, self.threads)
        encoded = embed(self.engine, tokens, self.dim, "float32", skip, stop, self.threads)
        return self._clusters(encoded).pooled(encoded, output, normalize=self.normalize)

    def batches(
        self, batches: Iterable[Sequence[str]], output: str
    ) -> Generator[tuple[TokenEmbeddings, int], None, None]:
        """The vectors of each batch, and how many of its texts were cut; in stages that overlap."""

        def read(texts: Sequence[str]) -> list[list[Tokens]]:
            return self.sequences(checked(texts))

        def encode(tokens: list[list[Tokens]], stop: threading.Event) -> tuple[TokenEmbeddings, int]:
            return self.embed(tokens, output, stop), count_cut(tokens)

        return in_order(batches, read, encode)

    def stream(
        self, batches: Iterator[list[str]], output: str, on_cut: Callable[[int], None] | None
    ) -> Iterator[TokenEmbeddings]:
        """Document by document; those that were cut are told by the batch, or else warned of at the end."""
        cuts = total = 0
        for encoded, cut in self.batches(batches, output):
            cuts, total = cuts + cut, total + len(encoded)
            if cut and on_cut is not None:
                on_cut(cut)
            yield from (encoded.select([i]) for i in range(len(encoded)))
        if on_cut is None:
            report_cut(cuts, total, "document", self.length, None)

    def members(self, text: str, stored: NDArray[np.floating] | None) -> list[NDArray[np.int32]]:
        """The characters behind every token of each vector; see :meth:`Encoder.document_members`."""
        [tokens] = self.sequences(checked([text]))
        skip = self.tokenizer.document_skiplist
        kept, _, spans = columns(tokens, skip)
        if self.options.pool_factor == 1:
            return list(spans[kept][:, None])
        encoded = embed(self.engine, [tokens], self.dim, "float32", skip, None, self.threads)
        clusters = self._clusters(encoded)
        found = [spans[kept][rows] for rows in clusters.members(encoded.embeddings)]
        if stored is None:
            return found
        return [found[i] for i in clusters.most_like(encoded, stored)]

    @busy
    def _clusters(self, encoded: TokenEmbeddings) -> Clusters:
        from .pooling import Clusters  # numba's import takes a while, and few need it

        return Clusters.find(encoded, self.options.pool_factor, self.options.protected_tokens)
