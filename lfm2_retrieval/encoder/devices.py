"""Where and in what precision the forward pass runs, by name."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from ..errors import ForkedProcessError, InvalidInputError
from ..platform.forks import settle

__all__ = ["Precision", "find_device", "find_dtype", "settle_torch"]

Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]


def find_device(device: str | torch.device) -> torch.device:
    """The device of a name; ``"auto"`` takes a CUDA device when there is one.

    Raises
    ------
    InvalidInputError
        If it is unknown or missing here.
    ForkedProcessError
        If it is a CUDA device, and this process was forked from one that has used CUDA.
    """
    settle_torch()
    if torch.cuda._is_in_bad_fork() and str(device).startswith(("auto", "cuda")):
        raise ForkedProcessError(
            "this process was forked from one that has used CUDA, which can't go on here: begin processes by "
            '"spawn" or "forkserver", or give device="cpu"'
        )
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
        torch.empty(1, device=where).item()  # a device that holds nothing, "meta", fails here, too
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(
            f"the device {str(device)!r} is not to be had here ({reason}); try 'cpu'"
        ) from error
    return where


def settle_torch() -> None:
    """Before the first operator: in a forked child torch uses one thread."""
    settle("torch", lambda: torch.set_num_threads(1))


def find_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of a name; ``"auto"`` is float32 on a CPU, bfloat16 elsewhere.

    Raises
    ------
    InvalidInputError
        If it is unknown or not to be had on the device.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    known = {name: getattr(torch, name) for name in get_args(Precision) if name != "auto"}
    found: torch.dtype | None = known.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise InvalidInputError(f"dtype must be 'auto', {', '.join(map(repr, known))}, not {dtype!r}")
    if found == torch.int8 and device.type != "cpu":
        raise InvalidInputError("dtype 'int8' is for CPUs; on a GPU use 'bfloat16'")
    return found
