"""When an index is compressed, what that may cost, and what it will."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError
from ..quantization.codec import Tier
from ..quantization.training import centroids_for, sample_size

if TYPE_CHECKING:
    from ..commits.snapshot import Part, Snapshot

__all__ = [
    "BuildProgress",
    "DriftWarning",
    "Estimate",
    "Limits",
    "all_to_merge",
    "estimate_size",
    "is_due",
    "is_outgrown",
    "parse_memory",
    "to_merge",
    "worth_compressing",
]

TRAIN_TOKENS = 1 << 18
"""An index of so many vectors is compressed for the first time."""
FOLD_TOKENS = 1 << 16
"""A compressed index takes in its fp16 segments once they have so many vectors, ..."""
FOLD_SHARE = 16
"""... and one in so many of all, ..."""
FEWEST_TOKENS, FEWEST_DOCUMENTS = 1 << 12, 64
"""Below either of these there is nothing to gain, and the index stays exact."""
OUTGROWN = 16
"""With so many times the vectors its codec was made for, an index has a quarter of the centroids it wants."""
SEGMENT_TOKENS = 1 << 24
"""A compressed segment is closed before it has more vectors than that, or than memory allows."""
DRIFT = 1.5
"""Data have drifted away from the codec when their mean squared error is so many times that of its sample."""
LEAST_MEMORY = 1 << 26
SEGMENT_OF_HALVES = 1 << 20
"""A merged fp16 segment has no more vectors than that."""
MERGED_AT_ONCE = 8
"""So many fp16 segments of about one size become one."""
SMALLEST_CLASS = 1 << 12
"""fp16 segments of fewer vectors count as of one size."""
MERGED_IN_PASSING = 1 << 18
"""What a call merges after its commit has at most so many vectors (.1 to .3 s)."""

BuildProgress = Callable[[str, int, int], None]
"""Called with ``"train"`` (steps) or ``"encode"`` (vectors), what is done and what there is to do."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES_PER_DOCUMENT = 130
_POSTINGS = 0.6
_ENCODED_PER_SECOND, _TRAINED_PER_SECOND = 60_000, 25_000


