"""How fast an encoder is, by length and by batch, beside what the machine's matrix product can do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder
from ..encoder.config import BackboneConfig

__all__ = ["count_flops", "matmul_peak", "measure_throughput"]

_BATCHES = (1, 8, 32)
_MIX = 64
"""Real documents to measure on."""
_FILLER = "water stone bridge garden winter letter music train market harbour silver window"
_SIDES = {"cpu": 1024}
_SIDE_ELSEWHERE = 8192
"""A GPU needs large matrices to show what it can do."""


@dataclass(frozen=True)
class _Work:
    """Texts to encode, so many at a time."""

    what: str
    texts: Sequence[str]
    batch: int
    queries: bool


def measure_throughput(encoder: Encoder, texts: Sequence[str], *, seconds: float = 1.0) -> dict[str, Any]:
    """Texts and tokens a second: 32-token queries, 256- and 512-token documents, and a mix of real ones.

    Parameters
    ----------
    encoder
        What encodes.
    texts
        Real documents, for the mix: 64 of them at even distances, or all.
    seconds
        For each figure, at least, and three rounds, of which the median counts.

    Returns
    -------
    dict
        JSON values: ``peak_flops``, of a product of two square matrices of ``peak_side`` in the encoder's
        dtype, and ``rows``, each with what was encoded, batch, texts and tokens a second, FLOP/s and their
        share of the peak. Tokens are those that the model reads, skipped ones and expansion too.
    """
    peak = matmul_peak(encoder)
    lengths = [length for length in (256, 512) if length <= (encoder.settings.document_length or 512)]
    alike = [
        ("query, 32 tokens", _text_of(encoder, 32, queries=True), True),
        *((f"document, {length} tokens", _text_of(encoder, length), False) for length in lengths),
    ]
    work = [
        _Work(what, [text] * batch, batch, queries) for what, text, queries in alike for batch in _BATCHES
    ]
    if real := [text for text in texts if text.strip()]:
        mix = real[:: max(1, len(real) // _MIX)][:_MIX]
        batches = (*(batch for batch in _BATCHES if batch < len(mix)), len(mix))
        work += [_Work("real documents", mix, batch, False) for batch in batches]
    return {
        "peak_flops": peak,
        "peak_side": _side(encoder),
        "threads": encoder.n_threads,
        "dtype": str(encoder.dtype),
        "rows": [_row(encoder, some, seconds, peak) for some in work],
    }


def count_flops(config: BackboneConfig, out_features: int, lengths: Sequence[int]) -> int:
    """FLOPs of encoding texts of these lengths: two a multiply-add; norms and the like left out.

    Attention counts the pairs of tokens that see each other: about half of all where it is causal.
    """
    hidden, head = config.hidden_size, config.head_dim
    attention = hidden * head * (2 * config.num_heads + 2 * config.num_kv_heads)
    convolution = 4 * hidden * hidden + config.conv_kernel * hidden
    layers = sum(attention if kind == "full_attention" else convolution for kind in config.layer_types)
    per_token = layers + len(config.layer_types) * 3 * hidden * config.ffn_size + hidden * out_features
    full = sum(kind == "full_attention" for kind in config.layer_types)
    pairs = sum(n * n if config.bidirectional else n * (n + 1) // 2 for n in lengths)
    return 2 * (sum(lengths) * per_token + full * pairs * 2 * config.num_heads * head)


def matmul_peak(encoder: Encoder, seconds: float = 0.5) -> float | None:
    """FLOP/s of a square matrix product on the encoder's device, in its dtype: the best of many.

    None where torch has no such product: that of int8 is not a documented one.
    """
    side = _side(encoder)
    a, b = (torch.randn(side, side, device=encoder.device).to(encoder.dtype) for _ in range(2))
    product = getattr(torch, "_int_mm", None) if encoder.dtype == torch.int8 else torch.mm
    try:
        if product is None:
            return None
        product(a, b)
    except RuntimeError:
        return None
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds or best == float("inf"):
        _wait(encoder)
        start = time.perf_counter()
        product(a, b)
        _wait(encoder)
        best = min(best, time.perf_counter() - start)
    return float(2 * side**3 / best)


def _side(encoder: Encoder) -> int:
    return _SIDES.get(encoder.device.type, _SIDE_ELSEWHERE)


def _wait(encoder: Encoder) -> None:
    if encoder.device.type == "cuda":
        torch.cuda.synchronize()


def _row(encoder: Encoder, work: _Work, seconds: float, peak: float | None) -> dict[str, Any]:
    encode = _queries if work.queries else _documents
    batches = [work.texts[start : start + work.batch] for start in range(0, len(work.texts), work.batch)]
    lengths = list(chain.from_iterable(encoder.sequences(work.texts, queries=work.queries)))
    for batch in batches:  # warms up
        encode(encoder, batch)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for batch in batches:
            encode(encoder, batch)
        times.append(time.perf_counter() - start)
    median = float(np.median(times))
    flops = count_flops(encoder.config, encoder.dim, lengths) / median
    return {
        "what": work.what,
        "batch": work.batch,
        "texts_per_second": len(work.texts) / median,
        "tokens_per_second": sum(lengths) / median,
        "mean_tokens": sum(lengths) / len(work.texts),
        "flops": flops,
        "share_of_peak": flops / peak if peak else None,
        "rounds": len(times),
    }


def _text_of(encoder: Encoder, tokens: int, *, queries: bool = False) -> str:
    """A text of about as many tokens, of common words: how many a word has is found by trying.

    Of a model that fills queries up, any short one has as many tokens as its query length says.
    """
    words = _FILLER.split() * (tokens // 4 + 1)
    each = len(_documents(encoder, [" ".join(words[:48])]).embeddings) / 48
    count = max(1, int((tokens - 2) / each))
    if queries:
        while count > 1 and len(_queries(encoder, [" ".join(words[:count])]).embeddings) > tokens:
            count -= 1
    return " ".join(words[:count])


def _queries(encoder: Encoder, texts: Sequence[str]) -> TokenEmbeddings:
    encoder.forget_queries()  # or nothing would be measured
    return encoder.encode_queries(texts, on_cut=_ignore)


def _documents(encoder: Encoder, texts: Sequence[str]) -> TokenEmbeddings:
    encoder.forget_queries()  # a short document alone is kept as a query is
    return encoder.encode_documents(texts, on_cut=_ignore)


def _ignore(_: int) -> None:
    """Cut texts say nothing of speed."""
