"""Building and searching, measured. What each figure means is told in ``eval/README.md``."""

from __future__ import annotations

import math
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lfm2_retrieval import __version__
from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import MissingExtraError
from lfm2_retrieval.evaluation import evaluate
from lfm2_retrieval.platform.machine import cpu_name

from .building import Skipped, build_or_read, try_searches
from .systems import BRUTE, ONE_THREAD, System, Worker
from .worker.documents import DRAWN
from .workload import Workload

__all__ = ["measure"]

DEPTHS = (10, 100)
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0)
"""Of the documents, that filters leave."""
_TIES = 50
"""How many documents beyond k the oracle gives, so that those as good as the k-th are known."""
_ROUNDING = 1e-5
_WARM_UP = 3
_UNDISTURBED = 0.9
"""CPU time per second of brute force on a machine that does nothing else, at least."""


@dataclass(frozen=True)
class _Way:
    """A system searching with certain options, and what came of it."""

    system: System
    label: str
    worker: Worker

    def search(self, query: int, k: int, **more: Any) -> dict[str, Any]:
        options = {**self.system.searches[self.label], **more}
        return self.worker.ask("search", query=query, k=k, options=options)


def measure(
    workload: Workload,
    systems: Sequence[System],
    pythons: Mapping[str, str],
    *,
    rounds: int = 3,
    brute_rounds: int = 1,
    turn: int = 8,
    search: bool = True,
    filtered: bool = False,
    skip: bool = False,
    depths: Sequence[int] = DEPTHS,
    build_limit: float | None = None,
    indexes: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Build every system's index and search in it, each in processes of its own, on one thread.

    Parameters
    ----------
    workload
        The vectors.
    systems
        What to measure; brute force is always there too.
    pythons
        Kind of system → the interpreter that has it; the others run in this one.
    rounds
        How often each query is asked.
    brute_rounds
        In how many of the rounds brute force takes part, from the first on. It reads all vectors for every
        query, which nothing in a server does between two searches, and leaves the others cold caches.
    turn
        How many queries a system answers before another takes its turn. With 1 each of them meets caches
        that hold what the others read.
    search
        False to stop after building.
    filtered
        Whether to search under filters too; the systems were made for it.
    depths
        The values of k.
    skip
        Leave out a system that is missing or fails, and say why under ``skipped``.
    build_limit
        Seconds that a build may take; one that takes longer fails.
    indexes
        A folder where indexes are kept, and found again by the next run.
    on_progress
        Told what begins.

    Returns
    -------
    dict
        The report: JSON values.

    Raises
    ------
    RetrievalError
        If a system is missing or fails, unless ``skip`` is set.
    """
    skipped = Skipped(skip)
    chosen = [BRUTE, *systems]
    with tempfile.TemporaryDirectory(prefix="lfm2-bench-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        files = workload.write(folder)
        home = folder if indexes is None else indexes
        home.mkdir(parents=True, exist_ok=True)
        folders = {system.name: home / system.name.replace(" ", "-") for system in chosen}
        rounds *= search
        protocol = {"rounds": rounds, "brute_rounds": min(brute_rounds, rounds), "turn": turn}
        report = _heading(workload, protocol)
        for system in systems:
            on_progress(f"looking for {system.name}")
            with skipped.noting(system), Worker(system, pythons.get(system.kind)):
                pass  # what is missing shows before any work
        for system in skipped.left(chosen):
            on_progress(f"building {system.name}")
            with skipped.noting(system):
                place = folders[system.name]
                report["systems"].append(build_or_read(system, pythons, files, place, workload, build_limit))
        if skip:
            report["skipped"] = skipped.reasons
        if not search:
            return report
        ways = []
        for system in skipped.left(chosen):
            with skipped.noting(system):
                worker = stack.enter_context(Worker(system, pythons.get(system.kind)))
                try_searches(system, worker, str(folders[system.name]), files, workload, DEPTHS[0])
                ways += [_Way(system, label, worker) for label in system.searches]
        report["systems"] = [facts for facts in report["systems"] if facts["name"] not in skipped.reasons]
        _search_all(workload, files, ways, report, depths, on_progress)
        if filtered:
            on_progress("searching under filters")
            for worker in dict.fromkeys(way.worker for way in ways):
                worker.ask("load", queries=files["plain"], query_offsets=files["plain_offsets"])
            report["filtered"] = _filtered(workload, ways, rounds)
        for way in ways:
            facts = next(one for one in report["systems"] if one["name"] == way.system.name)
            facts["search_peak_bytes"] = way.worker.ask("memory")["peak"]
    return report


def _heading(workload: Workload, protocol: Mapping[str, int]) -> dict[str, Any]:
    return {
        "format": 2,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "library": __version__,
        "machine": {
            "cpu": cpu_name(),
            "cpus": os.cpu_count(),
            "system": platform.system(),
            "load_at_start": [round(load, 2) for load in os.getloadavg()],
        },
        "workload": workload.describe(),
        "protocol": {**protocol, "threads": 1, "environment": ONE_THREAD},
        "systems": [],
        "notes": [],
    }


def _search_all(  # noqa: PLR0917
    workload: Workload,
    files: Mapping[str, str],
    ways: Sequence[_Way],
    report: dict[str, Any],
    depths: Sequence[int],
    on_progress: Callable[[str], None],
) -> None:
    """Ask all kinds of queries for all depths, and put into the report what came of it."""
    for facts in report["systems"]:
        mine = [way.label for way in ways if way.system.name == facts["name"]]
        facts["searches"] = {label: {kind: {} for kind in workload.asked} for label in mine}
    for kind, queries in workload.asked.items():
        for worker in dict.fromkeys(way.worker for way in ways):
            worker.ask("load", queries=files[kind], query_offsets=files[f"{kind}_offsets"])
        for k in (depth for depth in depths if depth <= len(workload.documents)):
            on_progress(f"searching, {kind} queries, k = {k}")
            results = _search(workload, queries, ways, k, report["protocol"], report["notes"])
            for way, result in zip(ways, results, strict=True):
                facts = next(one for one in report["systems"] if one["name"] == way.system.name)
                facts["searches"][way.label][kind][str(k)] = result


def _search(  # noqa: PLR0917
    workload: Workload,
    asked: TokenEmbeddings,
    ways: Sequence[_Way],
    k: int,
    protocol: Mapping[str, int],
    notes: list[str],
) -> list[dict[str, Any]]:
    """Ask every query of every way, a few a turn, in another order each time; a summary of each way."""
    queries = np.flatnonzero(asked.lengths).tolist()
    for query in queries[:_WARM_UP]:
        for way in ways:
            way.search(query, k)
    rounds, turn = protocol["rounds"], protocol["turn"]
    seconds = np.full((len(ways), rounds, len(queries)), np.nan)
    cpu = np.full_like(seconds, np.nan)
    found: list[dict[int, list[int]]] = [{} for _ in ways]
    for again in range(rounds):
        for first in range(0, len(queries), turn):
            for number in np.roll(np.arange(len(ways)), -(again + first // turn)).tolist():
                if ways[number].system is BRUTE and again >= protocol["brute_rounds"]:
                    continue
                for place, query in enumerate(queries[first : first + turn], first):
                    answer = ways[number].search(query, k)
                    seconds[number, again, place] = answer["seconds"]
                    cpu[number, again, place] = answer["cpu"]
                    found[number].setdefault(query, _known(answer["ids"], ways[number], workload, notes))
    oracle = [ways[0].search(query, k + _TIES) for query in queries]
    share = float(np.nansum(cpu[0]) / np.nansum(seconds[0]))
    if share < _UNDISTURBED:
        notes.append(
            f"k = {k}: the machine was busy, brute force got {share:.0%} of a processor. Milliseconds and "
            "their ratios mean little; CPU times suffer less."
        )
    medians, cpu_medians = np.nanmedian(seconds, axis=1) * 1000, np.nanmedian(cpu, axis=1) * 1000
    results = []
    for number in range(len(ways)):
        p50, p95, p99 = (float(np.percentile(medians[number], q)) for q in (50, 95, 99))
        results.append(
            {
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "p50_ms_by_round": [
                    float(np.median(one)) * 1000 for one in seconds[number] if not np.isnan(one).any()
                ],
                "ratio_to_brute": p50 / float(np.median(medians[0])),
                "p50_cpu_ms": float(np.median(cpu_medians[number])),
                "cpu_ratio_to_brute": float(np.median(cpu_medians[number]) / np.median(cpu_medians[0])),
                "cpu_per_second": round(float(np.nansum(cpu[number]) / np.nansum(seconds[number])), 2),
                "recall": _recall(oracle, [found[number][query] for query in queries], k),
                **_quality(workload, found[number], k, notes),
            }
        )
    return results


def _known(ids: Sequence[int], way: _Way, workload: Workload, notes: list[str]) -> list[int]:
    """The results that are documents: some systems give others, too, where they find fewer than k."""
    known = [id for id in ids if 0 <= id < len(workload.documents)]
    note = f"{way.system.name} names documents that don't exist among its results; they are left out."
    if len(known) < len(ids) and note not in notes:
        notes.append(note)
    return known


def _filtered(workload: Workload, ways: Sequence[_Way], rounds: int) -> list[dict[str, Any]]:
    """Plain queries under filters, in turns: a row for each way of this library and each share of the
    documents that a filter leaves; None stands for no filter.
    """
    k, brute = DEPTHS[0], ways[0]
    queries = np.flatnonzero(workload.queries.lengths).tolist()
    limits: dict[float | None, dict[str, int]] = {None: {}}
    limits |= {share: {"below": math.ceil(share * DRAWN)} for share in SHARES}
    shares = list(limits)
    oracle: dict[float | None, list[Any]] = {share: [] for share in shares}
    for query in queries:
        for left in SHARES:
            oracle[left].append(brute.search(query, k + _TIES, **limits[left]))
    oracle[None] = oracle[SHARES[-1]]
    rows = []
    for way in (way for way in ways if way.system.kind == "lfm2"):
        answers: dict[float | None, list[list[dict[str, Any]]]] = {share: [] for share in shares}
        for place, query in enumerate(queries):
            for share in shares[place % len(shares) :] + shares[: place % len(shares)]:
                asked = [way.search(query, k, **limits[share]) for _ in range(rounds + 1)]
                answers[share].append(asked[1:])
        for share in shares:
            seconds, cpu = (
                np.median([[one[what] for one in some] for some in answers[share]], axis=1) * 1000
                for what in ("seconds", "cpu")
            )
            rows.append(
                {
                    "name": way.system.name,
                    "search": way.label,
                    "share": share,
                    "p50_ms": float(np.median(seconds)),
                    "p95_ms": float(np.percentile(seconds, 95)),
                    "p50_cpu_ms": float(np.median(cpu)),
                    "recall": _recall(oracle[share], [some[0]["ids"] for some in answers[share]], k),
                }
            )
    return rows


def _recall(oracle: Sequence[Mapping[str, Any]], found: Sequence[Sequence[int]], k: int) -> float:
    """The mean share of the exact top k that was found; documents tied with the k-th count as well."""
    shares = []
    for exact, ids in zip(oracle, found, strict=True):
        wanted = min(k, len(exact["ids"]))
        if not wanted:
            shares.append(1.0)
            continue
        worst = exact["scores"][wanted - 1]
        good = {
            id
            for id, score in zip(exact["ids"], exact["scores"], strict=True)
            if score >= worst - _ROUNDING * abs(worst)
        }
        shares.append(min(wanted, len(good & set(ids))) / wanted)
    return float(np.mean(shares))


def _quality(
    workload: Workload, found: Mapping[int, Sequence[int]], k: int, notes: list[str]
) -> dict[str, float]:
    """NDCG@10, of the searches that ask for ten."""
    if workload.qrels is None or k != DEPTHS[0]:
        return {}
    ranking = {workload.query_ids[query]: [workload.ids[one] for one in ids] for query, ids in found.items()}
    judged = {id: workload.qrels[id] for id in workload.query_ids if id in workload.qrels}
    try:
        return {"ndcg@10": evaluate(judged, ranking)["nDCG@10"]}
    except MissingExtraError as error:
        if str(error) not in notes:
            notes.append(str(error))
        return {}
