from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# OpenMP's threads sleep while they wait, here and in what tests start: several workers share the processors,
# and threads that spin for one that isn't scheduled took most of the time. It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Haystack tells its makers of its use unless it is told not to.
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
# A shell has what it runs in the background ignore Ctrl-C, which some tests send themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a random-weight checkpoint once for each set of arguments (see tests/checkpoints.py)."""
    from checkpoints import Shape, write

    made: dict[str, Path] = {}

    def make(**shape: object) -> Path:
        key = repr(sorted(shape.items(), key=lambda item: item[0]))
        if key not in made:
            made[key] = write(tmp_path_factory.mktemp("checkpoint"), Shape(**shape))  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the collections, or a skip."""
    folder = Path(os.environ.get("LFM2_RETRIEVAL_DATA", Path(__file__).parents[2] / "shared/data"))
    if not (folder / "eval").is_dir():
        pytest.skip(f"no collections at {folder}: set LFM2_RETRIEVAL_DATA")
    return folder
