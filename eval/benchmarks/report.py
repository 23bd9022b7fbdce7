"""A benchmark's report as Markdown and as a plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lfm2_retrieval.display.markup import markdown as escaped
from lfm2_retrieval.errors import MissingExtraError

from .plots import depths, plot_growth, plot_report

__all__ = ["markdown", "markdown_growth", "table", "write", "write_files", "write_growth"]

Report = Mapping[str, Any]


def write(report: Report, folder: Path, name: str) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, of searches and where matplotlib is installed, ``NAME.png``.

    Returns
    -------
    list of Path
        What was written.
    """
    draw = (lambda path: plot_report(report, path)) if depths(report) else None
    return write_files(report, markdown(report), draw, folder, name)


def write_growth(reports: Sequence[Report], folder: Path, name: str) -> list[Path]:
    """The same for several sizes of one collection, smallest first, together."""
    return write_files(
        {"format": 2, "runs": list(reports)},
        markdown_growth(reports),
        lambda path: plot_growth(reports, path),
        folder,
        name,
    )


def write_files(
    value: Any,
    text: str,
    draw: Callable[[Path], None] | None,
    folder: Path,
    name: str,
    *,
    picture: str = ".png",
) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, given how and where matplotlib is installed, a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(text, encoding="utf-8")
    if draw is not None:
        try:
            draw(folder / f"{name}{picture}")
        except MissingExtraError:
            return files
        files.append(folder / f"{name}{picture}")
    return files


def markdown(report: Report) -> str:
    """The report as tables."""
    workload, machine = report["workload"], report["machine"]
    kinds = " and ".join(
        f"{kind} ones of {mean:g} vectors" for kind, mean in workload["vectors_per_query"].items()
    )
    lines = [
        f"{workload['documents']:,} documents, {workload['tokens']:,} vectors of {workload['dim']} "
        f"dimensions ({escaped(str(workload.get('model', workload['source'])))}); "
        f"{workload['queries']:,} queries, {kinds} on average. lfm2-retrieval {report['library']}; "
        f"{escaped(machine['cpu'])}, one thread; {report['made']}." + _protocol(report["protocol"]),
        "",
        *table(
            ("system", "version", "build s", "peak MB", "bytes/token", "of which"),
            [_build_row(system) for system in report["systems"] if "build" in system],
        ),
    ]
    for kind, measured in depths(report).items():
        for k in measured:
            rows = [
                _search_row(system, label, results[kind][k])
                for system in report["systems"]
                for label, results in system["searches"].items()
            ]
            columns = (
                f"{kind} queries, k = {k}",
                "search",
                "p50 ms",
                "p95 ms",
                "p99 ms",
                "to brute",
                "CPU ms",
                f"recall@{k}",
                "NDCG@10",
            )
            lines += ["", *table(columns, rows)]
    if "filtered" in report:
        named = (
            "plain queries, k = 10",
            "search",
            "filter leaves",
            "p50 ms",
            "p95 ms",
            "CPU ms",
            "recall@10",
        )
        lines += ["", *table(named, [_filtered_row(row) for row in report["filtered"]])]
    skipped = [f"Left out: {reason}" for reason in report.get("skipped", {}).values()]
    ahead = [f"Ahead: {said}" for said in report.get("summary", {}).get("ahead", ())]
    for said in (*report["notes"], *skipped, *ahead):
        lines += ["", escaped(said)]
    return "\n".join(lines).rstrip() + "\n"


def _protocol(protocol: Mapping[str, Any]) -> str:
    if not protocol["rounds"]:
        return ""
    rounds = "1 round" if protocol["rounds"] == 1 else f"{protocol['rounds']} rounds"
    return (
        f" Medians of {rounds} in turns of {protocol['turn']} queries; brute force in "
        f"{protocol['brute_rounds']} of them."
    )


def markdown_growth(reports: Sequence[Report]) -> str:
    """Several sizes of one collection, smallest first: how what was measured grows."""
    sizes = [f"{report['workload']['documents']:,}" for report in reports]
    lines = [
        f"{escaped(str(reports[0]['workload']['source']))}, {' → '.join(sizes)} documents. lfm2-retrieval "
        f"{reports[0]['library']}; {escaped(reports[0]['machine']['cpu'])}, one thread; "
        f"{reports[0]['made']}.",
        "",
    ]
    rows = []
    for number, system in enumerate(reports[0]["systems"]):
        runs = [report["systems"][number] for report in reports]
        if "build" in system:
            rows.append([system["name"], "build s", *(f"{run['build']['seconds']:,.1f}" for run in runs)])
            rows.append(
                [
                    system["name"],
                    "bytes/token",
                    *(f"{run['build']['bytes_per_token_total']:,.1f}" for run in runs),
                ]
            )
        for label, results in system.get("searches", {}).items():
            for kind, measured in results.items():
                rows += [
                    [
                        system["name"],
                        f"{label}, {kind}, k = {k}: {title}",
                        *(_cell(run["searches"][label][kind].get(k), what, digits) for run in runs),
                    ]
                    for k in measured
                    for title, what, digits in (("p50 ms", "p50_ms", 2), ("recall", "recall", 3))
                ]
    lines += table(["system", "what", *sizes], rows)
    for report in reports:
        lines += [f"\n{report['workload']['documents']:,}: {escaped(note)}" for note in report["notes"]]
    return "\n".join(lines) + "\n"


def _cell(result: Mapping[str, float] | None, what: str, digits: int) -> str:
    return "" if result is None else f"{result[what]:,.{digits}f}"


def _build_row(system: Mapping[str, Any]) -> list[str]:
    build = system["build"]
    parts = sorted(build["bytes_per_token"].items(), key=lambda part: -part[1])
    return [
        system["name"],
        system["version"],
        f"{build['seconds']:,.1f}",
        f"{build['peak_bytes'] / 1e6:,.0f}",
        f"{build['bytes_per_token_total']:,.1f}",
        ", ".join(f"{name} {size:,.1f}" for name, size in parts[:5] if size >= 0.05),
    ]


def _search_row(system: Mapping[str, Any], label: str, result: Mapping[str, Any]) -> list[str]:
    ratio = result["ratio_to_brute"]
    return [
        system["name"],
        label,
        *(f"{result[name]:,.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"1/{1 / ratio:,.1f}" if ratio < 1 else f"{ratio:,.1f}",
        f"{result['p50_cpu_ms']:,.2f}",
        f"{result['recall']:.3f}",
        f"{result['ndcg@10']:.4f}" if "ndcg@10" in result else "",
    ]


def _filtered_row(row: Mapping[str, Any]) -> list[str]:
    left = "(no filter)" if row["share"] is None else f"{row['share']:.2%}"
    times = (f"{row[name]:,.2f}" for name in ("p50_ms", "p95_ms", "p50_cpu_ms"))
    return [row["name"], row["search"], left, *times, f"{row['recall']:.3f}"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [map(escaped, columns), ["---"] * len(columns), *(map(escaped, row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
