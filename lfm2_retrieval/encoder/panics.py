"""Errors of libraries written in Rust, as ours: what a checkpoint holds may make them panic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from ..printable import quoted

__all__ = ["understood"]


@contextmanager
def understood(path: Path, problem: str = "can't be used") -> Iterator[None]:
    """Turn what the library that reads a file raises into `CheckpointError`, which names the problem.

    A panic is no `Exception`, so that nobody would catch it; plain mistakes come as bare `Exception`.
    """
    try:
        yield
    except BaseException as error:
        panicked = type(error).__module__ == "pyo3_runtime"
        if panicked or type(error) in (Exception, ValueError, TypeError, OverflowError):
            raise CheckpointError(
                f"{path} {problem}: {quoted(str(error), 200)}; fetch the model again"
            ) from error
        raise
