"""Forked children work from their first operation on, whatever the parent did, and beside its threads.

Each trial is a program of its own (`fork_jobs.py`), so that what hangs can be killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

PROGRAM = Path(__file__).with_name("fork_jobs.py")
PARENTS = ["encodes", "builds", "multiplies", "clusters", "compiles", "everything"]
METHODS = ["os.fork", "twice", "thread", "Pool", "fork", "forkserver", "spawn"]


def run(*arguments: str, timeout: float = 900) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{arguments} hangs:\n{process.communicate()[0][-4000:]}")
    assert process.returncode == 0, said[-4000:]
    assert said.endswith("all done\n")


@pytest.mark.parametrize(
    ("parent", "method", "dtype"),
    [
        ("multiplies", "os.fork", "int8"),
        ("clusters", "os.fork", "float32"),
        ("everything", "twice", "int8"),
        ("encodes", "Pool", "float32"),
    ],
)
def test_a_child_does_everything(parent: str, method: str, dtype: str) -> None:
    run("after", parent, method, dtype)


@pytest.mark.parametrize("work", ["lexical", "mixed"])
def test_children_forked_beside_threads_at_work(work: str) -> None:
    run("beside", work, "6")


@pytest.mark.campaign
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("parent", PARENTS)
def test_any_child_of_any_parent(parent: str, method: str, dtype: str) -> None:
    run("after", parent, method, dtype)


@pytest.mark.campaign
@pytest.mark.parametrize("work", ["lexical", "hybrid", "add", "encode", "load", "open", "build", "mixed"])
def test_many_children_beside_threads(work: str) -> None:
    run("beside", work, "25", timeout=3600)
