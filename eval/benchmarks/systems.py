"""What is measured: each system with its options, and the process that answers for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, cast

from lfm2_retrieval.errors import RetrievalError

from . import worker

__all__ = ["BRUTE", "PEERS", "System", "Worker", "lfm2"]

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
)


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
        },
    ),
    "warp": System(
        "warp",
        "warp",
        searches={"default": {}, "nprobe 32, no threshold": {"nprobe": 32, "centroid_score_threshold": 0.0}},
    ),
    "lancedb": System(
        "lancedb",
        "lancedb",
        build={"index_type": "IVF_PQ"},
        searches={"default": {}, "refine 10": {"refine_factor": 10}},
    ),
    "muvera": System("muvera", "muvera", searches={"rerank 100": {}, "rerank 500": {"rerank": 500}}),
    "tachiom": System("tachiom", "tachiom"),
}


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
        self._command = (
            [sys.executable, "-P", worker.__file__] if python is None else [python, "-I", worker.__file__]
        )
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

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer; see `worker`.

        Raises
        ------
        RetrievalError
            If the system fails.
        """
        self._requests.write(json.dumps({"do": do, **request}) + "\n")
        self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            kind = self._system.kind
            hint = f"; does {self._command[0]} have it? --peer-python {kind}=PATH names another interpreter"
            raise RetrievalError(f"{self._system.name}: {answer['error']}{'' if self.about else hint}")
        return answer
