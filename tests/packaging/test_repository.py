"""What the repository may hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST = 1_000_000
WEIGHTS = "lfm2_retrieval/models/"
"""The one place for larger files: weights, at most one commit a release."""


def test_no_file_is_large_but_weights():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and not name.startswith(WEIGHTS)]
    assert len(files) > 100
    assert [str(file) for file in files if file.is_file() and file.stat().st_size > LARGEST] == []
