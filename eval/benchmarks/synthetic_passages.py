"""Made-up token vectors of documents of real length, in any number, drawn on the fly from a seed.

`synthetic` imitates how vectors cluster; among a million documents that isn't enough. What a search at that
size depends on, too, is how scores fall off with the rank, and how alike neighbouring vectors are. So here:

- documents are the leaves of a tree of topics, ten branches at each node. Ever fewer documents share ever
  more of their path with one, and so, as among real documents, a score falls by about as much from the
  10th to the 100th as from the 100th to the 1,000th;
- every vector belongs to one of `WORDS` words, whose frequencies follow Zipf's law; half of a document's
  come from the few that the nodes on its path have;
- a word often goes on in the next vector, as those of several tokens do;
- a query's vectors are those of a document, some hardly disturbed and some much.

The constants were chosen to bring `statistics` near those of vectors of ``nano`` (eval/README.md has both).
Figures from these vectors show time, memory and growth. Statements about quality need real text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError

from .synthetic import unit

__all__ = ["SyntheticPassages"]

WORDS = 1 << 15
BRANCHES = 10
"""Of each topic; and so many documents have one leaf."""
_BLOCK = 100
"""Documents that share a generator: any of them are made without making those before."""
_DECAY, _FIRST = 0.25, 1.6
"""Of the spectrum, and by how much its first two directions stand out."""
_MEAN, _TOPIC, _OWN = 0.24, 0.4, 0.28
"""Lengths of the common mean, the topic and what a document has of its own, beside a centre's 1."""
_NOISES = 0.05, 0.45
"""The length of a vector's noise: evenly spread."""
_GOES_ON, _OF_TOPIC, _WORDS_A_NODE = 0.25, 0.5, 16
_COSINES = 0.5, 1.0
"""Of a query's vectors with those that they are made from: evenly spread."""


