"""Write what is made, not written: commands, numbers with their pictures, and llms.txt.

python docs/generate.py [--check]

``reference/commands.md`` is every command's ``--help``; ``numbers.md`` and ``figures`` are made of
``eval/results``, so that nothing in them can go stale; ``llms.txt`` lists the pages for agents. With
``--check`` nothing is written, and a page that would change is an error, as is a picture that is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "eval/results"
MADE = "<!-- Made by docs/generate.py. -->\n\n"
Report = Mapping[str, Any]


# Commands


def commands() -> str:
    """Every command's help, as the terminal shows it."""
    from lfm2_retrieval.cli import main

    parts = [MADE, "# Commands\n\nMade of each command's `--help`.\n"]
    for path, command in _walk(main, ("lfm2-retrieve",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=100, max_content_width=100)
        text = command.get_help(context).replace("Usage: " + " ".join(path[:-1]) + " ", "Usage: ", 0)
        parts.append(f"\n{'#' * min(len(path) + 1, 4)} {' '.join(path)}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _walk(inner, (*path, name))


# Numbers


def numbers() -> str:
    """A section for each folder of ``eval/results`` that says in ``about.json`` what it is."""
    parts = [
        MADE,
        "# Numbers\n\nEach table is made of a file in `eval/results`, which names the model, the machine "
        "and the day. "
        "Ratios hold better than milliseconds, which drift with the machine.\n",
    ]
    folders = sorted(RESULTS.glob("*/about.json"))
    abouts = [(json.loads(file.read_text("utf-8")), file.parent) for file in folders]
    for about, folder in sorted(abouts, key=lambda pair: pair[0]["order"]):
        parts.append(f"\n## {about['title']}\n\n{about['text']}\n")
        for file in about["files"]:
            report = json.loads((folder / file).read_text("utf-8"))
            heading = about.get("headings", {}).get(file)
            parts.append(f"\n### {heading}\n" if heading else "")
            parts.append("\n" + _KINDS[about["kind"]](report) + "\n")
        if "picture" in about:
            parts.append(f"\n![{about['picture_shows']}]({_picture(folder)})\n")
        if "measured" in about:  # which file says when and where, if the table's own doesn't
            report = json.loads((folder / about["measured"]).read_text("utf-8"))
        parts.append(f"\n`{about['command']}`  \n{_origin(about, report)} (`eval/results/{folder.name}`)\n")
    return "".join(parts)


def _picture(folder: Path) -> str:
    return f"figures/{folder.name}.svg"


def pictures() -> dict[str, Callable[[Path], None]]:
    """Place in docs → how to draw it, for each ``about.json`` that names a picture's kind."""
    found: dict[str, Callable[[Path], None]] = {}
    for file in sorted(RESULTS.glob("*/about.json")):
        about = json.loads(file.read_text("utf-8"))
        if "picture" in about:
            report = json.loads((file.parent / about["files"][0]).read_text("utf-8"))
            found[_picture(file.parent)] = partial(_draw, about["picture"], report)
    return found


def _draw(kind: str, report: Report, path: Path) -> None:
    from eval.benchmarks import plots

    {"peers": plots.plot_report, "growth": plots.plot_sizes}[kind](report, path)


def _origin(about: Report, report: Report) -> str:
    machine = report.get("environment") or report.get("machine") or {}
    said = [
        about.get("model"),
        machine.get("cpu"),
        _threads(report, machine),
        str(report.get("made", ""))[:10],
    ]
    return ", ".join(part for part in said if part) or "made-up documents"


def _threads(report: Report, machine: Report) -> str:
    threads = report.get("protocol", {}).get("threads") or machine.get("threads")
    return f"{threads} thread{'s' * (threads != 1)}" if threads else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _evaluation(report: Report) -> str:
    """nDCG@10 with its interval: a row for each pair of languages of a task, a column for each system."""
    cells = [cell for cell in report["cells"] if cell["status"] == "done"]
    systems = list(dict.fromkeys(cell["system"] for cell in cells))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in cells:
        key = cell["task"], cell["documents"], cell["queries"]
        low, high = cell["intervals"]["nDCG@10"]
        value = f"{cell['measures']['nDCG@10']:.3f} [{low:.3f}, {high:.3f}]"
        rows.setdefault(key, {})[cell["system"]] = value
    found = [[*key, *(some.get(system, "") for system in systems)] for key, some in rows.items()]
    return _table(["collection", "documents", "questions", *(f"{s}: nDCG@10" for s in systems)], found)


def _search(report: Report) -> str:
    """p50 and recall of each system and setting, for plain queries."""
    rows = []
    for system in report["systems"]:
        size = (system.get("build") or {}).get("bytes_per_token_total")
        for label, kinds in system["searches"].items():
            ten, hundred = kinds["plain"]["10"], kinds["plain"].get("100")
            name = system["name"] if label in ("default", "brute") else f"{system['name']}, {label}"
            rows.append(
                [
                    name,
                    f"{ten['p50_ms']:,.2f}",
                    _ratio(ten.get("ratio_to_brute")),
                    f"{ten['recall']:.3f}",
                    f"{hundred['p50_ms']:,.2f}" if hundred else "",
                    f"{hundred['recall']:.3f}" if hundred else "",
                    f"{size:.1f}" if size else "",
                ]
            )
    columns = [
        "system",
        "k = 10: p50 ms",
        "to brute force",
        "recall",
        "k = 100: p50 ms",
        "recall",
        "bytes/token",
    ]
    return _table(columns, rows)


def _ratio(value: float | None) -> str:
    if not value:
        return ""
    return f"{value:.1f} times" if value > 1 else f"1/{1 / value:.1f}"


def _filtered(report: Report) -> str:
    """Searches under filters, by what these leave."""
    rows = [
        [
            "(no filter)" if row["share"] is None else f"{row['share']:.2%}",
            *(f"{row[name]:,.2f}" for name in ("p50_ms", "p95_ms", "p50_cpu_ms")),
            f"{row['recall']:.3f}",
        ]
        for row in report["filtered"]
    ]
    return _table(["filter leaves", "p50 ms", "p95 ms", "CPU ms", "recall@10"], rows)


def _peers(report: Report) -> str:
    """What building takes, the time at which each system reaches a recall, and where another is ahead."""
    summary = report["summary"]
    built = [
        [
            system["name"],
            system["version"],
            f"{system['build']['cpu_seconds']:,.0f}",
            f"{system['build']['peak_bytes'] / 1e6:,.0f}",
            f"{system['search_peak_bytes'] / 1e6:,.0f}",
            f"{system['build']['bytes_per_token_total']:.1f}",
        ]
        for system in report["systems"]
        if "build" in system
    ]
    parts = [
        _table(["system", "version", "build, CPU s", "MB, building", "MB, searching", "bytes/token"], built)
    ]
    levels = summary["levels"]
    for k in dict.fromkeys(row["k"] for row in summary["rows"]):
        columns = [f"k = {k}", "queries", *(f"ms at recall ≥ {level:g}" for level in levels), "best recall"]
        graded = any(row["best_ndcg@10"] is not None for row in summary["rows"] if row["k"] == k)
        rows = []
        for row in (row for row in summary["rows"] if row["k"] == k):
            cells = [_reached(row["reached"][str(level)]) for level in levels]
            grade = [f"{row['best_ndcg@10']:.4f}"] if graded else []
            rows.append([row["system"], row["queries"], *cells, f"{row['best_recall']:.3f}", *grade])
        parts.append(_table([*columns, *["best nDCG@10"] * graded], rows))
    said = summary["ahead"] or ["In no respect that was measured."]
    parts.append("Where another system is ahead of every tier:\n\n" + "\n".join(f"- {one}" for one in said))
    left = report["skipped"]
    parts += ["Left out:\n\n" + "\n".join(f"- {reason}" for reason in left.values())] if left else []
    return "\n\n".join(parts)


def _growth(report: Report) -> str:
    """A row a size, and the models."""
    from eval.benchmarks.growth import formula

    rows = [
        [
            f"{row['documents']:,}",
            f"{row['vectors']:,}",
            f"{row['p50_cpu_ms']:,.2f}",
            f"{row['recall']:.3f}",
            f"{row['exact_p50_cpu_ms']:,.2f}" if row["exact_p50_cpu_ms"] else "",
            f"{row['brute_p50_cpu_ms']:,.2f}",
            f"{row['bytes_per_vector']:.0f}",
            f"{row['build_peak_bytes'] / 1e6:,.0f}",
            f"{row['search_peak_bytes'] / 1e6:,.0f}",
        ]
        for row in report["rows"]
    ]
    ours = f"{report['tier']}: CPU ms"
    columns = ["documents", "vectors", ours, "recall@10", "exact: CPU ms", "brute force: CPU ms"]
    more = ["bytes a vector", "MB, building", "MB, searching"]
    names = {"search": report["tier"], "exact": "exact", "brute": "brute force"}
    models = [f"- {names[name]}: {formula(one)}" for name, one in report["model"].items()]
    return _table([*columns, *more], rows) + "\n\nFitted:\n\n" + "\n".join(models)


def _reached(found: Report | None) -> str:
    return f"{found['ms']:,.2f} ({_ratio(found['to_brute'])})" if found else ""


def _encoding(report: Report) -> str:
    """Tokens a second of documents, milliseconds of a query."""
    rows = []
    for system in report["systems"]:
        results = system["results"]
        row = [f"{system['name']} {system['version'] or ''}".strip(), system["dtype"]]
        row += [
            f"{results[what]['tokens_per_second']:,.0f}" if what in results else ""
            for what in ("mix", "full")
        ]
        rows.append([*row, f"{1e3 * results['query']['seconds']:,.0f}" if "query" in results else ""])
    columns = ["system", "dtype", "mixed documents, tokens/s", "512 tokens, tokens/s", "32-token query, ms"]
    return _table(columns, rows)


def _systems(report: Report) -> str:
    """A row for each system: nDCG@10 with its interval and bytes a token, of each collection."""
    cells = [cell for cell in report["cells"] if cell["status"] == "done"]
    collections = list(dict.fromkeys(f"{cell['task']}.{cell['documents']}" for cell in cells))
    rows: dict[str, list[str]] = {}
    for cell in cells:
        low, high = cell["intervals"]["nDCG@10"]
        corpus = report["corpora"][f"{cell['task']}.{cell['documents']}"]
        size = corpus["indexes"].get(cell["system"], {}).get("bytes_per_token")
        rows.setdefault(cell["system"], []).extend(
            [f"{cell['measures']['nDCG@10']:.3f} [{low:.3f}, {high:.3f}]", f"{size:.0f}" if size else ""]
        )
    columns = [column for name in collections for column in (f"{name}: nDCG@10", "bytes/token")]
    return _table(["system", *columns], [[system, *values] for system, values in rows.items()])


def _comparison(report: Report) -> str:
    """What ``eval compare --json`` prints: the means of two, and their difference."""
    rows = [
        [
            row["set"],
            str(row["n_queries"]),
            f"{row['mean_a']:.4f}",
            f"{row['mean_b']:.4f}",
            f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
            f"{row['p_randomisation']:.2f}",
        ]
        for row in report["sets"]
    ]
    measure = report["measure"]
    return _table(["collection", "questions", f"A: {measure}", f"B: {measure}", "B − A", "p"], rows)


def _documents(report: Report) -> str:
    """Ways of reading documents; times as ratios, as those of a busy machine are worth no more."""
    first = report["rows"][0]["documents_per_cpu_second"]
    rows = [
        [
            f"{row['long_documents']} at {row['document_length']:,}",
            str(row["pool_factor"]),
            f"{row['ndcg@10']:.3f}",
            f"{row['vectors_per_document']:,.0f}",
            f"{row['bytes_per_document'] / 1024:,.0f}",
            f"{first / row['documents_per_cpu_second']:.2f} ×",
            str(row["cut"]),
        ]
        for row in report["rows"]
    ]
    columns = [
        "read",
        "pooled by",
        "nDCG@10",
        "vectors a document",
        "KiB a document, float16",
        "processor time",
        "documents cut",
    ]
    return _table(columns, rows)


def _facts(report: Report) -> str:
    """Names and numbers as they lie in the file, one level deep."""
    rows = []
    for name, value in report.items():
        if isinstance(value, Mapping) and name not in ("machine", "environment"):
            rows += [[f"{name}: {one}".replace("_", " "), _plain(number)] for one, number in value.items()]
        elif isinstance(value, (int, float)):
            rows.append([name.replace("_", " "), str(value)])
    return _table(["what", "measured"], rows)


def _large(report: Report) -> str:
    """What a large index took and how it is searched."""
    building = report["building"]
    peak = building["peak_bytes"]["compressing"]
    rows = [
        ["vectors", f"{report['vectors']:,}"],
        ["compressing, CPU s", f"{building['cpu_s']['compressing']:,.0f}"],
        ["memory while compressing, MB at most", f"{peak / 1e6:,.0f}"],
        ["memory while searching, MB at most", f"{report['peak_bytes_searching'] / 1e6:,.0f}"],
        ["disk after a commit, MB at most", f"{building['peak_disk_bytes'] / 1e6:,.0f}"],
        ["disk in the end, MB", f"{report['bytes'] / 1e6:,.0f}"],
        ["bytes a vector", f"{report['bytes_per_vector']:,.1f}"],
    ]
    for k in (10, 100):
        rows.append([f"recall@{k}", f"{report[f'recall@{k}']:.3f}"])
        for threads in (1, 2):
            cpu = report[f"k={k}, threads={threads}"]["p50_cpu_ms"]
            rows.append([f"k = {k}, {threads} thread{'s' * (threads > 1)}: p50, CPU ms", f"{cpu:,.1f}"])
    return _table(["what", "measured"], rows)


def _plain(value: Any) -> str:
    """A number, or several with their names."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


_KINDS: Mapping[str, Callable[[Report], str]] = {
    "evaluation": _evaluation,
    "search": _search,
    "filtered": _filtered,
    "peers": _peers,
    "growth": _growth,
    "encoding": _encoding,
    "systems": _systems,
    "comparison": _comparison,
    "documents": _documents,
    "facts": _facts,
    "large": _large,
}


# For agents


def llms() -> str:
    """The pages, with their first sentences (https://llmstxt.org)."""
    lines = [
        "# lfm2-retrieval\n",
        "> Late-interaction retrieval with LFM2-ColBERT on an ordinary CPU.\n",
        "## Docs\n",
    ]
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text("utf-8").replace(MADE, "")
        title = next(line[2:] for line in text.splitlines() if line.startswith("# "))
        lines.append(f"- [{title}]({page.relative_to(DOCS).as_posix()})")
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "numbers.md": numbers,
    "llms.txt": llms,
}


def main(*, check: bool) -> int:
    """Write the pages, or say which are old."""
    old = []
    for name, draw in pictures().items():
        file = DOCS / name
        if not file.is_file():
            old.append(name)
        if not check:
            file.parent.mkdir(exist_ok=True)
            draw(file)
    for name, make in PAGES.items():
        file, text = DOCS / name, make()
        if not file.is_file() or file.read_text("utf-8") != text:
            old.append(name)
            if not check:
                file.write_text(text, "utf-8")
    for name in old:
        print(f"docs/{name} {'is old: run python docs/generate.py' if check else 'written'}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # for eval
    sys.exit(main(check="--check" in sys.argv[1:]))
