"""Repair: a new index of everything that is left of a damaged one.

The damaged folder is only read. What is whole of it (rows and files that match their checksums, and of
damaged files the documents that match theirs) goes to a new index beside it; when that is on the disk, and
verified, the two change names.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import IndexNotFoundError
from ..catalogue.catalogue import Catalogue
from ..catalogue.location import is_index, is_vacant
from ..catalogue.lock import WriterLock
from ..commits.snapshot import load
from ..segments.files import fsync_folder
from .assessment import Assessment
from .rebuild import Encode, rebuild
from .staging import SCRATCH, staged
from .verify import verify

__all__ = ["Encode", "Repair", "repair"]


@dataclass(frozen=True)
class Repair:
    """What a repair found, and did.

    Parameters
    ----------
    problems
        What is damaged; nothing was done if nothing is.
    kept
        How many documents are as they were.
    encoded
        Ids of documents of which the vectors were lost and were made again from the text.
    without_vectors
        Ids of documents of which the vectors are lost: they are there, but no search by vectors finds them.
    lost
        Ids of documents that are gone.
    n_unknown
        How many more are gone of which not even the id is left.
    original
        Where the damaged index lies now; None if it lies where it lay.
    """

    problems: tuple[str, ...] = ()
    kept: int = 0
    encoded: tuple[str, ...] = ()
    without_vectors: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    n_unknown: int = 0
    original: Path | None = None


class _EnoughError(Exception):
    """Ends a dry run."""


def repair(
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    encode: Encode | None = None,
    timeout: float = 30.0,
) -> Repair:
    """Put an index of everything that is left in the place of a damaged one.

    The damaged one stays beside it as ``PATH.damaged``. If the process is killed in between, either the index
    is as it was, or ``PATH.repaired`` is complete and the next repair puts it in its place.

    Parameters
    ----------
    folder
        Of the index.
    dry_run
        Only say what would be done. Nothing is encoded then.
    encode
        Makes vectors for texts of which they are lost.
    timeout
        Seconds to wait for a writer.

    Raises
    ------
    IndexNotFoundError
        If nothing is there.
    DamagedIndexError
        If nothing is left.
    IndexLockedError
        If a writer takes longer than ``timeout``.
    IndexWriteError
        If the new index can't be written; the damaged one is untouched.
    """
    folder = Path(folder).absolute()
    made = folder.with_name(folder.name + ".repaired")
    if not os.path.lexists(folder) and is_index(made):
        _put(made, folder)
        return Repair(("an earlier repair was interrupted; it is through now",))
    if is_vacant(folder):
        raise IndexNotFoundError(f"no index at {folder}: check the path")
    if is_index(made):  # of an earlier repair that didn't come to its end
        shutil.rmtree(made)
    with WriterLock(folder / "lock", timeout):
        encoded: set[int] = set()
        with suppress(_EnoughError), staged(made, ".partial") as place:
            left = Assessment(folder, place / SCRATCH)
            if dry_run or not left.problems:
                raise _EnoughError
            encoded = rebuild(left, place, encode)
        if dry_run or not left.problems:
            return _report(left, encoded, None)
        with closing(Catalogue(made)) as catalogue:
            verify(catalogue, load(catalogue))
        original = _vacate(folder)
        _put(made, folder)
        return _report(left, encoded, original)


def _vacate(folder: Path) -> Path:
    """Give a folder another name."""
    names = (f"{folder.name}.damaged{'' if n == 1 else f'-{n}'}" for n in range(1, 1 << 16))
    path = next(path for path in map(folder.with_name, names) if not os.path.lexists(path))
    folder.rename(path)
    return path


def _put(made: Path, folder: Path) -> None:
    made.rename(folder)
    fsync_folder(folder.parent)


def _report(left: Assessment, encoded: set[int], original: Path | None) -> Repair:
    """What was found and done."""
    found = left.found
    (count,) = found.documents.execute("SELECT count(*) FROM documents").fetchone()
    found.documents.close()
    gone = {key: id for key, id in left.lost_vectors.items() if left.lengths[key]}
    return Repair(
        tuple(left.problems),
        count - len(gone),
        tuple(gone[key] for key in sorted(encoded & set(gone))),
        tuple(id for key, id in gone.items() if key not in encoded),
        tuple(found.lost),
        max(0, left.n_unknown - len(found.lost)),
        original,
    )
