"""Two evaluations, or two runs, compared query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..display.markup import markdown as escaped
from ..documents import read_lines
from ..errors import InvalidInputError
from .collections import read_qrels
from .metrics import evaluate_queries
from .results import read_queries, read_results
from .runs import read_run, unword, word
from .statistics import compare, holm

__all__ = ["compare_folders", "compare_runs", "markdown", "read_trec_qrels"]


def compare_folders(
    a: Path, b: Path, systems: tuple[str, str], measure: str = "nDCG@10", *, most: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Compare the cells that two result folders share.

    Parameters
    ----------
    systems
        Of A and of B; see `lfm2_retrieval.evaluation.systems`.

    Raises
    ------
    InvalidInputError
        If they share no cell, a cell has other queries, or the measure wasn't measured.
    """
    cells: list[dict[tuple[str, str, str], Path]] = []
    data: list[dict[tuple[str, str, str], Any]] = []
    for folder, system in ((a, systems[0]), (b, systems[1])):
        done = {
            (cell["task"], cell["documents"], cell["queries"]): cell
            for cell in read_results(folder)["cells"]
            if cell["status"] == "done" and cell["system"] == system
        }
        cells.append({key: folder / cell["files"]["queries"] for key, cell in done.items()})
        data.append({key: cell["data"] for key, cell in done.items()})
    shared = [key for key in cells[0] if key in cells[1]]
    if not shared:
        raise InvalidInputError(f"{a} ({systems[0]}) and {b} ({systems[1]}) share no finished cell")
    pairs = {}
    for task, documents, queries in shared:
        values = [
            _values(read_queries(side[task, documents, queries]), measure, side[task, documents, queries])
            for side in cells
        ]
        name = f"{task} [{documents}]" if documents == queries else f"{task} [{documents} ← {queries}]"
        pairs[name] = (values[0], values[1])
    report = _report(f"{a} ({systems[0]})", f"{b} ({systems[1]})", pairs, measure, most, seed)
    for row, key in zip(report["sets"], shared, strict=True):
        row["same_data"] = data[0][key] == data[1][key]
    return report


