"""What codes of few bytes a token lose: NDCG@10 and recall on a judged collection, pooled or not.

A study beside the library: every code is decoded, and the best of an exact search are put in order anew by
MaxSim on what it gives. Bytes are those of codes and centroid ids, without postings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.evaluation.datasets import beir_ref
from lfm2_retrieval.evaluation.metrics import evaluate
from lfm2_retrieval.indexes.quantization.kmeans import k_means, nearest
from lfm2_retrieval.indexes.quantization.training import train

__all__ = ["CODES", "Collection", "codes", "measure"]

Vectors = NDArray[np.float32]

_DEPTH = 200
"""So many of the exact best are put in order anew."""
_SAMPLE = 1 << 16
_ROUNDS = 12


class Collection(NamedTuple):
    """A judged collection, encoded."""

    ids: Sequence[str]
    documents: TokenEmbeddings
    query_ids: Sequence[str]
    queries: TokenEmbeddings
    qrels: Mapping[str, Mapping[str, int]]


class Coded(NamedTuple):
    """Decoded vectors, and bytes a vector."""

    vectors: Vectors
    n_bytes: float


def measure(
    collection: Collection, codes: Sequence[str] | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """What each code gives, the exact vectors first; JSON values."""
    documents = _unit(collection.documents.embeddings.astype(np.float32))
    best = _best(collection, documents)
    truth = _ordered(collection, documents, best)
    rows = [{"code": "float16", "bytes": 256.0, **_quality(collection, truth, truth)}]
    for name in codes or CODES:
        coded = CODES[name](documents, collection.documents.token_ids, seed)
        found = _ordered(collection, _unit(coded.vectors), best)
        lost = float(np.square(documents - _unit(coded.vectors)).sum(axis=1).mean())
        quality = _quality(collection, found, truth)
        rows.append({"code": name, "bytes": round(coded.n_bytes, 1), "error": round(lost, 4), **quality})
    return rows


def _best(collection: Collection, documents: Vectors) -> list[NDArray[np.int64]]:
    """The exact best documents of each query."""
    offsets = collection.documents.offsets
    full = np.flatnonzero(np.diff(offsets))
    found = []
    for query in _queries(collection):
        products = documents @ query.T
        scores = np.maximum.reduceat(products, offsets[full]).sum(axis=1)
        found.append(full[np.argsort(-scores, kind="stable")[:_DEPTH]])
    return found


def _ordered(
    collection: Collection, documents: Vectors, best: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    offsets = collection.documents.offsets
    found = []
    for query, some in zip(_queries(collection), best, strict=True):
        scores = np.array(
            [(documents[offsets[i] : offsets[i + 1]] @ query.T).max(axis=0).sum() for i in some]
        )
        found.append(some[np.lexsort((some, -scores))])
    return found


def _queries(collection: Collection) -> Iterator[Vectors]:
    for query in collection.queries:
        yield query.astype(np.float32)


def _quality(
    collection: Collection, found: Sequence[NDArray[np.int64]], truth: Sequence[NDArray[np.int64]]
) -> dict[str, float]:
    ranking = {
        id: [collection.ids[i] for i in some[:10].tolist()]
        for id, some in zip(collection.query_ids, found, strict=True)
    }
    recall = [
        len(set(some[:10].tolist()) & set(all[:10].tolist())) / 10
        for some, all in zip(found, truth, strict=True)
    ]
    return {
        "nDCG@10": round(evaluate(collection.qrels, ranking)["nDCG@10"], 4),
        "recall@10": round(float(np.mean(recall)), 3),
    }


# Codes


def _pq(width: int, more: int = 1) -> Callable[..., Coded]:
    """The library's own: centroids, a rotation, and a byte for ``width`` dimensions of what is left."""

    def code(vectors: Vectors, token_ids: Any, seed: int) -> Coded:
        codec = train(_sample(vectors, seed), len(vectors) * more * more, width, seed)
        ids, codes, _ = codec.encode(vectors)
        books = np.concatenate([codec.codebooks[m][codes[:, m]] for m in range(codec.n_codes)], axis=1)
        decoded = np.empty_like(vectors)
        codec.turn_back(codec.turned[ids.astype(np.int64)] + books, decoded)
        return Coded(decoded, codec.n_codes + 2)

    return code


