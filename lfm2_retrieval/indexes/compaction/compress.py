"""Building: a codec is trained from what the index holds, and its segments are compressed one after another.

Training and encoding work on a snapshot and hold no lock that a reader or another writer waits for, only one
against a second build. What they make lies in ``building/`` until `Compressor` commits it: first the codec,
then each segment, in the place of those that it was made from. A build that is killed has lost the segment at
which it was, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...platform.forks import busy
from ..catalogue.connections import storing
from ..catalogue.lock import WriterLock
from ..quantization.codec import Codec, Tier, to_int8
from ..quantization.threads import on_threads
from ..quantization.training import sample_size, train
from ..segments.compressed import Block, CompressedBuilder, CompressedSegment
from ..segments.fp16 import Segment
from .drift import Tally
from .exchange import Built, Compressor
from .merge import empty_building
from .policy import BuildProgress, Limits

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..commits.snapshot import Part, Snapshot

__all__ = ["Build", "draw_sample"]

_BLOCK_TOKENS = 1 << 14
_RELEASE_TOKENS = 1 << 18
_MEASURED = 16
"""One vector in so many is decoded again to measure the error."""


class Encoded(NamedTuple):
    """A block, and the sums of `Errors`, squared, over some of its vectors."""

    block: Block
    sums: NDArray[np.float64]
    measured: int


class Portion(NamedTuple):
    """Segments that become one, and how many living documents' vectors they have.

    By number: who holds a segment open keeps its files on the disk.
    """

    ids: Sequence[int]
    n_tokens: int


class Build:
    """One build.

    Parameters
    ----------
    catalogue
        Of the index.
    load
        Gives the newest snapshot.
    limits
        How much memory it may use.
    timeout
        Seconds to wait for another writer at each commit.
    progress
        Called now and then, in the thread that builds.
    own
        Whether what is compressed came with what the codec was trained on, so that there is no drift to warn
        of.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        load: Callable[[], Snapshot],
        limits: Limits,
        timeout: float,
        progress: BuildProgress | None,
        *,
        own: bool = False,
    ) -> None:
        self._catalogue = catalogue
        self._load = load
        self._limits = limits
        self._timeout = timeout
        self._own = own
        self._report = progress or (lambda phase, done, total: None)
        self._folder: Path = catalogue.folder / "building"

    def run(self, wanted: Callable[[Snapshot], bool], *, retrain: bool, expected: int, wait: float) -> bool:
        """Compress what isn't.

        Parameters
        ----------
        wanted
            Whether there is anything to do.
        retrain
            Train a codec anew and encode everything with it.
        expected
            How many vectors there will be, if more than there are.
        wait
            Seconds to wait for another build.

        Returns
        -------
        bool
            Whether anything was compressed.
        """
        with WriterLock(self._catalogue.folder / "build.lock", wait):
            snapshot = self._load()
            if not wanted(snapshot):
                return False
            if retrain:
                _check_sources(snapshot)
            empty_building(self._catalogue.folder)
            try:
                codec, retrain = self._codec(snapshot, retrain, expected)
                del snapshot  # which would keep what is replaced
                done = self._compress(codec, retrain)
            finally:
                empty_building(self._catalogue.folder)
            self._load()
            with Compressor(self._catalogue, self._timeout):
                pass  # deletes what was replaced
            return done

    def _codec(self, snapshot: Snapshot, retrain: bool, expected: int) -> tuple[Codec, bool]:
        """The newest codec, or a new one; and whether older segments are to be encoded with it."""
        while True:
            newest = snapshot.codecs[-1].codec if snapshot.codecs else None
            if newest is not None and not (retrain and _is_spent(snapshot, newest)):
                return newest, retrain
            parts = [part for part in snapshot.parts if part.segment.info.n_tokens]
            codec = self._train(snapshot, parts, expected)
            with Compressor(self._catalogue, self._timeout) as compressor:
                if compressor.alive([part.segment.info.id for part in parts]):
                    self._own = True  # what is compressed now is what it was trained on
                    return compressor.name_codec(codec), retrain
            snapshot = self._load()  # emptied meanwhile, and filled with something else

    def _train(self, snapshot: Snapshot, parts: Sequence[Part], expected: int) -> Codec:
        self._report("train", 0, 1)
        settings = snapshot.settings
        seed, tier = int(settings.get("seed", 0)), Tier(settings["tier"])
        n_tokens = sum(part.segment.info.n_tokens for part in parts)
        size = sample_size(n_tokens, expected, self._limits.sample)
        sample = draw_sample(parts, size, snapshot.dim, np.random.default_rng(seed))

        def report(done: int, total: int) -> None:
            self._report("train", done, total + 1)

        codec = train(sample, max(n_tokens, expected), tier.width, seed, report)
        self._report("train", 1, 1)
        return codec

    def _compress(self, codec: Codec, retrain: bool) -> bool:
        snapshot, limit = self._load(), self._limits.segment
        tier = Tier(snapshot.settings["tier"])
        portions = list(_portions(_chosen(snapshot, codec, retrain, limit), codec, limit))
        del snapshot  # which would keep on the disk what is replaced
        total = sum(portion.n_tokens for portion in portions)
        fresh = Tally()
        self._done = 0
        for portion in portions:
            if not self._exchange(portion, codec, tier, fresh, total):
                return False
        if not self._own:
            fresh.warn_of_drift(codec, tier)
        return bool(portions)

    def _exchange(self, portion: Portion, codec: Codec, tier: Tier, fresh: Tally, total: int) -> bool:
        """Commit a segment in the place of those of a portion; False if the index was emptied meanwhile.

        It is made from the newest commit, and nothing older is held.
        """
        snapshot = self._load()
        if self._done:
            with Compressor(self._catalogue, self._timeout):
                pass  # deletes what the portion before was made from
        living = {part.segment.info.id: part for part in snapshot.parts}
        if not living.keys() >= set(portion.ids):
            return False
        new = Tally()
        built = self._build([living[id] for id in portion.ids], codec, tier, new, total)
        fresh.add(new.sums, new.n)
        with Compressor(self._catalogue, self._timeout) as compressor:
            settings = {"errors": new.added_to(self._load().settings.get("errors"), codec)}
            return compressor.exchange(portion.ids, built, settings)

    def _build(
        self, parts: Sequence[Part], codec: Codec, tier: Tier, tally: Tally, total: int
    ) -> Built | None:
        """Write the segment of some parts, unless nothing in them is alive."""
        if not any(part.keys.any() for part in parts):
            return None
        for part in parts:
            part.segment.check()
        codec.prepare()
        with storing(self._catalogue.folder):
            self._folder.mkdir(exist_ok=True)
            builder = CompressedBuilder(self._folder / "segment", codec, tier.int8)

        def encode(task: tuple[Segment, int, int]) -> Encoded:
            return _encode(*task, codec, tier.int8)

        try:
            for part in parts:
                since = 0
                for encoded in on_threads(encode, _tasks(part)):
                    with storing(self._catalogue.folder):
                        builder.append(encoded.block)
                    tally.add(encoded.sums, encoded.measured)
                    self._done += len(encoded.block.ids)
                    since += len(encoded.block.ids)
                    if since >= _RELEASE_TOKENS:
                        part.segment.release()
                        since = 0
                    self._report("encode", self._done, total)
                part.segment.release()
                alive = part.keys > 0
                builder.end_documents(np.diff(part.segment.offsets)[alive], part.keys[alive])
            sources = [(part.segment.info.id, np.flatnonzero(part.keys > 0)) for part in parts]
            with storing(self._catalogue.folder):
                return Built(builder, builder.finish(), sources)
        except BaseException:
            builder.abandon()
            raise


