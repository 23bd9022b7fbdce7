"""Indexes of all systems: built, and opened to be searched."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lfm2_retrieval.errors import RetrievalError

from .systems import BRUTE, System, Worker
from .workload import Workload

__all__ = ["Skipped", "build", "build_or_read", "try_searches"]


@dataclass
class Skipped:
    """Systems that are left out, by name, and why; unless ``allowed``, the first is an error."""

    allowed: bool
    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def noting(self, system: System) -> Iterator[None]:
        """Note the error of a system, where that is allowed."""
        try:
            yield
        except RetrievalError as error:
            if not self.allowed or system is BRUTE:
                raise
            self.reasons[system.name] = str(error)

    def left(self, systems: Sequence[System]) -> list[System]:
        """Those that are not left out."""
        return [system for system in systems if system.name not in self.reasons]


def build_or_read(  # noqa: PLR0917
    system: System,
    pythons: Mapping[str, str],
    files: Mapping[str, str],
    folder: Path,
    workload: Workload,
    limit: float | None,
) -> dict[str, Any]:
    """What building took, now or when the index in ``folder`` was built of the same vectors and options."""
    noted = folder.with_name(f"{folder.name}.json")
    vectors = zlib.crc32(np.ascontiguousarray(workload.documents.embeddings).view(np.uint8))
    of = {"vectors": vectors, "options": dict(system.build)}
    if noted.is_file():
        known = json.loads(noted.read_text("utf-8"))
        if known["of"] == of:
            return dict(known["facts"])
    if folder.exists():
        shutil.rmtree(folder)
    facts = build(system, pythons, files, str(folder), workload, limit)
    noted.write_text(json.dumps({"of": of, "facts": facts}), "utf-8")
    return facts


def build(  # noqa: PLR0917
    system: System,
    pythons: Mapping[str, str],
    files: Mapping[str, str],
    folder: str,
    workload: Workload,
    limit: float | None,
) -> dict[str, Any]:
    """What building a system's index took; ``limit`` seconds at most."""
    with Worker(system, pythons.get(system.kind)) as worker:
        facts = {"name": system.name, "build_options": dict(system.build), **worker.about}
        if system is BRUTE:
            return facts
        idle = worker.ask("memory")["peak"]
        built = worker.ask(
            "build",
            limit=limit,
            vectors=files["vectors"],
            offsets=files["offsets"],
            folder=folder,
            options=dict(system.build),
            **({"token_ids": files["token_ids"]} if "token_ids" in files else {}),
        )
        peak = worker.ask("memory")["peak"]
    tokens = len(workload.documents.embeddings)
    return facts | {
        "build": {
            "seconds": built["seconds"],
            "cpu_seconds": built["cpu"],
            "tokens_per_second": tokens / built["seconds"],
            "idle_bytes": idle,
            "peak_bytes": peak,
            "bytes": built["bytes"],
            "bytes_per_token": {part: size / tokens for part, size in built["bytes"].items()},
            "bytes_per_token_total": sum(built["bytes"].values()) / tokens,
        }
    }


def try_searches(  # noqa: PLR0917
    system: System, worker: Worker, folder: str, files: Mapping[str, str], workload: Workload, k: int
) -> None:
    """Open an index, and search it once in every way: what fails shows before the long work."""
    stored = {name: files[name] for name in ("vectors", "offsets")}
    worker.ask("open", folder=folder, options=dict(system.open), **stored)
    worker.ask("load", queries=files["plain"], query_offsets=files["plain_offsets"])
    first = int(np.flatnonzero(workload.queries.lengths)[0])
    for options in system.searches.values():
        worker.ask("search", query=first, k=k, options=dict(options))
