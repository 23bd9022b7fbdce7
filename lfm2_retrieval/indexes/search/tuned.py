"""How an index is searched where the caller doesn't say: as it was tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datatypes import SearchParams
from ...errors import DamagedIndexError

__all__ = ["NUMBERS", "as_tuned"]

NUMBERS = ("nprobe", "candidates", "rerank")
"""What is tuned."""


def as_tuned(params: SearchParams, tuned: Any, folder: Path) -> SearchParams:
    """The parameters with what the caller left open. Tuned numbers of documents grow with ``k``.

    Parameters
    ----------
    params
        As the caller gave them.
    tuned
        The index's setting of that name.
    folder
        That of the index, for an error.

    Raises
    ------
    DamagedIndexError
        If the setting isn't what is written there.
    """
    if not tuned or params.exact:
        return params
    if not _is_sound(tuned):
        raise DamagedIndexError(f"{folder}: the setting tuned is damaged; tune the index again")
    more = max(1.0, params.k / tuned["k"])
    candidates, rerank = tuned["candidates"], tuned["rerank"]
    return replace(
        params,
        nprobe=params.nprobe or tuned["nprobe"],
        candidates=params.candidates or (candidates and round(candidates * more)),
        rerank=params.rerank or (rerank and round(rerank * more)),
    )


def _is_sound(tuned: object) -> bool:
    if not isinstance(tuned, dict) or not tuned.keys() >= {"k", *NUMBERS}:
        return False
    counts = [tuned["k"], *(tuned[name] for name in NUMBERS if tuned[name] is not None)]
    return all(type(count) is int and count > 0 for count in counts)
