"""What a report says, before it is set as Markdown, HTML or LaTeX: sections of paragraphs and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..display.markup import markdown as escaped
from .metrics import MEASURES
from .published import MISS, Published, differences
from .speed import encoder_speed, speed
from .systems import SYSTEMS
from .tables import (
    NAMES,
    Content,
    Section,
    Table,
    bytes_per_token,
    languages,
    mean_of,
    mean_score,
    score,
    stayed_exact,
    systems,
    with_interval,
)

__all__ = ["sections"]

_FEWER = "\\* Some tasks failed or are not there: this mean is over fewer, and not to be compared."


def sections(content: Content, published: Sequence[Published]) -> list[Section]:
    """All of a report, in its order; sections with nothing to say are left out."""
    found = [
        _quality(content),
        *_matrices(content),
        _tasks(content),
        _compression(content),
        *_published(content, published),
        _failed(content),
        _unfinished(content),
        speed(content),
        encoder_speed(content),
        _reproduce(content),
    ]
    return [section for section in found if section is not None]


def _quality(content: Content) -> Section:
    rows = []
    incomplete = False
    for language in languages(content)[0]:
        for system in systems(content):
            mean = mean_of(content, language, language, system)
            if mean is None:
                continue
            incomplete |= not mean["complete"]
            values, ends = mean["measures"], mean["intervals"]["nDCG@10"]
            others = [score(values[name]) for name in list(MEASURES)[1:]]
            label = f"{language}{'' if mean['complete'] else ' *'}"
            name = NAMES[system] + " †" * stayed_exact(content, language, system)
            count = f"{_queries(content, language, system):,}"
            rows.append([label, name, count, with_interval(values["nDCG@10"], ends), *others])
    tasks = dict.fromkeys(cell["task"] for cell in content["cells"])
    note = (
        f"the macro mean over {len(tasks)} tasks"
        if len(tasks) > 1
        else f"the mean over the queries of {escaped(next(iter(tasks), ''))}"
    )
    text = [
        f"Queries and documents in one language; {note}, with the 95 % bootstrap interval of nDCG@10. "
        "A query "
        f"without results counts 0. Each query has {content['settings']['depth']} results at most, as "
        "deep as MAP goes."
    ]
    if content["settings"]["shared_queries"]:
        text.append("Measured on the queries that all languages of a task have.")
    if incomplete:
        text.append(_FEWER)
    if any(row[1].endswith("†") for row in rows):
        text.append("† Some or all of these indexes are too small to be compressed and stayed exact.")
    if absent := content["suite"].get("absent"):
        text.append(
            f"Of the suite, these were not there and are left out: {', '.join(map(escaped, absent))}."
        )
    if len(rows) > 2:
        for system in systems(content):
            means = [mean_of(content, one, one, system) for one in languages(content)[0]]
            known = [mean["measures"] for mean in means if mean is not None]
            if len(known) > 1:
                averages = [sum(one[name] for one in known) / len(known) for name in MEASURES]
                rows.append(
                    [f"mean{' *' * incomplete}", NAMES[system], "", *(score(value) for value in averages)]
                )
    figures = ("bars",) if rows else ()
    return Section(
        "Quality", text, [Table(["language", "system", "queries", *MEASURES], rows)] if rows else (), figures
    )


def _queries(content: Content, language: str, system: str) -> int:
    """How many queries a language's mean is over, in all of its tasks."""
    return sum(
        cell["n_queries"]
        for cell in content["cells"]
        if (cell["status"], cell["system"]) == ("done", system)
        and cell["documents"] == cell["queries"] == language
    )


def _matrices(content: Content) -> list[Section]:
    documents, queries = languages(content)
    if len(queries) < 2 or not any(cell["documents"] != cell["queries"] for cell in content["cells"]):
        return []
    found = []
    for system in systems(content):
        rows = []
        for d in documents:
            means = [mean_of(content, d, q, system) for q in queries]
            rows.append([d, *map(mean_score, means)])
        pairs = [(d, q) for d in documents for q in queries if d != q]
        crossed = [mean for d, q in pairs if (mean := mean_of(content, d, q, system)) is not None]
        text = ["nDCG@10. Rows: the language of the documents; columns: of the queries."]
        if crossed:
            value = sum(mean["measures"]["nDCG@10"] for mean in crossed) / len(crossed)
            pair = "one pair" if len(crossed) == 1 else f"{len(crossed)} pairs"
            text.append(f"The mean of the {pair} of different languages is {value:.3f}.")
        if any(cell.endswith("*") for row in rows for cell in row):
            text.append(_FEWER)
        title = f"Across languages: {NAMES[system]}"
        found.append(
            Section(title, text, [Table(["documents \\ queries", *queries], rows)], (f"heatmap-{system}",))
        )
    return found


def _tasks(content: Content) -> Section | None:
    tasks = list(dict.fromkeys(cell["task"] for cell in content["cells"]))
    cells = {
        (c["task"], c["documents"], c["queries"], c["system"]): c
        for c in content["cells"]
        if c["status"] == "done"
    }
    if len(tasks) < 2:
        return None
    tables = []
    for system in systems(content):
        codes = languages(content)[0]
        rows = [
            [
                task,
                *(
                    score(cells[key]["measures"]["nDCG@10"])
                    if (key := (task, one, one, system)) in cells
                    else "–"
                    for one in codes
                ),
            ]
            for task in tasks
        ]
        means = [mean_of(content, one, one, system) for one in codes]
        rows.append(["mean", *map(mean_score, means)])
        tables.append(Table([NAMES[system], *codes], rows))
    text = ["nDCG@10, queries and documents in one language."]
    if any(cell.endswith("*") for table in tables for cell in table.rows[-1]):
        text.append(_FEWER)
    return Section("By task", text, tables)


