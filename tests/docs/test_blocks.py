"""Every Python block of README and docs runs, and every shell block of the tutorial."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in _BLOCK.findall(page.read_text("utf-8")) if language in languages]


def environment() -> dict[str, str]:
    """Of a process that finds this checkout and the environment's commands, and no network."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """A page's blocks one after the other, in an empty folder."""
    code = "\n".join(blocks(page, "python"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FRAMEWORKS = ("haystack", "langchain", "llamaindex")


@pytest.mark.parametrize("page", FRAMEWORKS)
def test_an_answer_with_its_source_takes_twelve_lines(page: str) -> None:
    """The installation, and what is not blank of a page's first block."""
    first, *_ = blocks(ROOT / f"docs/how-to/{page}.md", "python")
    assert "source" in first
    assert 1 + sum(bool(line.strip()) for line in first.splitlines()) <= 12


def test_the_tutorial_s_commands_run(tmp_path: Path) -> None:
    script = "set -eu\n" + "\n".join(blocks(ROOT / "docs/tutorial.md", "bash"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The Moon pulls the sea up" in done.stdout
    assert "waves.md" in done.stdout
