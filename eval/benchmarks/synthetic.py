"""Token vectors without a model: clustered as an encoder's are, in any number, the same for the same seed.

What an index's speed and loss depend on is how vectors cluster, so that is what is imitated:

- every vector belongs to one of `CLUSTERS` clusters ("words"), and their frequencies follow Zipf's law, so a
  few inverted lists are very long and most are short;
- the clusters' centres have a decaying spectrum and a common mean, as real vectors have, so their inner
  products spread around a positive value instead of around zero;
- every document has a topic; half of its vectors come from the topic's own few clusters, and all lean
  towards the topic, so documents that share a topic compete for the first places of a ranking;
- lengths are log-normal.

The constants were chosen so that some statistics are near those of real vectors (`statistics` computes them;
eval/README.md has both). Figures from these vectors compare systems and show growth. Statements about quality
need real text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError

__all__ = ["SyntheticCorpus", "draw_queries", "expand", "repeat", "statistics", "unit"]

CLUSTERS = 8192
DOCUMENTS_PER_TOPIC = 25
_WORDS_PER_TOPIC = 32
_BLOCK = 100
"""Documents that share a generator: any of them are made without making those before."""
_SPREAD, _SHORTEST, _LONGEST = 0.45, 8, 512
_MEAN, _TOPIC, _NOISE, _QUERY_NOISE = 0.3, 0.45, 0.3, 1.3
_EXPANSION_NOISE, _COPY_NOISE = 0.6, 0.1
"""Lengths of the common mean, the topic and the noises, beside a centre of length 1."""


@dataclass(frozen=True)
class SyntheticCorpus:
    """Documents and queries of unit vectors.

    Parameters
    ----------
    n_documents
        How many documents there are.
    dim
        The width of a vector.
    seed
        The same seed gives the same vectors; a document's don't depend on ``n_documents`` as long as the
        count of topics, ``n_documents / DOCUMENTS_PER_TOPIC``, is the same.
    length
        The median number of vectors of a document; each has from 8 to 512.

    Raises
    ------
    InvalidInputError
        If a number is not positive.
    """

    n_documents: int
    dim: int = 128
    seed: int = 0
    length: int = 115
    _centres: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _topics: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _words: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _frequency: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.n_documents, self.dim, self.length) < 1:
            raise InvalidInputError(
                "a corpus needs documents, dimensions and vectors, not "
                f"{self.n_documents}, {self.dim} and {self.length}"
            )
        rng = np.random.default_rng([self.seed, 0])
        topics = max(1, self.n_documents // DOCUMENTS_PER_TOPIC)
        spectrum = np.arange(1, self.dim + 1) ** -0.42
        mean = unit(rng.standard_normal((1, self.dim)))
        centres = unit(unit(rng.standard_normal((CLUSTERS, self.dim)) * spectrum) + _MEAN * mean)
        weights = 1.0 / np.arange(1, CLUSTERS + 1)
        for name, value in (
            ("_centres", centres),
            ("_topics", unit(rng.standard_normal((topics, self.dim)) * spectrum)),
            ("_words", rng.integers(0, CLUSTERS, (topics, _WORDS_PER_TOPIC))),
            ("_frequency", np.cumsum(weights) / weights.sum()),
        ):
            object.__setattr__(self, name, value)

    def documents(self, start: int = 0, stop: int | None = None) -> TokenEmbeddings:
        """Documents ``start`` to ``stop``.

        The vectors are rounded to float16, as encoders' are stored: an index of float16 loses nothing.

        Returns
        -------
        TokenEmbeddings
            float16 ``[n_tokens, dim]``.
        """
        stop = self.n_documents if stop is None else min(stop, self.n_documents)
        numbers = range(start // _BLOCK, -(-max(stop, start + 1) // _BLOCK))
        lengths = np.concatenate([self._lengths(number)[1] for number in numbers])
        chosen = slice(start - numbers[0] * _BLOCK, stop - numbers[0] * _BLOCK)
        # One array, filled in: a million documents fit into memory once, but not twice.
        vectors = np.empty((int(lengths[chosen].sum()), self.dim), np.float16)
        filled = 0
        for number in numbers:
            block = self._block(number)
            first, last = (min(max(at - number * _BLOCK, 0), _BLOCK) for at in (start, stop))
            rows = block.embeddings[block.offsets[first] : block.offsets[max(first, last)]]
            vectors[filled : filled + len(rows)] = rows
            filled += len(rows)
        return TokenEmbeddings(vectors, np.concatenate(([0], np.cumsum(lengths[chosen]))))

    def queries(self, count: int, vectors: int = 12) -> TokenEmbeddings:
        """Queries, each of some vectors of one document, disturbed.

        Parameters
        ----------
        count
            How many.
        vectors
            How many vectors each has.

        Returns
        -------
        TokenEmbeddings
            float32 ``[count * vectors, dim]``.
        """
        rng = np.random.default_rng([self.seed, 1])
        sources = np.sort(rng.integers(0, self.n_documents, count))
        blocks = {number: self._block(number) for number in np.unique(sources // _BLOCK).tolist()}
        parts = [
            draw_queries(blocks[source // _BLOCK].select([source % _BLOCK]), 1, vectors, rng)
            for source in sources.tolist()
        ]
        return TokenEmbeddings.concatenate(parts)

    def _lengths(self, number: int) -> tuple[np.random.Generator, NDArray[np.int64]]:
        """The generator of a block, and how many vectors its documents have."""
        rng = np.random.default_rng([self.seed, 2, number])
        drawn = self.length * np.exp(_SPREAD * rng.standard_normal(_BLOCK))
        return rng, np.clip(drawn, _SHORTEST, _LONGEST).astype(np.int64)

    def _block(self, number: int) -> TokenEmbeddings:
        rng, lengths = self._lengths(number)
        topic = np.repeat(rng.integers(0, len(self._topics), _BLOCK), lengths)
        total = len(topic)
        words = np.searchsorted(self._frequency, rng.random(total))
        own = self._words[topic, rng.integers(0, _WORDS_PER_TOPIC, total)]
        words = np.where(rng.random(total) < 0.5, own, words)
        vectors = self._centres[words] + _TOPIC * self._topics[topic]
        vectors += _NOISE * unit(rng.standard_normal((total, self.dim), dtype=np.float32))
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        return TokenEmbeddings(unit(vectors).astype(np.float16), offsets)


def draw_queries(
    documents: TokenEmbeddings, count: int, vectors: int, rng: np.random.Generator
) -> TokenEmbeddings:
    """Queries that ask for documents: some vectors of a random one, with repetition, disturbed.

    Parameters
    ----------
    documents
        Not all of them empty.
    count, vectors
        How many queries, and how many vectors each has.
    rng
        Where the choice and the disturbance come from.

    Returns
    -------
    TokenEmbeddings
        Unit vectors, float32 ``[count * vectors, dim]``.
    """
    source = rng.choice(np.flatnonzero(documents.lengths), count)
    place = (rng.random((count, vectors)) * documents.lengths[source][:, None]).astype(np.int64)
    chosen = documents.embeddings[(documents.offsets[source][:, None] + place).ravel()]
    noise = unit(rng.standard_normal((count * vectors, documents.dim), dtype=np.float32))
    return TokenEmbeddings(
        unit(unit(chosen.astype(np.float32)) + _QUERY_NOISE * noise), np.arange(count + 1) * vectors
    )


def expand(queries: TokenEmbeddings, length: int, rng: np.random.Generator) -> TokenEmbeddings:
    """Queries filled up to a number of vectors, as encoders with query expansion do.

    What such an encoder adds lies near the query's own vectors; so its own are repeated in turn, disturbed.
    Longer queries are cut, empty ones stay empty.

    Parameters
    ----------
    queries
        What to fill up.
    length
        How many vectors each gets.
    rng
        Where the disturbance comes from.

    Returns
    -------
    TokenEmbeddings
        float32 ``[count * length, dim]``, if none is empty.
    """
    filled = []
    for query in queries:
        rows = query[np.arange(length if len(query) else 0) % max(len(query), 1)].astype(np.float32)
        added = rows[len(query) :]
        added += _EXPANSION_NOISE * unit(rng.standard_normal(added.shape, dtype=np.float32))
        rows[len(query) :] = unit(added)
        filled.append(rows)
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in filled])])
    return TokenEmbeddings(np.concatenate([np.empty((0, queries.dim), np.float32), *filled]), offsets)


def repeat(documents: TokenEmbeddings, count: int, rng: np.random.Generator) -> TokenEmbeddings:
    """Documents again and again until there are so many; the copies' vectors are slightly disturbed.

    Good for latency, size and growth only: what answers a query now stands there several times.
    """
    parts, n = [documents], len(documents)
    while n < count:
        more = documents.select(np.arange(min(len(documents), count - n)))
        noise = unit(rng.standard_normal(more.embeddings.shape, dtype=np.float32))
        copies = unit(more.embeddings.astype(np.float32) + _COPY_NOISE * noise)
        parts.append(TokenEmbeddings(copies.astype(documents.embeddings.dtype), more.offsets))
        n += len(more)
    return TokenEmbeddings.concatenate(parts)


def statistics(documents: TokenEmbeddings, queries: TokenEmbeddings, seed: int = 0) -> dict[str, float]:
    """What says how hard vectors are to compress and to search, of a sample.

    Parameters
    ----------
    documents
        At least twelve, not all of them empty.
    queries
        Likewise.
    seed
        Of the vectors that are drawn.

    Returns
    -------
    dict
        ``cosine``: of two vectors, in the mean; ``cosine_spread``: its standard deviation;
        ``nearest_cosine``: of the nearest of 5,000; ``effective_dimensions``: (Σλ)² / Σλ² of the covariance's
        eigenvalues; ``first``, ``tenth``, ``median``: the MaxSim of the documents of these ranks, by query
        vector, and ``gap``: from the tenth to the next; medians over the queries.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(documents.embeddings))[:5000]
    sample = documents.embeddings[np.sort(chosen)].astype(np.float32)
    cosines = sample @ sample.T
    pairs = cosines[np.triu_indices(len(sample), 1)]
    np.fill_diagonal(cosines, -1)
    spectrum = np.linalg.eigvalsh(np.cov(sample, rowvar=False))
    vectors, starts = documents.embeddings.astype(np.float32), documents.offsets[:-1][documents.lengths > 0]
    ranked = []
    for query in queries:
        scores = np.maximum.reduceat(query.astype(np.float32) @ vectors.T, starts, axis=1).mean(axis=0)
        scores = np.sort(scores)[::-1]
        ranked.append((scores[0], scores[9], np.median(scores), scores[9] - scores[10]))
    first, tenth, median, gap = np.median(ranked, axis=0)
    return {
        "cosine": float(pairs.mean()),
        "cosine_spread": float(pairs.std()),
        "nearest_cosine": float(cosines.max(axis=1).mean()),
        "effective_dimensions": float(spectrum.sum() ** 2 / (spectrum**2).sum()),
        "first": float(first),
        "tenth": float(tenth),
        "median": float(median),
        "gap": float(gap),
    }


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors of length 1 in the same directions, float32; zeros stay."""
    norms: NDArray[np.floating] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
