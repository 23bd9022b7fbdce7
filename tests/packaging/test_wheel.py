"""What an installation puts on a machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what it is made of."""
    pytest.importorskip("hatchling")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        if not (ROOT / file).exists():
            pytest.skip(f"{file} is not there yet")
        shutil.copy(ROOT / file, source)
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("lfm2_retrieval", "eval/suites", "eval/published"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_it_claims_one_name(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"lfm2_retrieval"}


def test_it_holds_the_types_marker_collections_and_models(names):
    assert "lfm2_retrieval/py.typed" in names
    package = ROOT / "lfm2_retrieval"
    data = [
        file.relative_to(ROOT).as_posix()
        for folder in ("collections", "models")
        for file in (package / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert len(data) > 24
    assert set(data) <= set(names)


def test_it_holds_what_the_suites_run_and_what_others_published(names):
    for folder in ("suites", "published"):
        files = {file.name for file in (ROOT / "eval" / folder).glob("*.toml")}
        assert len(files) >= 4
        assert {f"lfm2_retrieval/evaluation/data/{folder}/{name}" for name in files} <= set(names)


def test_it_installs_the_command(names):
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_every_bundled_model_opens_in_sentence_transformers_as_it_lies_in_the_wheel(wheel, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    from lfm2_retrieval import Encoder

    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    bundled = sorted(config.parent for config in tmp_path.glob("lfm2_retrieval/models/*/config.json"))
    assert bundled
    texts = ["Yeast makes [bread] rise.", "潮の満ち引き ^ und {Gezeiten}"]
    for folder in bundled:
        oracle = MultiVectorEncoder(
            str(folder), device="cpu", trust_remote_code=True, model_kwargs={"dtype": torch.float32}
        )
        theirs = oracle.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)
        for ours, vectors in zip(Encoder.load(folder).encode_documents(texts), theirs, strict=True):
            np.testing.assert_allclose(ours, vectors, atol=1e-4)
