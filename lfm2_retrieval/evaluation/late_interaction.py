"""A corpus as this library searches it: encoded once, in the indexes that are measured."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datatypes import SearchParams, TokenEmbeddings
from ..encoder import Encoder
from ..indexes import Index, Tier
from .by_words import Ranked
from .compat import Compat, is_searched, padded, with_zeros
from .systems import SYSTEMS

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LateInteraction", "encode_queries"]

HYBRID = "hybrid"
_LATENCY_QUERIES = 50


class LateInteraction:
    """A corpus encoded once, in several indexes of the same vectors.

    Parameters
    ----------
    encoder
        What encodes.
    documents
        Id → text.
    indexes
        Which to make: ``"exact"``, a tier, ``"hybrid"``; see `lfm2_retrieval.evaluation.systems`.
    batch_size
        Documents encoded at a time.
    compat
        Which texts count.
    seed
        Of what compressing draws.

    Attributes
    ----------
    facts
        JSON values: tokens, seconds, bytes.
    """

    def __init__(
        self,
        encoder: Encoder,
        documents: Mapping[str, str],
        *,
        indexes: Collection[str],
        batch_size: int = 256,
        compat: Compat | None = None,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.stores = {name: Index.create(None, encoder.dim, tier=_tier(name), seed=seed) for name in indexes}
        self.facts: dict[str, Any] = {"documents": len(documents)}
        try:
            searched = [item for item in documents.items() if is_searched(item[1], compat)]
            texts = [text for _, text in searched]
            self._build(searched, batch_size, padded(encoder, texts) if compat is Compat.PYLATE else None)
        except BaseException:
            self.close()
            raise

    def _build(
        self, documents: Sequence[tuple[str, str]], batch_size: int, zeros: Sequence[bool] | None
    ) -> None:
        encoding, cuts = 0.0, 0
        adding = dict.fromkeys(self.stores, 0.0)

        def cut(count: int) -> None:
            nonlocal cuts
            cuts += count

        with ExitStack() as stack:
            writers = {name: stack.enter_context(store.writer()) for name, store in self.stores.items()}
            for start in range(0, len(documents), batch_size):
                batch = documents[start : start + batch_size]
                began = time.perf_counter()
                texts = [text for _, text in batch]
                vectors = self.encoder.encode_documents(texts, output="float16", on_cut=cut)
                encoding += time.perf_counter() - began
                if zeros is not None:
                    vectors = with_zeros(vectors, zeros[start : start + batch_size])
                for name, writer in writers.items():
                    began = time.perf_counter()
                    writer.add([id for id, _ in batch], vectors, texts if name == HYBRID else None)
                    adding[name] += time.perf_counter() - began
            for name, writer in writers.items():
                began = time.perf_counter()
                writer.commit()
                adding[name] += time.perf_counter() - began
        compressed = {}
        for name, store in self.stores.items():
            if name != "exact":
                began = time.perf_counter()
                compressed[name] = store.build(force=True)  # False: too small, it stays exact
                adding[name] += time.perf_counter() - began
        tokens = next(iter(self.stores.values())).n_tokens
        self.facts |= {
            "encoded": len(documents),
            "cut": cuts,
            "tokens": tokens,
            "encode_seconds": encoding,
            "indexes": {
                name: {
                    "build_seconds": adding[name],
                    "compressed": compressed.get(name, False),
                    "bytes": store.size_bytes(),
                    "bytes_per_token": sum(store.size_bytes().values()) / tokens if tokens else None,
                }
                for name, store in self.stores.items()
            },
        }

    def search(self, system: str, queries: TokenEmbeddings, texts: Sequence[str], k: int) -> Ranked:
        """Search as one of `SYSTEMS` does, by the vectors and the texts of some queries."""
        one = SYSTEMS[system]
        store, params = self.stores[one.index or ""], SearchParams(k, **one.options)
        found = store.search(queries, params, texts=list(texts) if one.index == HYBRID else None)
        return [[(hit.id, hit.score) for hit in hits] for hits in found]

    def latency(self, system: str, texts: Sequence[str], k: int = 10) -> dict[str, Any]:
        """Milliseconds of single queries, searching alone and with encoding: p50, p95 and p99.

        Parameters
        ----------
        texts
            Queries, of which 50 at most are asked.
        """
        asked = [text for text in texts if text.strip()][:_LATENCY_QUERIES]
        if not asked:
            return {}
        first = self.encoder.encode_queries(asked[:1], on_cut=_ignore)
        self.search(system, first, asked[:1], k)  # compiles, reads
        search, both = [], []
        self.encoder.forget_queries()  # or nothing would be encoded
        for text in asked:
            began = time.perf_counter()
            encoded = self.encoder.encode_queries([text], on_cut=_ignore)
            between = time.perf_counter()
            self.search(system, encoded, [text], k)
            ended = time.perf_counter()
            search.append(1000 * (ended - between))
            both.append(1000 * (ended - began))
        return {
            "k": k,
            "queries": len(asked),
            "search_ms": _percentiles(search),
            "with_encoding_ms": _percentiles(both),
        }

    def close(self) -> None:
        """Remove the indexes."""
        for store in self.stores.values():
            store.close()

    def __enter__(self) -> LateInteraction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode_queries(
    encoder: Encoder, texts: Sequence[str], compat: Compat | None = None
) -> tuple[TokenEmbeddings, dict[str, Any]]:
    """All queries' vectors, none for those that aren't searched, and JSON values on how long it took."""
    some = np.array([is_searched(text, compat) for text in texts], dtype=bool)
    began = time.perf_counter()
    cuts: list[int] = []
    encoded = encoder.encode_queries(
        [text for text, searched in zip(texts, some, strict=True) if searched], on_cut=cuts.append
    )
    seconds = time.perf_counter() - began
    lengths = np.zeros(len(texts), dtype=np.int64)
    lengths[some] = encoded.lengths
    spread = TokenEmbeddings(encoded.embeddings, np.concatenate(([0], np.cumsum(lengths))))
    facts = {"queries": len(texts), "encoded": int(some.sum()), "cut": sum(cuts), "encode_seconds": seconds}
    return spread, facts


def _tier(index: str) -> Tier:
    return Tier.BALANCED if index == HYBRID else Tier(index)


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def _ignore(_: int) -> None:
    """Cut texts were counted already."""
