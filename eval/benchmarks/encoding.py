"""How fast texts are encoded: in several dtypes, beside other systems, against the matrix products alone.

Systems take turns within each round, in an order that rotates; what counts is the median of the rounds. All
run in one process, on the same threads. Other systems make their own batches, sorted their way.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lfm2_retrieval import __version__
from lfm2_retrieval.encoder.int8 import SAMPLE
from lfm2_retrieval.platform.machine import cpu_name

from .encoding_systems import Loaded, Vectors, load_ours, load_peer

if TYPE_CHECKING:
    from lfm2_retrieval.encoder import Encoder
    from lfm2_retrieval.encoder.backbone import Backbone

__all__ = ["WORKLOADS", "measure_encoding"]

WORKLOADS = ("mix", "full", "query")
_MEDIAN, _SIGMA, _CUT = 150, 0.6, 512
_QUERY_TOKENS = 32
_QUERIES_A_ROUND = 5
_PEAK_ROWS = 1024
_WORDS = tuple(sorted(set(re.findall(r"[A-Za-z]{3,}", " ".join(SAMPLE)))))


@dataclass
class _Turns:
    """The seconds of each round of one system with one workload, and the vectors of the first."""

    seconds: list[float] = field(default_factory=list)
    vectors: Vectors | None = None


def measure_encoding(
    folder: Path,
    dtypes: Sequence[str],
    against: Sequence[str] = (),
    *,
    documents: int = 256,
    full_documents: int = 4,
    batch_size: int = 32,
    rounds: int = 3,
    threads: int | None = None,
    workloads: Sequence[str] = WORKLOADS,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Measure this library's encoder, and others.

    Parameters
    ----------
    folder
        A checkpoint.
    dtypes
        Of ours: ``"float32"``, ``"bfloat16"``, ``"int8"``. Others run in the first two, where they are named.
    against
        Names in ``PEERS``.
    documents
        Texts in the mix: quantiles of a lognormal distribution of token counts with median 150 and sigma 0.6,
        cut at 512.
    full_documents
        Texts of 512 tokens.
    batch_size
        Of the other systems; this library packs its own.
    threads
        Of torch; None leaves them as they are.
    workloads
        Of ``WORKLOADS``: the mix, the full documents, one query of 32 tokens.

    Returns
    -------
    dict
        What :mod:`eval.benchmarks.encoding_report` prints and draws.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    systems: list[Loaded] = []
    report = _heading(folder, batch_size, rounds, torch.get_num_threads())
    encoder: Encoder | None = None
    for dtype in dtypes:
        on_progress(f"loading lfm2-retrieval {dtype}")
        start = time.perf_counter()
        loaded, encoder = load_ours(folder, dtype)
        systems.append(loaded)
        report["ours"][dtype] = {
            "load_seconds": round(time.perf_counter() - start, 2),
            "kernels": [vars(choice) | {"shape": list(choice.shape)} for choice in encoder.kernels],
            **_peak(encoder, dtype),
        }
    if encoder is None:
        return report
    for kind in against:
        for dtype in (one for one in dtypes if one != "int8"):
            on_progress(f"loading {kind} {dtype}")
            systems.append(load_peer(kind, folder, dtype, batch_size, encoder))
    texts = _texts(encoder, documents, full_documents, seed)
    report["workloads"] = {
        name: {"texts": len(texts[name]), "tokens": sum(len(encoder.document_spans(t)) for t in texts[name])}
        for name in workloads
    }
    report["systems"] = [_facts(system) for system in systems]
    for name in workloads:
        turns = _alternate(systems, name, texts[name], rounds, on_progress)
        reference = turns[0].vectors
        for facts, turn in zip(report["systems"], turns, strict=True):
            if turn.seconds:
                facts["results"][name] = _summary(turn, report["workloads"][name], reference)
    _compare(report)
    return report


def _alternate(
    systems: Sequence[Loaded],
    name: str,
    texts: Sequence[str],
    rounds: int,
    on_progress: Callable[[str], None],
) -> list[_Turns]:
    turns = [_Turns() for _ in systems]
    for system, turn in zip(systems, turns, strict=True):  # the first run of anything is slow
        warm = texts if name == "query" else min(texts, key=len)[:200]
        turn.vectors = (
            system.query(warm[0]) if name == "query" and system.query else system.documents([warm[0]])
        )
    for number in range(rounds):
        for place in range(len(systems)):
            at = (place + number) % len(systems)
            on_progress(f"{name}, round {number + 1} of {rounds}: {systems[at].label}")
            run = _runner(systems[at], name, texts)
            repeats = _QUERIES_A_ROUND if name == "query" else 1
            for _ in range(repeats):
                start = time.perf_counter()
                turns[at].vectors = run()
                turns[at].seconds.append(time.perf_counter() - start)
    return turns


def _runner(system: Loaded, name: str, texts: Sequence[str]) -> Callable[[], Vectors | None]:
    query = system.query
    if name == "query" and query is not None:
        return lambda: query(texts[0])
    return lambda: system.documents(texts)


def _summary(turn: _Turns, workload: Mapping[str, int], reference: Vectors | None) -> dict[str, Any]:
    seconds = statistics.median(turn.seconds)
    cosines = _cosines(turn.vectors, reference)
    return {
        "seconds": round(seconds, 4),
        "rounds": [round(one, 4) for one in turn.seconds],
        "documents_per_second": round(workload["texts"] / seconds, 3),
        "tokens_per_second": round(workload["tokens"] / seconds, 1),
        **cosines,
    }


def _cosines(vectors: Vectors | None, reference: Vectors | None) -> dict[str, float]:
    """Least and mean cosine of token vectors to those of the first system, where they are as many."""
    if not vectors or not reference or [len(v) for v in vectors] != [len(v) for v in reference]:
        return {}
    ours, theirs = (
        np.concatenate([np.asarray(v, np.float64) for v in side]) for side in (vectors, reference)
    )
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / norms
    return {"least_cosine": round(float(cosines.min()), 6), "mean_cosine": round(float(cosines.mean()), 6)}


def _compare(report: dict[str, Any]) -> None:
    """Speed as a multiple of the others', round by round, and as a share of the matrix products' own."""
    systems = report["systems"]
    for facts in systems:
        for name, result in facts["results"].items():
            result["times"] = {
                f"{other['name']} {other['dtype']}": round(
                    statistics.median(
                        theirs / ours
                        for theirs, ours in zip(
                            other["results"][name]["rounds"], result["rounds"], strict=True
                        )
                    ),
                    3,
                )
                for other in systems
                if other is not facts and name in other["results"]
            }
            ours = report["ours"].get(facts["dtype"]) if facts["name"] == "lfm2-retrieval" else None
            if ours is not None and name != "query":
                done = result["tokens_per_second"] * ours["gflop_per_token"]
                result["share_of_peak"] = round(done / ours["peak_gflops"], 3)


def _peak(encoder: Encoder, dtype: str) -> dict[str, float]:
    """GFLOP/s of the model's matrix products alone, at 1,024 rows, each at its best."""
    import torch

    from lfm2_retrieval.encoder.backbone import Backbone
    from lfm2_retrieval.encoder.config import BackboneConfig
    from lfm2_retrieval.encoder.int8 import fastest_milliseconds as of_int8
    from lfm2_retrieval.encoder.linear import fastest_milliseconds

    config: BackboneConfig = encoder.config
    with torch.device("meta"):
        backbone: Backbone = Backbone(config)
    shapes = [tuple(m.weight.shape) for m in backbone.modules() if isinstance(m, torch.nn.Linear)]
    best = {}
    for shape in set(shapes):
        weight = torch.randn(shape) * 0.02
        if dtype == "int8":
            best[shape] = of_int8(weight, _PEAK_ROWS)
        else:
            best[shape] = fastest_milliseconds(weight.to(getattr(torch, dtype)), _PEAK_ROWS)
    gflop = sum(2e-9 * out * into for out, into in shapes)
    milliseconds = sum(best[shape] for shape in shapes)
    return {
        "gflop_per_token": round(gflop, 5),
        "peak_gflops": round(1e3 * gflop * _PEAK_ROWS / milliseconds, 1),
    }


