"""Small sets in every layout, with the texts of the synthetic checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORDS = [
    "fox",
    "dog",
    "rain",
    "hills",
    "river",
    "boat",
    "town",
    "bread",
    "cheese",
    "wine",
    "morning",
    "train",
    "coast",
    "seven",
    "quick",
    "brown",
    "lazy",
]
LANGUAGES = ("en", "de", "fr")


def documents(language, count=12):
    return {
        f"d{i}": f"{WORDS[i % len(WORDS)]} {WORDS[(3 * i + 1) % len(WORDS)]} {language} {i}"
        for i in range(count)
    }


def queries(language, count=6):
    return {
        f"q{i}": f"{WORDS[i % len(WORDS)]} {WORDS[(3 * i + 1) % len(WORDS)]} {language}" for i in range(count)
    }


QRELS = {f"q{i}": {f"d{i}": 1, **({f"d{i + 6}": 1} if i % 2 else {})} for i in range(6)}


def write_beir(folder, language="en", grades=QRELS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "qrels").mkdir(exist_ok=True)
    rows = [{"_id": id, "title": "", "text": text} for id, text in documents(language).items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": id, "text": text} for id, text in queries(language).items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{q}\t{d}\t{g}" for q, judged in grades.items() for d, g in judged.items()]
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


def write_family(folder):
    """Three parallel sets."""
    for language in LANGUAGES:
        write_beir(folder / f"set-{language}", language)
    return folder


def write_table(path, rows):
    """Parquet, as the hub's data sets are pushed."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def parquet_parts(language):
    return {
        "corpus": [{"_id": id, "text": text} for id, text in documents(language).items()],
        "queries": [{"_id": id, "text": text} for id, text in queries(language).items()],
        "qrels": [{"query-id": q, "corpus-id": d} for q, judged in QRELS.items() for d in judged],
    }


def write_nanobeir(root: Path, layout: str, tasks=("NanoNQ", "NanoSciFact"), languages=LANGUAGES) -> Path:
    """Files named and laid out as the published repositories have them."""
    for language in languages:
        for task in tasks:
            for part, rows in parquet_parts(language).items():
                home = f"{task}_{language}{'_qrels' * (part == 'qrels')}"
                shared = task if part == "qrels" else f"{task}_{language}"
                path = {
                    "sentence-transformers": f"NanoBEIR-{language}/{part}/{task}-00000-of-00001.parquet",
                    "liquid": f"nanobeir-multilingual-extended/{home}/{part}-00000-of-00001.parquet",
                    "lighton": f"nanobeir-multilingual/{shared}/{part}-00000-of-00001.parquet",
                    "converted": f"nanobeir-multilingual-extended/{home}/{part}/0000.parquet",
                    "converted-split": f"NanoBEIR-{language}/{part}/{task}/0000.parquet",
                    "zeta-alpha": f"{task}/{part}/train-00000-of-00001.parquet",
                }[layout]
                write_table(root / path, rows)
    return root
