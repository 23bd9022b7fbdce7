"""What is measured: late interaction with an exact or a compressed index, and BM25 as a baseline."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..datatypes import SearchParams, TokenEmbeddings
from ..encoder import Encoder
from ..indexes import CompressedIndex, ExactIndex, Tier

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Bm25", "Compat", "LateInteraction", "Ranked", "encode_queries"]

Ranked = list[list[tuple[str, float]]]
"""A query's documents with scores, the best first."""

_LATENCY_QUERIES = 50


class Compat(StrEnum):
    """Whose evaluator to reproduce, where they differ; see ``eval/README.md``."""

    PYLATE = "pylate"
    SENTENCE_TRANSFORMERS = "sentence-transformers"
    MTEB = "mteb"


def is_searched(text: str, compat: Compat | None) -> bool:
    """Whether a text is encoded at all; one that isn't finds nothing and is never found.

    By itself the library leaves out texts of white space, PyLate and sentence-transformers empty ones,
    mteb none.
    """
    if compat is Compat.MTEB:
        return True
    return bool(text) if compat else bool(text.strip())


_PYLATE_CHUNK = 50_000
"""Documents that PyLate's evaluator pads to one length."""


def _padded(encoder: Encoder, texts: Sequence[str]) -> list[bool]:
    """Which documents PyLate's evaluator scores with a vector of zeros beside their own.

    It pads a chunk of the corpus to its longest document and masks nothing, so that the best match of a
    query's vector in any other is at least 0.
    """
    lengths = [len(encoder.document_spans(text)) for text in texts]
    found: list[bool] = []
    for start in range(0, len(lengths), _PYLATE_CHUNK):
        chunk = lengths[start : start + _PYLATE_CHUNK]
        found += [length < max(chunk) for length in chunk]
    return found


def _with_zeros(vectors: TokenEmbeddings, padded: Sequence[bool]) -> TokenEmbeddings:
    """A vector of zeros after those of some texts."""
    ends = vectors.offsets[1:][np.array(padded, dtype=bool)]
    rows = np.insert(vectors.embeddings, ends, 0, axis=0)
    return TokenEmbeddings(rows, vectors.offsets + np.concatenate(([0], np.cumsum(padded))))


class LateInteraction:
    """A corpus encoded once, in an exact index, a compressed one, or both of the same vectors.

    Parameters
    ----------
    encoder
        What encodes.
    documents
        Id → text.
    tier
        Of the compressed index; None for no such.
    exact
        Whether to make the exact index.
    batch_size
        Documents encoded at a time.
    compat
        Which texts count.
    seed
        Of what the compressed index draws.

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
        tier: Tier | None = None,
        exact: bool = True,
        batch_size: int = 256,
        compat: Compat | None = None,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        tiers = {**({"exact": Tier.EXACT} if exact else {}), **({"compressed": tier} if tier else {})}
        self.stores = {
            name: CompressedIndex.create(None, encoder.dim, tier=one, seed=seed)
            for name, one in tiers.items()
        }
        self.facts: dict[str, Any] = {"documents": len(documents)}
        try:
            searched = [item for item in documents.items() if is_searched(item[1], compat)]
            padded = _padded(encoder, [text for _, text in searched]) if compat is Compat.PYLATE else None
            self._build(searched, batch_size, padded)
        except BaseException:
            self.close()
            raise

    def _build(
        self, documents: Sequence[tuple[str, str]], batch_size: int, padded: Sequence[bool] | None
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
                if padded is not None:
                    vectors = _with_zeros(vectors, padded[start : start + batch_size])
                for name, writer in writers.items():
                    began = time.perf_counter()
                    writer.add([id for id, _ in batch], vectors)
                    adding[name] += time.perf_counter() - began
            for name, writer in writers.items():
                began = time.perf_counter()
                writer.commit()
                adding[name] += time.perf_counter() - began
        if "compressed" in self.stores:
            began = time.perf_counter()
            compressed = self.stores["compressed"].build(force=True)
            adding["compressed"] += time.perf_counter() - began
            self.facts["compressed"] = compressed  # False: too small, it stayed exact
        tokens = next(iter(self.stores.values())).n_tokens
        self.facts |= {
            "encoded": len(documents),
            "cut": cuts,
            "tokens": tokens,
            "encode_seconds": encoding,
            "indexes": {
                name: {
                    "build_seconds": adding[name],
                    "bytes": store.size_bytes(),
                    "bytes_per_token": sum(store.size_bytes().values()) / tokens if tokens else None,
                }
                for name, store in self.stores.items()
            },
        }

    def search(self, system: str, queries: TokenEmbeddings, k: int) -> Ranked:
        """Search in one of the indexes: "exact" or "compressed"."""
        params = SearchParams(k, exact=system == "exact")
        return [[(hit.id, hit.score) for hit in hits] for hits in self.stores[system].search(queries, params)]

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
        self.search(system, self.encoder.encode_queries(asked[:1], on_cut=_ignore), k)  # compiles, reads
        search, both = [], []
        self.encoder.forget_queries()  # or nothing would be encoded
        for text in asked:
            began = time.perf_counter()
            encoded = self.encoder.encode_queries([text], on_cut=_ignore)
            between = time.perf_counter()
            self.search(system, encoded, k)
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


class Bm25:
    """The library's own search by words: an index of the texts alone, searched with ``mode="lexical"``."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        began = time.perf_counter()
        self._index = ExactIndex.create(None, 1)
        # No vectors; an id may be what no index takes.
        nothing = TokenEmbeddings(np.zeros((0, 1), np.float32), np.zeros(len(documents) + 1, np.int64))
        self._ids = list(documents)
        self._index.add([str(place) for place in range(len(documents))], nothing, list(documents.values()))
        self.facts: dict[str, Any] = {
            "build_seconds": time.perf_counter() - began,
            "version": f"lfm2-retrieval {__version__}",
        }

    def search(self, texts: Sequence[str], k: int) -> Ranked:
        """The best documents that share a word with each query; equal scores in the order of the corpus."""
        found = self._index.search(None, SearchParams(k, mode="lexical"), texts=list(texts))
        return [[(self._ids[int(hit.id)], hit.score) for hit in hits] for hits in found]

    def close(self) -> None:
        """Remove the index."""
        self._index.close()

    def __enter__(self) -> Bm25:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def _ignore(_: int) -> None:
    """Cut texts were counted already."""