class DriftWarning(UserWarning):
    """Newly compressed vectors lose much more than those that the codec was trained on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a build's memory goes to.

    Parameters
    ----------
    sample
        Vectors to train from at most: half of the memory.
    segment
        Vectors in a compressed segment at most. Of each, some 20 bytes are kept until it is complete.
    """

    sample: int
    segment: int

    @classmethod
    def of(cls, memory: int, dim: int) -> Limits:
        """The limits for some bytes of memory and a width of vectors."""
        return cls(memory // (8 * dim), min(SEGMENT_TOKENS, memory // 64))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an index will take, roughly.

    Parameters
    ----------
    bytes
        On disk in the end, texts and metadata not counted.
    bytes_meanwhile
        On disk at most while everything is compressed at once.
    seconds
        To train and compress, on one processor.
    bytes_searched
        What searches read of them all the time, and should find in memory: codes and lists, or what is
        scanned.
    """

    bytes: int
    bytes_meanwhile: int
    seconds: float
    bytes_searched: int = 0


def worth_compressing(snapshot: Snapshot) -> bool:
    """Whether the index is large enough for a codec, or has one."""
    large = snapshot.n_tokens >= FEWEST_TOKENS and snapshot.count >= FEWEST_DOCUMENTS
    return snapshot.n_loose > 0 and (bool(snapshot.codecs) or large)


def is_due(snapshot: Snapshot, expected: int = 0) -> bool:
    """Whether the fp16 segments have grown so large that they are to be compressed.

    With more vectors ``expected``, a first codec waits until there is a full sample for them.
    """
    if not snapshot.codecs:
        enough = max(TRAIN_TOKENS, sample_size(expected, expected, expected))
        return snapshot.n_loose >= enough and worth_compressing(snapshot)
    share = min(snapshot.n_tokens // FOLD_SHARE, TRAIN_TOKENS)
    return snapshot.n_loose >= max(FOLD_TOKENS, share)


def is_outgrown(snapshot: Snapshot) -> bool:
    """Whether the newest codec was made for a much smaller index."""
    if not snapshot.codecs:
        return False
    return snapshot.n_tokens >= OUTGROWN * int(snapshot.codecs[-1].codec.facts["n_tokens"])


def to_merge(snapshot: Snapshot, most: int) -> list[list[Part]]:
    """What is merged after a commit: small commits leave few segments, deletes little that is dead.

    fp16 segments are of one class if their sizes, 2¹² vectors at least, differ by less than a factor of 8;
    eight of a class become one. So a vector is copied once for each factor of eight that the index is larger
    than a commit. And a segment of which more is dead than alive is rewritten, which costs less than adding
    what died in it did.

    Parameters
    ----------
    snapshot
        The newest.
    most
        Groups of more living vectors are left to an explicit merge.
    """
    groups: list[list[Part]] = [[part] for part in snapshot.parts if 2 * part.n_alive < len(part.keys)]
    classes: dict[int, list[Part]] = {}
    for part in snapshot.parts:
        if not part.compressed and part.n_tokens < SEGMENT_OF_HALVES // 2:
            classes.setdefault(_size_class(part.n_tokens), []).append(part)
    groups += [parts for parts in classes.values() if len(parts) >= MERGED_AT_ONCE]
    chosen: list[list[Part]] = []
    taken: set[int] = set()
    for group in sorted(groups, key=len, reverse=True):
        ids = {part.segment.info.id for part in group}
        if not ids & taken and sum(part.n_tokens for part in group) <= most:
            chosen.append(group)
            taken |= ids
    return chosen


def all_to_merge(snapshot: Snapshot, limits: Limits) -> list[list[Part]]:
    """What an explicit merge rewrites: neighbours of one kind, to segments as large as they may be, what has
    anything dead in it, and what lacks a file that is made by now.
    """
    kinds: dict[tuple[int | None, str], list[Part]] = {}
    for part in snapshot.parts:
        kinds.setdefault((part.segment.info.codec_id, part.segment.info.codec), []).append(part)
    groups: list[list[Part]] = []
    for (codec_id, _), parts in kinds.items():
        limit = SEGMENT_OF_HALVES if codec_id is None else limits.segment
        some: list[Part] = []
        n_tokens = 0
        for part in parts:
            if n_tokens + part.n_tokens > limit:
                groups.append(some)
                some, n_tokens = [], 0
            some.append(part)
            n_tokens += part.n_tokens
        groups.append(some)
    return [some for some in groups if len(some) > 1 or any(map(_to_rewrite, some))]


def _to_rewrite(part: Part) -> bool:
    return part.n_alive < len(part.keys) or not (part.compressed or part.segment.in_steps)


def _size_class(n_tokens: int) -> int:
    return ((n_tokens // SMALLEST_CLASS).bit_length() + 2) // 3


def parse_memory(memory: str | int) -> int:
    """``"2GB"``, ``"500MB"`` or a number of bytes → bytes.

    Raises
    ------
    InvalidInputError
        If it is something else, or less than 64 MiB.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(memory), re.IGNORECASE | re.ASCII)
    try:
        if match is None:
            raise ValueError
        unit = _UNITS[match[2].upper()]
        exponent = len(str(unit)) // 3
        n_bytes = int(float(match[1]) * (1 << 10 * exponent if match[3] else unit))
    except ValueError:
        raise InvalidInputError(
            f"memory must be a number of bytes or a string such as '2GB', not {memory!r}"
        ) from None
    if n_bytes < LEAST_MEMORY:
        raise InvalidInputError(f"memory must be at least {LEAST_MEMORY} bytes (64 MiB), not {memory!r}")
    return n_bytes


def estimate_size(n_tokens: int, n_documents: int, dim: int, tier: Tier) -> Estimate:
    """What so many vectors of so many documents will take."""
    # float16, token ids, steps of a byte filled up to four, and what a step is worth; errors of the document.
    half = n_tokens * (2 * dim + 4 + -(-dim // 4) * 4 + 4) + 8 * n_documents
    documents = n_documents * (_BYTES_PER_DOCUMENT + 8)
    small = n_tokens < FEWEST_TOKENS or n_documents < FEWEST_DOCUMENTS
    if small or tier is Tier.EXACT:
        searched = n_tokens * (-(-dim // 4) * 4 + 4) + 8 * n_documents
        return Estimate(half + documents, half + documents, 0.0, searched)
    n_codes = -(-dim // tier.width)
    codec = centroids_for(n_tokens) * dim * 2 + n_codes * (256 + dim) * tier.width * 4
    a_token = n_codes + 2 + 4 * _POSTINGS
    searched = int(n_tokens * a_token) + codec + 8 * n_documents
    compressed = int(n_tokens * (a_token + dim * tier.int8)) + codec + documents
    sampled = sample_size(n_tokens, n_tokens, n_tokens)
    seconds = n_tokens / _ENCODED_PER_SECOND + sampled / _TRAINED_PER_SECOND
    return Estimate(compressed, half + compressed, seconds, searched)
