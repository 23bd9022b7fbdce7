from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lfm2_retrieval import Encoder

ROOT = Path(__file__).parents[2]
NANO = ROOT / "lfm2_retrieval/models/nano"


@pytest.fixture(scope="module", params=["random weights", "nano"])
def model(request, checkpoint) -> str:
    if request.param == "random weights":
        return str(checkpoint())
    if not (NANO / "model.safetensors").is_file():
        pytest.skip("the bundled model nano is missing")
    return "nano"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(model):
    out = run("quickstart.py", *([] if model == "nano" else [model]))
    assert "4 documents" in out
    if model == "nano":
        assert "1. " in out
        assert [line.split()[3] for line in out.splitlines() if line.startswith("  1. ")] == [
            "0:",
            "tides:",
            "frost:",
        ]


def test_a_student_is_exported_as_sentence_transformers_reads_it(tmp_path, monkeypatch):
    """Also where the tokenizer lacks some marks of the skiplist."""
    from sentence_transformers import MultiVectorEncoder

    monkeypatch.syspath_prepend(str(ROOT / "examples/train_nano"))
    from export import export
    from student import Student

    work, folder = tmp_path / "work", tmp_path / "exported"
    work.mkdir()
    shutil.copyfile(NANO / "tokenizer.json", work / "tokenizer.json")
    student, draw = Student(work), torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(value.shape, generator=draw) * 0.1 for name, value in student.state_dict().items()
    }
    torch.save({"model": weights}, work / "study.pt")
    export(work, folder, share=1.0, last=False, other=None, weight=0.5)
    oracle = MultiVectorEncoder(
        str(folder), device="cpu", trust_remote_code=True, model_kwargs={"dtype": torch.float32}
    )
    texts = ["a [b] ^ {c}", "Dough rises; why?"]
    theirs = oracle.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)
    for ours, vectors in zip(Encoder.load(folder).encode_documents(texts), theirs, strict=True):
        np.testing.assert_allclose(ours, vectors, atol=1e-4)