def _compression(content: Content) -> Section | None:
    rows = []
    for system in systems(content):
        pairs = [
            (mean, exact)
            for mean in content.get("means", ())
            if mean["system"] == system
            and "against_exact" in mean
            and (exact := mean_of(content, mean["documents"], mean["queries"], "exact")) is not None
        ]
        same = [pair for pair in pairs if pair[0]["documents"] == pair[0]["queries"]]
        rows += [_loss_row(content, mean, exact) for mean, exact in same]
        if len(pairs) > len(same):
            rows.append(_mean_loss(pairs))
    if not rows:
        return None
    text = [
        "Tiers beside exact search on the same float16 vectors. "
        "The difference of nDCG@10 is the tier's minus exact, with its 95 % interval over the queries; "
        "recall is the share of "
        "the exact top 10 and top 100 that was found; bytes are all that lies on disk, by token vector."
    ]
    if any(row[-1].endswith("†") for row in rows):
        text.append(
            "† An index of this corpus is too small to be compressed (fewer than 4,096 vectors or 64 "
            "documents) "
            "and stayed exact."
        )
    columns = [
        *("tier", "language", "nDCG@10 exact", "nDCG@10", "difference", "recall@10", "recall@100"),
        *("B/token exact", "B/token"),
    ]
    return Section("What compression costs", text, [Table(columns, rows)], ("bytes",))


def _loss_row(content: Content, mean: Mapping[str, Any], exact: Mapping[str, Any]) -> list[str]:
    loss = mean["against_exact"]
    sizes = bytes_per_token(content, mean["documents"])
    stayed = stayed_exact(content, mean["documents"], mean["system"])
    low, high = loss["interval"]
    return [
        NAMES[mean["system"]],
        mean["documents"],
        score(exact["measures"]["nDCG@10"]),
        score(mean["measures"]["nDCG@10"]),
        f"{loss['difference']:+.4f} [{low:+.4f}, {high:+.4f}]",
        f"{loss['recall@10']:.3f}",
        f"{loss['recall@100']:.3f}",
        f"{sizes.get('exact', 0):.1f}",
        f"{sizes.get(SYSTEMS[mean['system']].index or '', 0):.1f}{' †' * stayed}",
    ]


def _mean_loss(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """The mean over all pairs of languages."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    losses = [one["against_exact"] for one, _ in pairs]
    return [
        NAMES[pairs[0][0]["system"]],
        f"mean of {len(pairs)} pairs",
        score(mean([exact["measures"]["nDCG@10"] for _, exact in pairs])),
        score(mean([one["measures"]["nDCG@10"] for one, _ in pairs])),
        f"{mean([loss['difference'] for loss in losses]):+.4f}",
        f"{mean([loss['recall@10'] for loss in losses]):.3f}",
        f"{mean([loss['recall@100'] for loss in losses]):.3f}",
        "",
        "",
    ]


def _published(content: Content, published: Sequence[Published]) -> list[Section]:
    found = differences(content, published)
    if not found:
        return []
    marked, cells = sum(len(one.misses) for one in found), sum(len(one.rows) for one in found)
    parts = [
        Section(
            "Beside published results",
            [f"{marked} of {cells} cells, marked, miss the published score by more than {MISS}."],
        )
    ]
    for one in found:
        rows = [
            [label, score(ours), score(theirs), f"{ours - theirs:+.3f}"] for label, ours, theirs in one.rows
        ]
        table = Table(["", "ours", one.model, "difference"], rows, frozenset((i, 3) for i in one.misses))
        title = f"{one.model}: {one.measure} {one.title}"
        parts.append(Section(title, [f"Source: {escaped(one.source)}."], [table]))
    return parts


def _failed(content: Content) -> Section | None:
    failed = [cell for cell in content["cells"] if cell["status"] == "failed"]
    if not failed:
        return None
    rows = [[cell["name"], cell["error"]] for cell in failed]
    return Section(
        "Failed", [f"{len(failed)} of {len(content['cells'])} cells."], [Table(["cell", "why"], rows)]
    )


def _unfinished(content: Content) -> Section | None:
    noted = {cell["name"] for cell in content["cells"]}
    missing = [name for name in content.get("planned", ()) if name not in noted]
    if not missing:
        return None
    count = len(noted) + len(missing)
    text = f"{len(missing)} of {count} cells are still to be measured, such as {escaped(missing[0])}."
    return Section("Not finished", [text])


def _reproduce(content: Content) -> Section:
    model, settings = content["model"], content["settings"]
    rows = [
        ["model", f"{model['name']}, fingerprint {model['fingerprint']}"],
        ["revision", str(model["revision"] or "–")],
        *([name, str(value)] for name, value in settings.items()),
        *([name, number] for name, number in content["environment"]["versions"].items()),
    ]
    for name, source in content["data"].items():
        revision = source.get("revision") or source.get("ir_datasets")
        location = source.get("location", "made in memory")
        rows.append([name, f"{location}, revision {revision}" if revision else location])
    text = ["Checksums of all files of the data, and everything else, are in `results.json`."]
    return Section("To reproduce this", text, [Table(["what", "value"], rows)])
