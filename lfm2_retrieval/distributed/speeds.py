"""The speeds that plans are made from, measured on this machine in half a minute."""

from __future__ import annotations

import math
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from ..datatypes import ScoreKind, SearchParams, TokenEmbeddings
from ..encoder import Encoder
from ..indexes import Found, Index, Tier
from .lists import merged
from .planning import Speeds

__all__ = ["measure_speeds"]

_SMALL, _LARGE, _TOKENS = 2000, 16_000, 16
_QUERIES, _ROUNDS, _QUERY_VECTORS = 20, 3, 16
_WORDS = ("harbour", "tide", "engine", "letter", "winter", "yeast", "copper", "meadow", "signal", "ledger")


def measure_speeds(
    encoder: Encoder, tier: Tier | str = Tier.BALANCED, *, tokens: int = 140, seconds: float = 3.0
) -> Speeds:
    """Measure, in time of the processor, on one thread.

    Parameters
    ----------
    encoder
        Encodes made-up texts, of about so many tokens.
    tier
        Of two indexes of made-up clustered vectors, which are searched; the larger one has 256,000. What
        grows with more vectors is taken to grow with their root, and in the tier ``exact`` in proportion.
    seconds
        How long texts are encoded.
    """
    encode, query_ms = _encoding(encoder, tokens, seconds)
    small, _ = _searching(_SMALL, encoder.dim, tier)
    large, sigma = _searching(_LARGE, encoder.dim, tier)
    millions = [count * _TOKENS / 1e6 for count in (_SMALL, _LARGE)]
    grows = millions if Tier(tier) is Tier.EXACT else [math.sqrt(one) for one in millions]
    slope = max(0.0, (large - small) / (grows[1] - grows[0]))
    base = max(0.0, large - slope * grows[1])
    linear = Tier(tier) is Tier.EXACT
    return Speeds(
        encode=round(encode, 1),
        query_ms=round(query_ms, 3),
        base_ms=round(base, 3),
        root_ms=0.0 if linear else round(slope, 3),
        linear_ms=round(slope, 3) if linear else 0.0,
        sigma=round(sigma, 3),
        merge_us=round(_merging(), 2),
    )


def _encoding(encoder: Encoder, tokens: int, seconds: float) -> tuple[float, float]:
    """Tokens of documents a second, and milliseconds a query."""
    dice = np.random.default_rng(0)
    counted, took = 0, 0.0
    encoder.encode_documents([" ".join(_WORDS)])  # what is compiled at first use
    while took < seconds:
        texts = [" ".join(dice.choice(_WORDS, max(tokens - 2, 1))) for _ in range(16)]
        started = time.process_time()
        counted += len(encoder.encode_documents(texts).embeddings)
        took += time.process_time() - started
    times = []
    for word in _WORDS:
        started = time.process_time()
        encoder.encode_queries([f"what is the {word} of the harbour?"])
        times.append(time.process_time() - started)
    return counted / took, 1e3 * statistics.median(times)


def _searching(count: int, dim: int, tier: Tier | str) -> tuple[float, float]:
    """Milliseconds of a search of so many documents, and how much they differ."""
    dice = np.random.default_rng(1)
    centres = dice.standard_normal((4096, dim)).astype(np.float32)
    with Index.create(None, dim, tier=tier, lexical=False) as index:
        with index.writer() as writer:
            for start in range(0, count, 1000):
                chosen = centres[dice.integers(0, len(centres), 1000 * _TOKENS)]
                vectors = _unit(chosen + 0.5 * dice.standard_normal(chosen.shape).astype(np.float32))
                offsets = np.arange(1001) * _TOKENS
                writer.add([str(start + i) for i in range(1000)], TokenEmbeddings(vectors, offsets))
        index.build(force=True)
        params, times = SearchParams(threads=1), []
        queries = [_unit(centres[dice.integers(0, len(centres), _QUERY_VECTORS)]) for _ in range(_QUERIES)]
        for round_ in range(_ROUNDS + 1):
            for query in queries:
                started = time.process_time()
                index.search([query], params)
                if round_:  # the first one compiles, and fills caches
                    times.append(1e3 * (time.process_time() - started))
    return statistics.median(times), float(np.std(np.log(times)))


def _merging(shards: int = 64, k: int = 100) -> float:
    """Microseconds for one more shard's list."""
    dice = np.random.default_rng(2)
    lists = {
        number: [
            Found(float(score), i, ScoreKind.MAXSIM) for i, score in enumerate(np.sort(dice.random(k))[::-1])
        ]
        for number in range(shards)
    }
    started = time.process_time()
    for _ in range(50):
        merged(lists, shards, 10)
    return 1e6 * (time.process_time() - started) / 50 / shards


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found
