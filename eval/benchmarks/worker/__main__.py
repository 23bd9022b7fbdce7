"""The process of one system; see the package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # a script of an interpreter that knows nothing of the project: its folder is a package
    __package__ = "benchmark_worker"
    _home = Path(__file__).parent
    _spec: Any = importlib.util.spec_from_file_location(
        __package__, _home / "__init__.py", submodule_search_locations=[str(_home)]
    )
    sys.modules[__package__] = importlib.util.module_from_spec(_spec)

from .documents import Vectors
from .lance import Lance
from .muvera import Muvera
from .ours import Brute, Lfm2
from .qdrant import Qdrant
from .tachiom import Tachiom
from .torch_systems import FastPlaid, Warp

__all__ = ["SYSTEMS", "main"]

SYSTEMS: dict[str, Any] = {
    "brute": Brute,
    "lfm2": Lfm2,
    "fast-plaid": FastPlaid,
    "warp": Warp,
    "lancedb": Lance,
    "qdrant": Qdrant,
    "muvera": Muvera,
    "tachiom": Tachiom,
}


def _bytes(folder: str) -> dict[str, int]:
    """Sizes of the files in a folder, added up over names that differ in their numbers only.

    Of a file that was made larger than what is in it, the part that takes room counts.
    """
    sizes: dict[str, int] = {}
    for file in Path(folder).rglob("*"):
        if file.is_file():
            name = re.sub(r"\d+", "N", file.name)
            facts = file.stat()
            sizes[name] = sizes.get(name, 0) + min(facts.st_size, 512 * facts.st_blocks)
    return sizes


def _peak() -> int:
    """ru_maxrss would count the process that this one was forked from; VmHWM doesn't."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Session:
    def __init__(self, system: str) -> None:
        self._system = SYSTEMS[system]()

    def build(
        self,
        *,
        vectors: str,
        offsets: str,
        folder: str,
        options: dict[str, Any],
        token_ids: str | None = None,
    ) -> dict[str, Any]:
        documents = Vectors(vectors, offsets, token_ids)
        cpu, started = time.process_time(), time.perf_counter()
        sizes = self._system.build(documents, folder, **options)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "bytes": sizes or _bytes(folder)}

    def open(
        self,
        *,
        folder: str,
        vectors: str,
        offsets: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        self._system.open(folder, Vectors(vectors, offsets), **options)
        return {}

    def load(self, *, queries: str, query_offsets: str) -> dict[str, Any]:
        asked = Vectors(queries, query_offsets)
        self._queries = [asked.read(i, i + 1) for i in range(len(asked))]
        return {}

    def search(self, query: int, k: int, options: dict[str, Any]) -> dict[str, Any]:
        cpu, started = time.process_time(), time.perf_counter()
        ids, scores = self._system.search(self._queries[query], k, **options)
        return {
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "ids": ids,
            "scores": scores,
        }

    def memory(self) -> dict[str, Any]:
        return {"peak": _peak()}


def main(system: str) -> None:
    """Answer requests until the input ends."""
    # Systems print; what they print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        session = _Session(system)
        package = SYSTEMS[system].packages[0]
        answer({"version": _version(package), "python": sys.version.split()[0]})
        for line in sys.stdin:
            request = json.loads(line)
            answer(getattr(session, request.pop("do"))(**request))
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        if not isinstance(error, ImportError):  # which says it all
            raise
        sys.exit(1)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"


if __name__ == "__main__":
    main(sys.argv[1])