def _by_token(width: int) -> Callable[..., Coded]:
    """Centroids for each token id, as many as it has vectors for; then as above."""

    def code(vectors: Vectors, token_ids: Any, seed: int) -> Coded:
        if token_ids is None or not len(token_ids):
            return Coded(vectors, float("nan"))
        wanted = 8 * np.sqrt(len(vectors)) / len(vectors)
        middle = np.empty_like(vectors)
        for token in np.unique(token_ids):
            mine = np.flatnonzero(token_ids == token)
            n = max(1, round(wanted * len(mine)))
            centroids = k_means(vectors[mine], n, 8, seed) if len(mine) > n else vectors[mine]
            middle[mine] = centroids[nearest(vectors[mine], centroids)[0]]
        return Coded(middle + _product(vectors - middle, width, seed), -(-vectors.shape[1] // width) + 2)

    return code


def _layers(width: int) -> Callable[..., Coded]:
    """Additive: half of the bytes for twice as wide parts, and as many for what these leave."""

    def code(vectors: Vectors, token_ids: Any, seed: int) -> Coded:
        middle = _middle(vectors, seed)
        first = _product(vectors - middle, 2 * width, seed)
        second = _product(vectors - middle - first, 2 * width, seed)
        return Coded(middle + first + second, 128 // width + 2)

    return code


def _signs(bits: int) -> Callable[..., Coded]:
    """RaBitQ-like: a random rotation, a few bits a dimension, and a factor that makes products unbiased."""

    def code(vectors: Vectors, token_ids: Any, seed: int) -> Coded:
        middle = _middle(vectors, seed)
        rest = vectors - middle
        turned = rest @ _random_rotation(vectors.shape[1], seed)
        norms = np.linalg.norm(turned, axis=1, keepdims=True)
        steps = (
            np.clip(
                np.floor(turned / np.maximum(norms, 1e-9) * np.sqrt(vectors.shape[1]) * (1 << bits) / 4),
                -(1 << bits - 1),
                (1 << bits - 1) - 1,
            )
            + 0.5
        )
        # ⟨rest, steps⟩ stretched to ‖rest‖²: the estimate of any product with the vector's own direction.
        factors = np.square(norms) / np.maximum((turned * steps).sum(axis=1, keepdims=True), 1e-9)
        decoded = (steps * factors) @ _random_rotation(vectors.shape[1], seed).T
        return Coded(middle + decoded.astype(np.float32), vectors.shape[1] * bits / 8 + 4)

    return code


def _ordered_bits(n_bytes: int) -> Callable[..., Coded]:
    """Scalars along principal axes, bits to those axes where they take most off the error."""

    def code(vectors: Vectors, token_ids: Any, seed: int) -> Coded:
        middle = _middle(vectors, seed)
        rest = vectors - middle
        _, axes = np.linalg.eigh(np.cov(rest[:: max(1, len(rest) // _SAMPLE)].T))
        turned = rest @ axes.astype(np.float32)
        left = turned.var(axis=0)
        bits = np.zeros(len(left), int)
        for _ in range(8 * n_bytes):
            bits[np.argmax(left)] += 1
            left[np.argmax(left)] /= 3.5  # what a bit more takes off in a Gaussian
        decoded = np.zeros_like(turned)
        some = turned[:: max(1, len(turned) // 16_384)]
        for axis in np.flatnonzero(bits).tolist():
            levels = np.sort(
                k_means(
                    np.ascontiguousarray(some[:, axis : axis + 1]), 1 << min(int(bits[axis]), 8), 8, seed
                )[:, 0]
            )
            decoded[:, axis] = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, turned[:, axis])]
        return Coded(middle + decoded @ axes.T.astype(np.float32), n_bytes + 2)

    return code


CODES: dict[str, Callable[..., Coded]] = {
    "pq4 (compact)": _pq(4),
    "pq4, four times the centroids": _pq(4, 4),
    "pq6": _pq(6),
    "pq8": _pq(8),
    "pq8, four times the centroids": _pq(8, 4),
    "pq9": _pq(9),
    "centroids by token, pq4": _by_token(4),
    "centroids by token, pq8": _by_token(8),
    "two layers of 16": _layers(4),
    "two layers of 8": _layers(8),
    "1 bit (RaBitQ-like)": _signs(1),
    "2 bits (RaBitQ-like)": _signs(2),
    "scalars in order, 16": _ordered_bits(16),
    "scalars in order, 32": _ordered_bits(32),
}
"""By name: vectors, token ids and a seed → `Coded`."""


def _sample(vectors: Vectors, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    return vectors[np.sort(rng.choice(len(vectors), min(len(vectors), 4 * _SAMPLE), replace=False))]


def _middle(vectors: Vectors, seed: int) -> Vectors:
    """The nearest of as many centroids as the library would take."""
    codec = train(_sample(vectors, seed), len(vectors), 8, seed)
    ids, _ = codec.split(vectors)
    return codec.centroids.astype(np.float32)[ids]


def _product(rest: Vectors, width: int, seed: int) -> Vectors:
    """What a byte for ``width`` dimensions makes of what is left, along balanced principal axes."""
    from lfm2_retrieval.indexes.quantization.training import _rotation

    some = rest[:: max(1, len(rest) // _SAMPLE)]
    rotation = _rotation(some, width)
    turned, decoded = rest @ rotation, np.empty((len(rest), rotation.shape[1]), np.float32)
    for at in range(0, turned.shape[1], width):
        part = np.ascontiguousarray(turned[:, at : at + width])
        words = k_means(part[:: max(1, len(part) // _SAMPLE)], 256, _ROUNDS, seed)
        decoded[:, at : at + width] = words[nearest(part, words)[0]]
    return decoded @ rotation.T


def _random_rotation(dim: int, seed: int) -> Vectors:
    turned, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    return turned.astype(np.float32)


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@click.command("codes")
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--model", default="nano", show_default=True)
@click.option(
    "--pool-factor", "factors", type=click.IntRange(1, 4), multiple=True, default=(1, 2), show_default=True
)
@click.option(
    "--code", "chosen", type=click.Choice([*CODES]), multiple=True, help="Repeatable.  [default: all]"
)
@click.option("--queries", type=click.IntRange(min=1), default=150, show_default=True, help="At most, drawn.")
def codes(
    folders: Sequence[Path], *, model: str, factors: Sequence[int], chosen: Sequence[str], queries: int
) -> None:
    """Measure what codes of few bytes lose on judged collections (FOLDERS in BEIR layout)."""
    from lfm2_retrieval.encoder import Encoder

    from .long_documents import drawn

    encoder = Encoder.load(model)
    rows: list[dict[str, Any]] = []
    for folder in folders:
        dataset = drawn(beir_ref(folder).load(), None, queries, np.random.default_rng(0))
        asked = encoder.encode_queries(list(dataset.queries.values()))
        for factor in factors:
            reader = encoder.with_options(pool_factor=factor)
            documents = reader.encode_documents(list(dataset.documents.values()), output="float16")
            collection = Collection(
                list(dataset.documents), documents, list(dataset.queries), asked, dataset.qrels
            )
            for row in measure(collection, chosen or None):
                rows.append({"collection": folder.name, "pool_factor": factor, **row})
                click.echo(str(rows[-1]), err=True)
    print_json({"rows": rows})