def compare_runs(
    a: Path, b: Path, qrels: Path | None = None, measure: str = "nDCG@10", *, most: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Compare two TREC run files.

    Parameters
    ----------
    qrels
        Judgements, TREC's or BEIR's; by default those that lie beside a run of a result folder.

    Raises
    ------
    InvalidInputError
        If a file can't be read, or a run is of another data set.
    """
    judged = read_trec_qrels(qrels or _beside(a))
    known = set[str]().union(*judged.values())
    values = []
    for path in (a, b):
        run = read_run(path)
        if strange := [query for query in run if query not in judged]:
            raise InvalidInputError(
                f"{path}:{_line_of(path, strange[0])}: the query {strange[0]!r} is not judged: the "
                "run is of another data set"
            )
        # Of its own data set, a run that finds nothing still holds documents judged for other queries.
        if run and not any(id in known for rows in run.values() for id, _ in rows):
            raise InvalidInputError(
                f"{path}: none of its documents is judged for any query: the run is of another data set"
            )
        ranking = {query: [id for id, _ in rows] for query, rows in run.items()}
        values.append(
            {query: row[measure] for query, row in evaluate_queries(judged, ranking, [measure]).items()}
        )
    return _report(str(a), str(b), {a.stem: (values[0], values[1])}, measure, most, seed)


def read_trec_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements of four columns (``query 0 document grade``) or of three with tabs, as BEIR has them.

    Raises
    ------
    InvalidInputError
        Naming file and line, if one is no judgement.
    """
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return read_qrels(str(path))
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(str(path)):
        if not (fields := line.split()):
            continue
        try:
            query, _, document, grade = fields
            query, document, value = unword(query), unword(document), int(grade)
        except ValueError:
            raise InvalidInputError(
                f"{path}:{number}: a judgement is expected: query, 0, document, grade"
            ) from None
        if qrels.setdefault(query, {}).setdefault(document, value) != value:
            raise InvalidInputError(
                f"{path}:{number}: another grade of {document!r} for {query!r} than before"
            )
    if not qrels:
        raise InvalidInputError(f"{path}: holds no judgements")
    return qrels


def markdown(report: Mapping[str, Any]) -> str:
    """The comparison as Markdown."""
    lines = [
        f"A: {escaped(str(report['a']))}",
        f"B: {escaped(str(report['b']))}",
        "",
        f"| {escaped(report['measure'])} | queries | A | B | B − A | 95 % interval | "
        "p randomisation (Holm) | p t (Holm) |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for row in report["sets"]:
        lines.append(
            f"| {escaped(row['set'])} | {row['n_queries']} | {row['mean_a']:.4f} | {row['mean_b']:.4f} | "
            f"{row['difference']:+.4f} | [{row['low']:+.4f}, {row['high']:+.4f}] | "
            f"{_p(row['p_randomisation'])} ({_p(row['p_randomisation_holm'])}) | "
            f"{_p(row['p_t'])} ({_p(row['p_t_holm'])}) |"
        )
    count = len(report["sets"])
    legend = (
        "Means are over the queries, intervals bootstrapped over them. The tests are paired and two-sided, "
        "by randomisation (10,000 draws) and Student's t; in brackets p as Holm corrects it for the "
        f"{count} row{'s' * (count > 1)}."
    )
    if any("←" in row["set"] for row in report["sets"]):
        legend += " [X ← Y]: documents in X, queries in Y."
    lines += ["", legend]
    if others := [row["set"] for row in report["sets"] if not row.get("same_data", True)]:
        lines += ["", f"Texts or judgements of A and B differ in {', '.join(map(escaped, others))}."]
    for row in report["sets"]:
        if row["changed"]:
            lines += [
                "",
                f"{escaped(row['set'])}: the queries that changed most",
                "",
                "| query | A | B |",
                "| --- | ---: | ---: |",
            ]
            lines += [f"| {escaped(query)} | {a:.4f} | {b:.4f} |" for query, a, b in row["changed"]]
    return "\n".join(lines) + "\n"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _report(  # noqa: PLR0917
    a: str,
    b: str,
    pairs: Mapping[str, tuple[dict[str, float], dict[str, float]]],
    measure: str,
    most: int,
    seed: int,
) -> dict[str, Any]:
    results = {}
    for name, (first, second) in pairs.items():
        try:
            results[name] = compare(first, second, seed=seed, most=most)
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}: {error}") from None
    randomisation = holm([result.p_randomisation for result in results.values()])
    student = holm([result.p_t for result in results.values()])
    rows = [
        {
            "set": name,
            **asdict(result),
            "difference": result.difference,
            "p_t": _number(result.p_t),
            "p_randomisation_holm": p_randomisation,
            "p_t_holm": _number(p_t),
        }
        for (name, result), p_randomisation, p_t in zip(results.items(), randomisation, student, strict=True)
    ]
    return {"a": a, "b": b, "measure": measure, "seed": seed, "sets": rows}


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124  NaN differs from itself, and is no JSON


def _values(queries: Mapping[str, Mapping[str, float]], measure: str, path: Path) -> dict[str, float]:
    for query, row in queries.items():
        if measure not in row:
            raise InvalidInputError(
                f"{path}: the query {query!r} has no {measure!r}; it has {', '.join(row)}"
            )
    return {query: row[measure] for query, row in queries.items()}


def _beside(run: Path) -> Path:
    """The judgements of a run of a result folder: TASK.DOCUMENTS.qrels."""
    head, _, _ = run.stem.rpartition(".")
    path = run.with_name(f"{head.rpartition('-')[0]}.qrels")
    if not path.is_file():
        raise InvalidInputError(f"{run}: there are no judgements beside it, as {path.name}: give --qrels")
    return path


def _line_of(path: Path, query: str) -> int:
    return next(number for number, line in read_lines(str(path)) if line.split()[:1] == [word(query)])
