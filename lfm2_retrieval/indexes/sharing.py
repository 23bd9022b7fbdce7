"""One codec for several indexes, trained on vectors of all of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from .commits.snapshot import Part
from .compaction.compress import draw_sample
from .compaction.exchange import Compressor
from .compaction.policy import TRAIN_TOKENS, Limits, parse_memory
from .index import Index
from .quantization.codec import Codec, Tier
from .quantization.training import sample_size, train

__all__ = ["codec_of", "digest_of", "keep_codec", "kept_codec", "share_codec", "train_shared"]


def train_shared(
    indexes: Sequence[Index],
    *,
    memory: str | int = "2GB",
    progress: Callable[[int, int], None] | None = None,
) -> Codec | None:
    """Train a codec on a sample of the vectors of several indexes, as one index of all of them would.

    Parameters
    ----------
    indexes
        Of one width, tier and seed.
    memory
        What training may use, see `Index.build`.
    progress
        Called with what is done of what there is to do.

    Returns
    -------
    Codec or None
        None where they stay exact: by their tier, or as they have too few vectors together.
    """
    snapshots = [index._views.newest() for index in indexes]
    n_tokens = sum(snapshot.n_tokens for snapshot in snapshots)
    if not snapshots or n_tokens < TRAIN_TOKENS or indexes[0].tier is Tier.EXACT:
        return None
    dim, seed = snapshots[0].dim, int(snapshots[0].settings.get("seed", 0))
    parts: list[Part] = [
        part for snapshot in snapshots for part in snapshot.parts if part.segment.info.n_tokens
    ]
    n_stored = sum(part.segment.info.n_tokens for part in parts)
    size = sample_size(n_stored, n_tokens, Limits.of(parse_memory(memory), dim).sample)
    sample = draw_sample(parts, size, dim, np.random.default_rng(seed))
    return train(sample, n_tokens, indexes[0].tier.width, seed, progress)


def share_codec(index: Index, codec: Codec, *, timeout: float = 30.0) -> None:
    """Make a codec that was trained elsewhere an index's newest, unless it is.

    Vectors are encoded with it when the index is next compressed.
    """
    newest = codec_of(index)
    if newest is None or digest_of(newest) != digest_of(codec):
        index._views.newest()
        with Compressor(index._views.catalogue, timeout) as compressor:
            compressor.name_codec(codec)
        index.refresh()


def codec_of(index: Index) -> Codec | None:
    """The newest codec of an index; None without one."""
    codecs = index._views.seen().snapshot.codecs
    return codecs[-1].codec if codecs else None


def digest_of(codec: Codec) -> str:
    """What is the same for codecs that encode and decode alike: hexadecimal, 128 bits."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (codec.rotation, codec.centroids, codec.codebooks):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def keep_codec(folder: Path, codec: Codec) -> None:
    """Leave a codec in a folder of its own, whole or not at all, for other processes; it isn't replaced."""
    from .segments.compressed import save_codec

    if (folder / "facts.json").exists():
        return
    making = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    making.mkdir(parents=True)
    try:
        name, files = save_codec(making, 1, codec)
        described = {"name": name, "files": files, "facts": dict(codec.facts), "dim": codec.dim}
        (making / "facts.json").write_text(json.dumps(described), encoding="utf-8")
        with suppress(OSError):  # another process was faster
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def kept_codec(folder: Path) -> Codec | None:
    """The codec that `keep_codec` left; None if there is none.

    Raises
    ------
    DamagedIndexError
        If it isn't what was written.
    """
    from .segments.compressed import load_codec

    try:
        found = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return load_codec(folder, 1, found["name"], found["files"], found["facts"], found["dim"]).codec
