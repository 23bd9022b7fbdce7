"""Whether data have drifted away from a codec: what it loses of new vectors, beside its own sample."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import callers_level, remedy
from ..quantization.codec import Errors, Tier
from .policy import DRIFT, DriftWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..commits.snapshot import Snapshot
    from ..quantization.codec import Codec


__all__ = ["Tally", "has_drifted", "misfits"]

_FEWEST_MEASURED = 64
"""The error of fewer vectors says nothing."""
_DOCUMENTS, _VECTORS_EACH = 2048, 8
"""How many documents are looked at for those that fit badly, and how many vectors of each."""
_FEWEST_MISFITS = 0.02
"""For a smaller share of the documents nothing is trained anew."""
_ERROR = Errors._fields.index("mean_square_error")


def has_drifted(facts: Mapping[str, Any], errors: Mapping[str, Any]) -> bool:
    """Whether some of what a codec encoded fits it badly.

    The mean over everything wouldn't tell: a tenth of the documents may be lost in it. So the segment that
    fits worst decides.

    Parameters
    ----------
    facts
        Those of the codec.
    errors
        The setting of that name: what `Tally.added_to` returned.
    """
    worst = errors.get("worst", errors["mean_square_error"])
    return _is_much_more(float(worst), facts)


def misfits(snapshot: Snapshot, rng: np.random.Generator) -> Snapshot | None:
    """A snapshot of nothing but documents that the newest codec fits badly, among some drawn at random.

    None if there are so few that they aren't worth another codec.
    """
    codec = snapshot.codecs[-1].codec
    codec.prepare()
    known = snapshot.places
    drawn = np.sort(rng.choice(len(known.keys), min(len(known.keys), _DOCUMENTS), replace=False))
    parts = []
    for number, part in enumerate(snapshot.parts):
        positions = np.sort(known.positions[drawn[known.parts[drawn] == number]])
        positions = positions[part.found[positions]]
        keys = np.zeros_like(part.keys)
        if len(positions):
            starts = part.segment.offsets[positions]
            ends = np.minimum(part.segment.offsets[positions + 1], starts + _VECTORS_EACH)
            lengths = ends - starts
            vectors = np.empty((int(lengths.sum()), snapshot.dim), np.float32)
            part.segment.decode(starts, ends, vectors)
            lost = codec.encode(vectors)[2][:, _ERROR]
            means = np.add.reduceat(lost, np.cumsum(lengths) - lengths) / lengths
            bad = positions[[_is_much_more(mean, codec.facts) for mean in means.tolist()]]
            keys[bad] = part.keys[bad]
        parts.append(replace(part, keys=keys))
    found = replace(snapshot, parts=tuple(parts))
    return found if found.count and found.count >= _FEWEST_MISFITS * len(drawn) else None


class Tally:
    """Squared errors of vectors that a codec encoded, to the centroid and in all, summed up."""

    def __init__(self) -> None:
        self.sums = np.zeros(len(Errors._fields))
        self.n = 0

    def add(self, sums: NDArray[np.float64], n: int) -> None:
        """Count ``n`` more."""
        self.sums = self.sums + sums
        self.n += n

    def added_to(self, before: Mapping[str, Any] | None, codec: Codec) -> dict[str, Any]:
        """The setting ``errors``: the means of all that this codec encoded, and the worst segment's."""
        sums, n = self.sums, self.n
        worst = self._mean_square_error if n >= _FEWEST_MEASURED else 0.0
        if before and before["codec"] == codec.id:
            sums = sums + before["measured"] * np.array([before[name] for name in Errors._fields])
            n += before["measured"]
            worst = max(worst, before.get("worst", 0.0))
        means = [round(float(value), 6) for value in sums / max(n, 1)]
        return {"codec": codec.id, "measured": n, **Errors(*means)._asdict(), "worst": round(worst, 6)}

    def warn_of_drift(self, codec: Codec, tier: Tier) -> None:
        """Say so if these vectors lose much more than the codec's own."""
        if self.n < _FEWEST_MEASURED or not _is_much_more(self._mean_square_error, codec.facts):
            return
        trained = max(float(codec.facts.get("mean_square_error", 0)), 1e-9)
        warnings.warn(
            f"newly compressed vectors lose {self._mean_square_error / trained:.1f} times as much as those "
            f"that the index's codec was trained on, and may be found less well: {_advice(tier)}",
            DriftWarning,
            stacklevel=callers_level(),
        )

    @property
    def _mean_square_error(self) -> float:
        return float(self.sums[_ERROR] / max(self.n, 1))


def _advice(tier: Tier) -> str:
    """What a reader of the warning can do; a compact index keeps nothing to train another codec from."""
    if tier.int8:
        call = remedy("merge()", "lfm2-retrieve merge")
        return f"{call} measures it, and trains another codec if that is so"
    call = remedy("Retriever.reindex()", "lfm2-retrieve reindex")
    return f"{call} encodes all documents anew, and trains a codec on all of them"


def _is_much_more(error: float, facts: Mapping[str, Any]) -> bool:
    return error > DRIFT * float(facts.get("mean_square_error", 0)) + 1e-6
