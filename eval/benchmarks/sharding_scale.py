"""The command ``shards-at-scale``: millions of short made-up documents in shards: recall, time, memory."""

from __future__ import annotations

import resource
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from lfm2_retrieval import SearchParams, TokenEmbeddings
from lfm2_retrieval.cli._output import print_json

__all__ = ["measure", "shards_at_scale"]

_DIM, _TOKENS, _BATCH = 128, 6, 20_000
_SPREAD, _NOISE = 0.6, 0.35


def _texts(rng: np.random.Generator, centres: np.ndarray, n: int) -> TokenEmbeddings:
    """Texts of a few vectors each, about centres that lie about a topic's."""
    topics = rng.integers(0, len(centres), n)
    own = centres[topics, None] + _SPREAD * rng.standard_normal((n, _TOKENS, _DIM), np.float32) / np.sqrt(
        _DIM
    )
    own += _NOISE * rng.standard_normal((n, 1, _DIM), np.float32) / np.sqrt(_DIM)
    flat = own.reshape(-1, _DIM)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return TokenEmbeddings(flat, np.arange(0, len(flat) + 1, _TOKENS))


def _documents(n: int, centres: np.ndarray) -> Iterator[tuple[int, TokenEmbeddings]]:
    for first in range(0, n, _BATCH):
        rng = np.random.default_rng((1, first))
        yield first, _texts(rng, centres, min(_BATCH, n - first))


def measure(n: int, n_shards: int, n_queries: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Fill shards, compress them with one codec, and compare searches with exact ones."""
    from lfm2_retrieval.distributed import ShardedRetriever, shard_of
    from lfm2_retrieval.distributed.building import manifest_of
    from lfm2_retrieval.distributed.stages import Plan, open_shard
    from lfm2_retrieval.indexes.sharing import digest_of, share_codec, train_shared

    centres = np.random.default_rng(0).standard_normal((max(n // 500, 64), _DIM), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    plan = Plan(uuid.uuid4().hex, n_shards, {}, _DIM, "balanced", False, (), None)
    begun = time.monotonic()
    with TemporaryDirectory() as home:
        folder = Path(home)
        made = [open_shard(folder, plan, number) for number in range(n_shards)]
        for first, texts in _documents(n, centres):
            ids = [f"d{first + i}" for i in range(len(texts))]
            homes = np.array([shard_of(id, n_shards) for id in ids])
            for number, index in enumerate(made):
                mine = np.flatnonzero(homes == number)
                with index.writer() as writer:
                    writer.number({ids[i]: first + i + 1 for i in mine})
                    writer.add([ids[i] for i in mine], texts.select(mine))
            told(f"{first + len(texts):,} documents")
        codec = train_shared(made)
        for index in made:
            if codec is not None:
                share_codec(index, codec)
                index.build(force=True)
            index.merge(retrain=False)
            index.close()
            told("compressed a shard")
        manifest_of(folder, plan, None if codec is None else digest_of(codec)).write(folder)
        report: dict[str, Any] = {"documents": n, "vectors": n * _TOKENS, "shards": n_shards}
        report["build_seconds"] = time.monotonic() - begun
        report["bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        queries = _texts(np.random.default_rng(2), centres, n_queries)
        with ShardedRetriever.open(folder) as opened:
            taken, recalls = [], []
            for i in range(n_queries):
                one = queries.select([i])
                start = time.perf_counter()
                [found] = opened.store.search(one)
                taken.append(1e3 * (time.perf_counter() - start))
                [exact] = opened.store.search(one, SearchParams(10, exact=True))
                recalls.append(len({h.id for h in found} & {h.id for h in exact}) / len(exact))
        report["recall@10"] = statistics.mean(recalls)
        report["p50_ms"] = statistics.median(taken)
        report["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return report


@click.command("shards-at-scale")
@click.option("--documents", "n", type=click.IntRange(min=100), default=5_000_000, show_default=True)
@click.option("--shards", "n_shards", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--queries", "n_queries", type=click.IntRange(min=1), default=50, show_default=True)
def shards_at_scale(n: int, n_shards: int, n_queries: int) -> None:
    """Measure millions of short made-up documents in shards: recall@10, p50, memory and bytes.

    On disk it takes 1.6 kB a document until they are compressed. Times are by the clock.
    """
    print_json(measure(n, n_shards, n_queries, lambda step: click.echo(f"{step} …", err=True)))