def _is_spent(snapshot: Snapshot, newest: Codec) -> bool:
    """Whether a codec is to give way to another; not if it was trained just now to replace what is in use."""
    used = {part.segment.info.codec_id for part in snapshot.parts if part.compressed}
    half_way = bool(used - {newest.id}) or not used
    return not (half_way and 2 * int(newest.facts["n_tokens"]) >= snapshot.n_tokens)


def _check_sources(snapshot: Snapshot) -> None:
    """Refuse to encode again what only codes are left of."""
    tier = Tier(snapshot.settings["tier"])
    if not tier.int8 and any(part.compressed for part in snapshot.parts):
        raise InvalidInputError(
            f"the tier {str(tier)!r} keeps no vectors that another codec could encode: index the documents "
            "anew, with the tier 'balanced' if that is to be possible later"
        )


def _chosen(snapshot: Snapshot, codec: Codec, retrain: bool, limit: int) -> list[Part]:
    """What is to be rewritten, in order of insertion: all fp16 segments, with ``retrain`` those of other
    codecs, and the compressed ones that are not larger than what they are merged with.

    So a vector is copied a number of times that grows with the logarithm of the index.
    """
    parts = [part for part in snapshot.parts if not _has(part, codec) and (retrain or not part.compressed)]
    total = sum(part.segment.info.n_tokens for part in parts)
    if not parts:
        return []
    others = [part for part in snapshot.parts if _has(part, codec)]
    for part in sorted(others, key=lambda part: part.segment.info.n_tokens):
        if part.segment.info.n_tokens <= min(total, limit // 2):
            parts.append(part)
            total += part.segment.info.n_tokens
    return sorted(parts, key=lambda part: int(part.keys[part.keys > 0].min(initial=np.iinfo(np.int64).max)))


def _has(part: Part, codec: Codec) -> bool:
    """Whether a segment is of that codec."""
    return part.segment.info.codec_id == codec.id


def _portions(parts: Sequence[Part], codec: Codec, limit: int) -> Iterator[Portion]:
    """Neighbours, together up to a limit of vectors. A portion that would stay as it is, is left out."""
    some: list[Part] = []
    n_tokens = 0
    for part in (*parts, None):
        size = 0 if part is None else int(np.diff(part.segment.offsets)[part.keys > 0].sum())
        if some and (part is None or n_tokens + size > limit):
            if len(some) > 1 or not _has(some[0], codec):
                yield Portion([part.segment.info.id for part in some], n_tokens)
            some, n_tokens = [], 0
        if part is not None:
            some.append(part)
            n_tokens += size


def _tasks(part: Part) -> Iterator[tuple[Segment, int, int]]:
    """The tokens of a part's living documents, a block of neighbours at a time."""
    positions = np.flatnonzero(part.keys > 0)
    offsets = part.segment.offsets
    for run in np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1):
        if len(run):
            end = int(offsets[run[-1] + 1])
            for start in range(int(offsets[run[0]]), end, _BLOCK_TOKENS):
                yield part.segment, start, min(start + _BLOCK_TOKENS, end)


