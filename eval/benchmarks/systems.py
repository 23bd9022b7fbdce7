"""What is measured: each system with its options, and the process that answers for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from lfm2_retrieval.errors import RetrievalError

__all__ = ["BRUTE", "OURS", "PEERS", "System", "Worker", "lfm2"]

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
) | {"LANCE_CPU_THREADS": "4", "LANCE_IO_CORE_RESERVATION": "0"}
"""Lance waits for ever when it builds with fewer threads than two; ``cpu_per_second`` shows what it used."""


_SCRIPT = str(Path(__file__).parent / "worker" / "__main__.py")


@dataclass(frozen=True)
class System:
    """A system, how it builds, and in which ways it searches.

    Parameters
    ----------
    name
        As reports call it.
    kind
        Its key in `worker.SYSTEMS`.
    build, open
        Options of the worker's requests.
    searches
        Label → options: each is measured on its own, over the same index.
    """

    name: str
    kind: str
    build: Mapping[str, Any] = field(default_factory=dict)
    open: Mapping[str, Any] = field(default_factory=dict)
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})


BRUTE = System("brute", "brute")
"""MaxSim by NumPy in float32: the oracle, in every run."""

PEERS = {
    "fast-plaid": System(
        "fast-plaid",
        "fast-plaid",
        searches={
            "default": {},
            "1024 full scores": {"n_full_scores": 1024},
            "256 full scores": {"n_full_scores": 256},
            "256 full scores, 4 lists": {"n_full_scores": 256, "n_ivf_probe": 4},
            "64 full scores, 2 lists": {"n_full_scores": 64, "n_ivf_probe": 2},
        },
    ),
    "warp": System(
        "warp",
        "warp",
        searches={
            "default": {},
            "nprobe 4": {"nprobe": 4},
            "nprobe 16": {"nprobe": 16},
            "nprobe 32, no threshold": {"nprobe": 32, "centroid_score_threshold": 0.0},
            "nprobe 64, no threshold": {"nprobe": 64, "centroid_score_threshold": 0.0},
        },
    ),
    "tachiom": System(
        "tachiom",
        "tachiom",
        searches={
            "5 centroids, 50 documents": {"k_centroids": 5, "k_docs_to_score": 50, "ef_search": 10},
            "10 centroids, 200 documents": {"k_centroids": 10, "k_docs_to_score": 200, "ef_search": 20},
            "default": {},
            "default, no alpha": {"alpha": None},
            "40 centroids, 1000 documents": {
                "k_centroids": 40,
                "k_docs_to_score": 1000,
                "ef_search": 60,
                "alpha": None,
            },
        },
    ),
    "lancedb": System(
        "lancedb",
        "lancedb",
        build={"index_type": "IVF_PQ"},
        searches={
            "nprobes 5, refine 2": {"nprobes": 5, "refine_factor": 2},
            "default": {},
            "refine 10": {"refine_factor": 10},
            "nprobes 50, refine 30": {"nprobes": 50, "refine_factor": 30},
        },
    ),
    "qdrant": System(
        "qdrant",
        "qdrant",
        searches={
            **{f"rerank {n}": {"rerank": n} for n in (50, 100, 250, 500)},
            "rerank 500, float16": {"rerank": 500, "int8": False},
            "all": {},
        },
    ),
    "muvera": System("muvera", "muvera", searches={"rerank 100": {}, "rerank 500": {"rerank": 500}}),
}
"""Settings from quick to thorough, their defaults among them: a curve each."""

OURS: Mapping[str, Mapping[str, Any]] = {
    "nprobe 1, 50 candidates": {"nprobe": 1, "candidates": 50, "rerank": 20},
    "nprobe 2, 100 candidates": {"nprobe": 2, "candidates": 100, "rerank": 30},
    "nprobe 4, 200 candidates": {"nprobe": 4, "candidates": 200, "rerank": 60},
    "nprobe 32, 1500 candidates": {"nprobe": 32, "candidates": 1500, "rerank": 300},
}
"""The same for this library's compressed tiers, beside the default."""


def lfm2(tier: str, searches: Mapping[str, Mapping[str, Any]], *, filtered: bool = False) -> System:
    """This library at a tier; ``searches`` are options of `SearchParams` beside the default, and ``filtered``
    says whether documents get metadata to filter by.
    """
    build = {"tier": tier, "filtered": filtered}
    return System(f"lfm2 {tier}", "lfm2", build, {"tier": tier}, {"default": {}} | dict(searches))


class Worker:
    """A process that runs one system, on one thread; used in a ``with`` statement.

    Parameters
    ----------
    system
        What it runs.
    python
        The interpreter; None for this one.

    Raises
    ------
    RetrievalError
        On entering, if the system doesn't start in that interpreter.
    """

    def __init__(self, system: System, python: str | None = None) -> None:
        self._system = system
        # Isolated, so that this interpreter's PYTHONPATH doesn't leak into another's.
        self._command = [sys.executable, "-P", _SCRIPT] if python is None else [python, "-I", _SCRIPT]
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Worker:
        self._process = subprocess.Popen(
            [*self._command, self._system.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            encoding="utf-8",
        )
        self._requests = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        try:
            self.about = self._answer()
        except RetrievalError:
            self._process.communicate()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def ask(self, do: str, *, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer, at most ``limit`` seconds; see `worker`.

        Raises
        ------
        RetrievalError
            If the system fails, or takes too long.
        """
        self._requests.write(json.dumps({"do": do, **request}) + "\n")
        self._requests.flush()
        if limit is None:
            return self._answer()
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            return self._answer()
        except RetrievalError as error:
            if timer.is_alive():
                raise
            raise RetrievalError(f"{self._system.name}: {do} took longer than {limit:g} s") from error
        finally:
            timer.cancel()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            kind = self._system.kind
            hint = f"; does {self._command[0]} have it? --peer-python {kind}=PATH names another interpreter"
            raise RetrievalError(f"{self._system.name}: {answer['error']}{'' if self.about else hint}")
        return answer
