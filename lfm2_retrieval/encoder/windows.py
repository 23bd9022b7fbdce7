"""Overlapping windows over a long text: where they lie, and which tokens are kept from each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Window", "windows"]

_OVERLAP = 4  # of a window, the least part that its neighbour reads too: a quarter


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens ``start`` to ``stop`` are read, of which those from ``first`` to ``last`` are kept."""

    start: int
    stop: int
    first: int
    last: int


def windows(n_tokens: int, room: int, *, causal: bool) -> list[Window]:
    """Windows over a text, each token kept from one of them: that in which it has most context.

    Parameters
    ----------
    n_tokens
        Of the text, without BOS, prefix and the like.
    room
        The most tokens of a window, at least 1.
    causal
        Whether a token sees only what stands before it. Its context is then what stands before it, so it is
        kept from the first window that has it; else it is kept from the window whose middle is nearest, of
        two the first.

    Returns
    -------
    list of Window
        As few as overlap by at least a quarter of ``room``, evenly spread; one if the text fits.
    """
    if n_tokens <= room:
        return [Window(0, n_tokens, 0, n_tokens)]
    overlap = room // _OVERLAP
    count = -(-(n_tokens - overlap) // (room - overlap))
    starts = [i * (n_tokens - room) // (count - 1) for i in range(count)]
    borders = [
        earlier + room if causal else (earlier + room - 1 + later) // 2 + 1
        for earlier, later in pairwise(starts)
    ]
    return [
        Window(start, start + room, first, last)
        for start, first, last in zip(starts, [0, *borders], [*borders, n_tokens], strict=True)
    ]
