"""Rows of segments and codecs that the catalogue has lost, from the files themselves."""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...platform.plain_files import is_regular, read_regular
from ..quantization.codec import Layout
from ..segments.arrays import HEADER_BYTES
from ..segments.files import check_name, name_of
from ..segments.fp16 import FP16

__all__ = ["infer_codec", "infer_segments"]

_NO_CHECKSUM = -1
"""Matches nothing, so that each document is held to its own."""


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a folder's arrays, as far as their headers can be read."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".npy" or not is_regular(path):
            continue
        with read_regular(path) as file:
            head = file.read(HEADER_BYTES)
        with suppress(SyntaxError, ValueError, KeyError, TypeError, MemoryError, RecursionError):
            shape = ast.literal_eval(head[10:].decode("ascii").strip())["shape"]
            found[path.name] = tuple(int(size) for size in shape)
    return found


def infer_segments(
    folder: Path, known: set[str], codecs: Mapping[int, Mapping[str, Any]], dim: int
) -> Iterator[dict[str, Any]]:
    """Rows for segments that no row names.

    Parameters
    ----------
    folder
        The index's ``segments``.
    known
        The names of those that have rows, living or dead.
    codecs
        The facts of each codec that is left.
    dim
        The width of a vector.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
        with suppress(ValueError, KeyError, IndexError):
            if path.is_symlink() or check_name(path.name) in known:
                continue
            shapes = _shapes(path)
            codec, codec_id = _codec_of(shapes, codecs, dim)
            files = {name: {"bytes": (path / name).stat().st_size, "crc32": _NO_CHECKSUM} for name in shapes}
            tokens = shapes["vectors.npy" if codec == FP16 else "codes.npy"][0]
            yield {
                "id": int(path.name),
                "name": path.name,
                "codec": codec,
                "codec_id": codec_id,
                "n_documents": shapes["keys.npy"][0],
                "n_tokens": tokens,
                "files": json.dumps(files),
            }


def _codec_of(
    shapes: Mapping[str, tuple[int, ...]], codecs: Mapping[int, Mapping[str, Any]], dim: int
) -> tuple[str, int | None]:
    """What a segment is encoded by; the newest codec that fits, if there are several."""
    if "vectors.npy" in shapes:
        return FP16, None
    n_codes, n_centroids = shapes["codes.npy"][1], shapes["lists.npy"][0] - 1
    fitting = [
        id
        for id, facts in codecs.items()
        if (facts.get("n_codes"), facts.get("n_centroids")) == (n_codes, n_centroids)
    ]
    id = max(fitting, default=0)
    width = codecs[id]["width"] if id else next(w for w in range(1, 10) if -(-dim // w) == n_codes)
    # Without int8 vectors nothing says whether lengths were 1; encoders give such vectors.
    return str(Layout(width, "int8.npy" in shapes, "scales.npy" not in shapes)), id


def infer_codec(folder: Path, id: int, n_tokens: int) -> dict[str, Any] | None:
    """The row of a codec, from its files as they are; None if they can't be a codec's."""
    name = name_of(id)
    shapes = _shapes(folder / name)
    try:
        (n_centroids, _), (n_codes, _, width) = shapes["centroids.npy"], shapes["codebooks.npy"]
    except (KeyError, ValueError):
        return None
    facts = {"n_centroids": n_centroids, "n_codes": n_codes, "width": width, "n_tokens": n_tokens}
    files = {}
    for file in ("rotation.npy", "centroids.npy", "codebooks.npy"):
        try:
            with read_regular(folder / name / file) as stream:
                data = stream.read()
        except OSError:
            return None
        files[file] = {"bytes": len(data), "crc32": zlib.crc32(data[HEADER_BYTES:])}
    return {"id": id, "name": name, "facts": json.dumps(facts), "files": json.dumps(files)}
