"""From a name or a path to the files of a checkpoint, and their tensors.

Weights are read from safetensors only; nothing is unpickled and no code of a checkpoint is run.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, InvalidTypeError, ModelNotFoundError, remedy
from ..hub import fetch
from ..platform.plain_files import is_hollow, is_regular, read_regular
from ..printable import quoted
from .panics import understood
from .values import Values, read_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BUNDLED",
    "DEFAULT_MODEL",
    "PUBLISHED",
    "find_checkpoint",
    "fingerprint",
    "is_hub_name",
    "read_tensors",
]

DEFAULT_MODEL = "LiquidAI/LFM2-ColBERT-350M"
BUNDLED = {"nano": Path(__file__).parent.parent / "models" / "nano"}
PUBLISHED = ("LiquidAI/LFM2-ColBERT-350M", "LiquidAI/LFM2.5-ColBERT-350M")
"""The family's models on the hub, by their makers."""
_HUB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")
_WANTED = ("*.json", "*.safetensors", "*.txt", "*tokenizer.model")
"""Settings, weights and tokenizers in any folder; never code, nor what could hold some."""


def find_checkpoint(name_or_path: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: bundled, local, or fetched from the Hugging Face hub into its cache.

    One from the hub is called by its commit. See `is_hub_name` for what is taken for its name.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, or it can't be fetched.
    """
    if str(name_or_path) in BUNDLED:
        return BUNDLED[str(name_or_path)]
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InvalidTypeError(f"a model is a name or a path, not a {type(name_or_path).__name__}")
    name = str(name_or_path)
    if is_hub_name(name_or_path):
        return _fetched(name, revision)
    try:
        path = Path(name).expanduser()
        if name and path.is_dir():
            return path
        is_file = path.exists() and bool(name)
    except (OSError, RuntimeError):  # a name that no file can have, or the home of nobody
        is_file = False
    if is_file:
        raise CheckpointError(
            f"{path} is a file; a model is a folder with modules.json, config.json and weights"
        )
    raise ModelNotFoundError(
        f"there is no model at {name!r}; give a folder, a hub name such as {DEFAULT_MODEL!r}, "
        f"or {_nano()}, which is bundled"
    )


def is_hub_name(name_or_path: str | Path) -> bool:
    """Whether it names a model on the hub: a string ``OWNER/NAME``, whatever folders there are.

    A folder of such a name in the working directory, which may be anybody's, is never taken for it: that is
    ``./OWNER/NAME``, or a `Path`.
    """
    return isinstance(name_or_path, str) and _HUB_NAME.fullmatch(name_or_path) is not None


def _fetched(name: str, revision: str | None) -> Path:
    try:
        return fetch(name, _WANTED, revision=revision)
    except OSError as error:
        here = f" The folder of that name here is called ./{name}." if Path(name).is_dir() else ""
        raise ModelNotFoundError(
            f"the model {name!r} is not in the local cache and could not be fetched ({error}).{here} "
            f"Without a network use {_nano()}, which is bundled, or the path of a local folder."
        ) from error


def _nano() -> str:
    return remedy('model="nano"', "--model nano")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a module: ``model.safetensors``, or the shards that its index names.

    Raises
    ------
    CheckpointError
        If the files are missing, damaged or only there as a pickle, or hold other than finite floats.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        if is_hollow(file.stat()):
            raise CheckpointError(f"{file} is nothing but a hole; fetch the model again")
        try:
            with understood(file):
                tensors.update(load_file(file))
        except (SafetensorError, KeyError, OSError) as error:
            raise CheckpointError(f"{file} can't be read: {error}; fetch the model again") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"the tensor {quoted(name)} in {folder} is {str(tensor.dtype).removeprefix('torch.')}: "
                "quantized weights are not read, give the model in float32, bfloat16 or float16"
            )
        if tensor.numel() and not _is_finite(tensor):
            raise CheckpointError(
                f"the tensor {quoted(name)} in {folder} holds NaN or infinity: the model is damaged; fetch "
                "it again"
            )
    return tensors


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are; one pass, and no copy but of dtypes of one byte."""
    least, greatest = (tensor.float() if tensor.element_size() < 2 else tensor).aminmax()
    return bool(least.isfinite() and greatest.isfinite())


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a module, sorted."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if is_regular(single, follow=True):
        return [single]
    if is_regular(index, follow=True):
        listed = Values(read_json(index), str(index)).object("weight_map")
        names = sorted({listed.string(tensor) for tensor in listed})
        if not names or any(Path(name).name != name for name in names):
            raise CheckpointError(f"{index} does not list plain file names beside it")
        missing = [name for name in names if not is_regular(folder / name, follow=True)]
        if missing:
            raise CheckpointError(
                f"{folder} lacks the shard {quoted(missing[0])} that its index names; fetch the model again"
            )
        return [folder / name for name in names]
    if is_regular(folder / "pytorch_model.bin", follow=True):
        raise CheckpointError(
            f"{folder} holds its weights as a pickle, which could run code and is never loaded; "
            "convert pytorch_model.bin to model.safetensors first"
        )
    raise CheckpointError(f"{folder} holds no model.safetensors")


def fingerprint(folder: Path, modules: tuple[str, ...]) -> str:
    """A digest of all that decides a checkpoint's vectors: weights, tokenizer and settings.

    A process reads the files once, unless one of them has another time or size then.
    """
    files = sorted(folder.glob("*.json"))
    for module in modules:
        files += sorted((folder / module).glob("*.json")) if module else []
        files += weight_files(folder / module)
    for file in files:
        if not is_regular(file, follow=True):
            raise CheckpointError(f"{file} is no regular file; fetch the model again")
    stats = [file.stat() for file in files]
    return _digest(folder, tuple(files), tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@lru_cache(maxsize=32)
def _digest(folder: Path, files: tuple[Path, ...], stats: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with read_regular(file, follow=True) as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
