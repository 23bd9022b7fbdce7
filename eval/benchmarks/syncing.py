"""The command ``sync``: a folder of many files, synced first, unchanged, and after some changed."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from lfm2_retrieval.cli._output import print_json

__all__ = ["WORDS", "make_folder", "measure", "sync"]

WORDS = (
    *("harbour", "tide", "engine", "letter", "winter", "yeast", "copper", "meadow", "signal", "ledger"),
    *("orbit", "timber", "valley", "archive", "lantern", "protocol", "garden", "bridge", "weather", "cable"),
    *("market", "silver", "ferry", "river", "summit", "cellar", "compass", "thread", "village", "stone"),
)
_PER_FOLDER = 100


def make_folder(folder: Path, n_files: int, words: int, seed: int = 0) -> None:
    """Write Markdown files of some words each, in folders of a hundred."""
    dice = random.Random(seed)
    for number in range(n_files):
        path = folder / f"part{number // _PER_FOLDER:03d}" / f"note{number:06d}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        body = " ".join(dice.choices(WORDS, k=words))
        path.write_text(f"# Note {number}\n\n{body.capitalize()}.\n", encoding="utf-8")


def measure(
    n_files: int, words: int, n_changed: int, on_progress: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Sync a folder three times; seconds of the clock, of the processor and waiting for one, and counts."""
    from lfm2_retrieval import Retriever
    from lfm2_retrieval.documents import Passages

    report: dict[str, Any] = {"files": n_files, "words": words, "changed": n_changed, "syncs": {}}
    with TemporaryDirectory() as home:
        docs = Path(home) / "docs"
        make_folder(docs, n_files, words)
        with Retriever.index([], Path(home) / "index", model="nano", passages=Passages()) as retriever:
            for name in ("first", "nothing changed", f"{n_changed} changed"):
                if name not in ("first", "nothing changed"):
                    for path in sorted(docs.rglob("*.md"))[:: max(1, n_files // n_changed)][:n_changed]:
                        path.write_text(f"{path.read_text('utf-8')}\nAnd another line.\n", encoding="utf-8")
                on_progress(f"{n_files:,} files: {name}")
                clock, processor, queue = time.perf_counter(), time.process_time(), _waited()
                done = retriever.sync(docs)
                report["syncs"][name] = {
                    "seconds": round(time.perf_counter() - clock, 3),
                    "processor_seconds": round(time.process_time() - processor, 3),
                    "queue_seconds": round(_waited() - queue, 3),
                    "files_put": done.new + done.changed,
                    "passages_encoded": done.documents.encoded,
                    "passages": retriever.n_passages,
                }
    report["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return report


def _waited() -> float:
    """For how many seconds this thread found no processor free; 0 where the system can't say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@click.command("sync")
@click.option("--files", type=click.IntRange(min=1), default=5000, show_default=True, help="How many.")
@click.option("--words", type=click.IntRange(min=1), default=40, show_default=True, help="Of each file.")
@click.option(
    "--changed", type=click.IntRange(min=1), default=10, show_default=True, help="Before the third."
)
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def sync(files: int, words: int, changed: int, json_: bool) -> None:
    """Measure syncing a folder that is made for it, with nano: first, unchanged, and after some changes."""
    report = measure(files, words, changed, lambda step: click.echo(step, err=True))
    if json_:
        print_json(report)
        return
    columns = ("sync", "seconds", "processor", "waiting for one", "files put", "passages encoded")
    click.echo(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, one in report["syncs"].items():
        times = " | ".join(f"{one[key]:.2f}" for key in ("seconds", "processor_seconds", "queue_seconds"))
        click.echo(f"| {name} | {times} | {one['files_put']:,} | {one['passages_encoded']:,} |")
    click.echo(f"\n{files:,} files; peak {report['peak_mib']:,} MiB")