@dataclass(frozen=True)
class SyntheticPassages:
    """Documents and queries of unit vectors.

    Parameters
    ----------
    n_documents
        How many documents there are.
    dim
        The width of a vector.
    seed
        The same seed and number of documents give the same vectors.
    shortest, longest
        How many vectors a document has: evenly spread between these.

    Raises
    ------
    InvalidInputError
        If a number is not positive, or ``longest`` less than ``shortest``.
    """

    n_documents: int
    dim: int = 128
    seed: int = 0
    shortest: int = 100
    longest: int = 140
    _centres: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _spectrum: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _frequency: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _topics: list[NDArray[np.float32]] = field(init=False, repr=False, compare=False)
    _words: list[NDArray[np.int32]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.n_documents, self.dim, self.shortest) < 1 or self.longest < self.shortest:
            raise InvalidInputError(
                "a corpus needs documents, dimensions and vectors, not "
                f"{self.n_documents}, {self.dim} and {self.shortest} to {self.longest}"
            )
        rng = np.random.default_rng([self.seed, 0])
        spectrum = np.arange(1, self.dim + 1, dtype=np.float32) ** -_DECAY
        spectrum[:2] *= _FIRST
        mean = unit(rng.standard_normal((1, self.dim)))
        centres = unit(rng.standard_normal((WORDS, self.dim), dtype=np.float32) * spectrum)
        weights = 1.0 / np.arange(1, WORDS + 1)
        sizes = list(self._levels())
        for name, value in (
            ("_centres", unit(centres + np.float32(_MEAN) * mean)),
            ("_spectrum", spectrum),
            ("_frequency", np.cumsum(weights) / weights.sum()),
            (
                "_topics",
                [unit(rng.standard_normal((n, self.dim), dtype=np.float32) * spectrum) for n in sizes],
            ),
            ("_words", [rng.integers(0, WORDS, (n, _WORDS_A_NODE), np.int32) for n in sizes]),
        ):
            object.__setattr__(self, name, value)

    def documents(self, start: int = 0, stop: int | None = None) -> TokenEmbeddings:
        """Documents ``start`` to ``stop``, rounded to float16.

        Returns
        -------
        TokenEmbeddings
            float16 ``[n_tokens, dim]``.
        """
        stop = self.n_documents if stop is None else min(stop, self.n_documents)
        parts = []
        for number in range(start // _BLOCK, -(-max(stop, start + 1) // _BLOCK)):
            first, last = (min(max(at - number * _BLOCK, 0), _BLOCK) for at in (start, stop))
            block = self._block(number)
            whole = first == 0 and last == _BLOCK
            parts.append(block if whole else block.select(np.arange(first, max(first, last))))
        return parts[0] if len(parts) == 1 else TokenEmbeddings.concatenate(parts)

    def queries(self, count: int, vectors: int = 16, among: int | None = None) -> TokenEmbeddings:
        """Queries, each of some vectors of one document, disturbed.

        Parameters
        ----------
        count
            How many.
        vectors
            How many vectors each has.
        among
            Made from so many of the first documents; None for all.

        Returns
        -------
        TokenEmbeddings
            float32 ``[count * vectors, dim]``.
        """
        rng = np.random.default_rng([self.seed, 1])
        rows = []
        for source in np.sort(
            rng.integers(0, min(among or self.n_documents, self.n_documents), count)
        ).tolist():
            document = self.documents(source, source + 1).embeddings.astype(np.float32)
            chosen = unit(document[rng.integers(0, len(document), vectors)])
            cosine = rng.uniform(*_COSINES, (vectors, 1)).astype(np.float32)
            noise = rng.standard_normal((vectors, self.dim), dtype=np.float32) * self._spectrum
            noise -= (noise * chosen).sum(1, keepdims=True) * chosen
            rows.append(cosine * chosen + np.sqrt(1 - np.square(cosine)) * unit(noise))
        return TokenEmbeddings(np.concatenate(rows), np.arange(count + 1) * vectors)

    def _levels(self) -> Iterator[int]:
        """How many topics each level of the tree has, the root's left out."""
        n = BRANCHES
        leaves = max(1, -(-self.n_documents // BRANCHES))
        while n < leaves:
            yield n
            n *= BRANCHES
        yield leaves

    def _block(self, number: int) -> TokenEmbeddings:
        rng = np.random.default_rng([self.seed, 2, number])
        lengths = rng.integers(self.shortest, self.longest, _BLOCK, endpoint=True)
        # Documents that share a topic don't follow one another, as they do in no collection.
        leaves = rng.integers(0, len(self._topics[-1]), _BLOCK)
        paths = [leaves // BRANCHES ** (len(self._topics) - 1 - level) for level in range(len(self._topics))]
        topics = unit(sum(vectors[path] for vectors, path in zip(self._topics, paths, strict=True)))
        own = unit(rng.standard_normal((_BLOCK, self.dim), dtype=np.float32) * self._spectrum)
        ground = np.float32(_TOPIC) * topics + np.float32(_OWN) * own
        document = np.repeat(np.arange(_BLOCK), lengths)
        words = self._drawn(rng, np.stack(paths), document)
        noise = rng.standard_normal((len(words), self.dim), dtype=np.float32)
        noise *= rng.uniform(*_NOISES, (len(words), 1)).astype(np.float32) / np.float32(np.sqrt(self.dim))
        noise += self._centres[words]
        noise += ground[document]
        return TokenEmbeddings(unit(noise).astype(np.float16), np.concatenate(([0], np.cumsum(lengths))))

    def _drawn(
        self, rng: np.random.Generator, paths: NDArray[np.int64], document: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """A word for each vector."""
        total = len(document)
        words = np.searchsorted(self._frequency, rng.random(total))
        places = rng.integers(0, _WORDS_A_NODE, total)
        level = np.where(rng.random(total) < _OF_TOPIC, rng.integers(0, len(self._words), total), -1)
        for at, lists in enumerate(self._words):
            mine = np.flatnonzero(level == at)
            words[mine] = lists[paths[at, document[mine]], places[mine]]
        goes_on = rng.random(total) < _GOES_ON
        goes_on[0] = False
        goes_on[1:] &= document[1:] == document[:-1]
        first = np.maximum.accumulate(np.where(goes_on, 0, np.arange(total)))
        return words[first]