def _texts(encoder: Encoder, documents: int, full: int, seed: int) -> dict[str, list[str]]:
    draw = np.random.default_rng(seed)
    shares = (np.arange(documents) + 0.5) / documents
    normal = statistics.NormalDist()
    counts = [_MEDIAN * np.exp(_SIGMA * normal.inv_cdf(share)) for share in shares]
    mix = [_text(encoder, int(min(_CUT, max(8, count))), draw) for count in counts]
    return {
        "mix": [mix[i] for i in draw.permutation(documents)],
        "full": [_text(encoder, _CUT, draw) for _ in range(full)],
        "query": [_text(encoder, _QUERY_TOKENS, draw)],
    }


def _text(encoder: Encoder, tokens: int, draw: np.random.Generator) -> str:
    """Words that come to so many tokens, with BOS and prefix, or as many as a document may have."""
    text = " ".join(draw.choice(_WORDS, tokens))
    spans = encoder.document_spans(text)
    return text[: int(spans[:tokens, 1].max())].strip()


def _facts(system: Loaded) -> dict[str, Any]:
    return {
        "name": system.name,
        "dtype": system.dtype,
        "version": system.version,
        "parameters": system.parameters,
        "results": {},
    }


def _heading(folder: Path, batch_size: int, rounds: int, threads: int) -> dict[str, Any]:
    import torch

    return {
        "format": 1,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "library": __version__,
        "model": folder.name,
        "command": " ".join(["lfm2-retrieve", *sys.argv[1:]]),
        "machine": {
            "cpu": cpu_name(),
            "cpus": os.cpu_count(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "system": platform.system(),
            "load_at_start": [round(load, 2) for load in os.getloadavg()],
        },
        "protocol": {"threads": threads, "rounds": rounds, "batch_size_of_others": batch_size},
        "ours": {},
        "workloads": {},
        "systems": [],
    }
