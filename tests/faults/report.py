"""Where campaigns leave their figures, ``LFM2_RETRIEVAL_FAULTS``: a JSON file each, and a table of all."""

import json
import os
import platform
import sqlite3
from pathlib import Path

EVERY = int(os.environ.get("LFM2_RETRIEVAL_EVERY", "1"))
"""A campaign that goes through everything in turn takes one in so many."""

_ABOUT = {
    "kills": "SIGKILL at a random moment or system call of a job",
    "kills-repair": "SIGKILL at one system call after another of a repair",
    "syscalls": "a system call of a job fails, below Python and SQLite",
    "power": "power loss after a system call: what wasn't synced is gone, there or torn",
    "flips": "a byte changed",
    "flips-journal": "a byte changed where the newest commits are in SQLite's journal",
    "flips-compressed": "a byte changed in an index with a codec",
    "concurrency": "two writers, eight readers",
    "numbers": "processes add documents without ids, and delete some",
    "shards": "SIGKILL of drivers, workers and actors while shards are built and changed",
    "begin": "processes index into a path that doesn't exist yet",
    "deleted": "nine tenths of the documents deleted: recall@10 of the others, against exact MaxSim",
}


def report(name, figures):
    """Keep the figures of one campaign."""
    print(name, json.dumps(figures))
    if "LFM2_RETRIEVAL_FAULTS" not in os.environ:
        return
    folder = Path(os.environ["LFM2_RETRIEVAL_FAULTS"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    lines = [
        "# Faults survived",
        "",
        f"`pytest -m campaign tests/faults`: Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}.",
        "After each fault the index is opened, held to a model of its documents (ids, texts, metadata,",
        "vectors, search results), verified, and written to.",
        "",
        "| campaign | what | figures |",
        "|---|---|---|",
    ]
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text())
        shown = ", ".join(f"{key}: {_short(value)}" for key, value in facts.items())
        lines.append(
            f"| `{path.stem}` | {_ABOUT.get(path.stem) or _ABOUT[path.stem.split('-')[0]]} | {shown} |"
        )
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _short(value):
    """A figure, or how many of each kind."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(one)}" for key, one in value.items())
    return json.dumps(value)
