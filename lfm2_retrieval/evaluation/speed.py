"""What a report says of speed, size and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..display.markup import markdown as escaped
from .tables import NAMES, Content, Section, Table

__all__ = ["encoder_speed", "speed"]


def speed(content: Content) -> Section | None:
    """Each corpus: encoding, indexing, searching, bytes and memory; nothing where none was encoded."""
    corpora = {name: facts for name, facts in content["corpora"].items() if "indexes" in facts}
    if not corpora:
        return None
    several = len({_machine(content, facts["run"]) for facts in corpora.values()}) > 1
    rows, latency = [], []
    for name, facts in corpora.items():
        place = [name, *([str(facts["run"])] if several else [])]
        rows += [[*place, index, *_speed_row(facts, index)] for index in facts["indexes"]]
        for system, ms in facts["latency"].items():
            parts = (ms["search_ms"], ms["with_encoding_ms"]) if ms else ()
            times = [f"{part[p]:.2f}" for part in parts for p in ("p50", "p95", "p99")]
            latency += [[*place, NAMES[system], *times]] if times else []
    text = list(dict.fromkeys(_machine(content, facts["run"]) for facts in corpora.values()))
    if several:
        text = [
            f"Run {run}: {_machine(content, run)}"
            for run in sorted({facts["run"] for facts in corpora.values()})
        ]
    text.append(
        "Indexing is counted without encoding. Latency is that of queries asked one by one (k = 10, 50 "
        "queries at most): p50, p95 and p99 of the search alone, and with the query's encoding."
    )
    here = all(facts["memory"]["peak_memory_since"] == "here" for facts in corpora.values())
    text.append(
        "Memory is what the process had resident, interpreter, libraries and model included: before the "
        "corpus, and at most while it was encoded, indexed and searched."
        if here
        else "Memory is what the process had resident, at most since it began: this system keeps no peak "
        "of its parts."
    )
    place = ["corpus", *(["run"] if several else [])]
    columns = (
        "documents",
        "tokens",
        "documents/s encoded",
        "queries/s encoded",
        "documents/s indexed",
        "MB on disk",
    )
    tables = [Table([*place, "index", *columns, "MB memory before", "MB memory at most"], rows)]
    if latency:
        times = [f"{p} ms{with_}" for with_ in (" search", " with encoding") for p in ("p50", "p95", "p99")]
        tables.append(Table([*place, "system", *times], latency))
    return Section("Speed and size", text, tables, ("latency",))


def _speed_row(facts: Mapping[str, Any], index: str) -> list[str]:
    queries, one, memory = facts.get("queries", {}), facts["indexes"][index], facts["memory"]
    return [
        f"{facts['documents']:,}",
        f"{facts['tokens']:,}",
        _rate(facts["encoded"], facts["encode_seconds"]),
        _rate(queries.get("encoded", 0), queries.get("encode_seconds", 0)),
        _rate(facts["encoded"], one["build_seconds"]),
        f"{sum(one['bytes'].values()) / 1e6:,.2f}",
        f"{memory['memory_before_bytes'] / 1e6:,.0f}",
        f"{memory['peak_memory_bytes'] / 1e6:,.0f}",
    ]


def _machine(content: Content, run: int) -> str:
    """What a run ran on, as a sentence or two."""
    environment, model = content["runs"][run]["environment"], content["model"]
    gpu = environment.get("gpu", "a GPU") if model["device"].startswith("cuda") else "no GPU used"
    text = (
        f"{environment['cpu']}, {environment['threads']} of {environment['usable_cpus']} processors, {gpu}, "
        f"{model['dtype']} on {model['device']}."
    )
    load = environment["load_at_start"][0]
    if load > 0.5 * environment["usable_cpus"]:
        text += f" The machine was busy (load {load}): these times are worth little."
    return escaped(text)


def encoder_speed(content: Content) -> Section | None:
    """The encoder alone, by length and batch; nothing where that wasn't measured."""
    if not (facts := content.get("throughput")):
        return None
    threads, dtype = facts["threads"], escaped(facts["dtype"].removeprefix("torch."))
    rows = [
        [
            row["what"],
            str(row["batch"]),
            f"{row['mean_tokens']:.0f}",
            f"{row['texts_per_second']:,.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['flops'] / 1e9:,.1f}",
            "–" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
        ]
        for row in facts["rows"]
    ]
    peak = facts["peak_flops"]
    reached = (
        "which torch has no product of this dtype to measure by."
        if peak is None
        else f"{peak / 1e9:,.1f} GFLOP/s, measured on two square matrices of {facts['peak_side']:,}."
    )
    text = [
        _machine(content, facts["run"]),
        f"{threads} thread{'s' * (threads > 1)}, {dtype}. A batch is given "
        "to the encoder at once; texts are about as long as their names say, and tokens are those that it "
        "reads of each. The last column is the share of what the "
        f"machine's matrix product reaches: {reached}",
    ]
    columns = ["text", "batch", "tokens each", "texts/s", "tokens/s", "GFLOP/s", "of peak"]
    return Section("The encoder's speed", text, [Table(columns, rows)])


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:,.1f}" if count and seconds else "–"