@busy
def _encode(segment: Segment, start: int, end: int, codec: Codec, int8: bool) -> Encoded:
    if isinstance(segment, CompressedSegment) and segment.codec.id == codec.id:
        return Encoded(segment.copy(start, end), np.zeros(2), 0)
    vectors = np.empty((end - start, codec.dim), np.float32)
    segment.decode(np.array([start]), np.array([end]), vectors)
    ids, codes, errors = codec.encode(vectors, _MEASURED)
    steps, scales, unit = to_int8(vectors)
    block = Block(ids, codes, steps if int8 else steps[:0], scales, unit)
    return Encoded(block, errors.sum(axis=0), len(errors))


def draw_sample(parts: Sequence[Part], n: int, dim: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Vectors drawn from all parts without replacement, one from each of ``n`` stretches of equal length."""
    bounds = np.concatenate([[0], np.cumsum([part.segment.info.n_tokens for part in parts])])
    stretches = np.arange(n + 1) * int(bounds[-1]) // max(n, 1)
    drawn = rng.integers(stretches[:-1], stretches[1:])
    sample = np.empty((n, dim), np.float32)
    for part, begin, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        for start in range(int(begin), int(end), _RELEASE_TOKENS):
            first, last = np.searchsorted(drawn, [start, min(start + _RELEASE_TOKENS, int(end))])
            rows = drawn[first:last] - begin
            part.segment.decode(rows, rows + 1, sample[first:last])
            part.segment.release()
    return sample
