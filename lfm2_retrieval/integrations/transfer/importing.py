"""An index from vectors that something else made: Parquet, NumPy's files, PLAID folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from ...indexes import Index, Tier
from .arrays import rows_of_arrays
from .parquet import encoder_of, rows_of_parquet
from .plaid import is_plaid, rows_of_plaid
from .rows import Rows

__all__ = ["import_index"]


def import_index(
    source: str | Path,
    path: str | Path,
    *,
    ids: str | Path | None = None,
    vectors: str = "vectors",
    tier: Tier | str = Tier.BALANCED,
    encoder: Mapping[str, Any] | None = None,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Index:
    """Make an index of vectors as they are.

    Parameters
    ----------
    source
        A ``.parquet`` file with a row a document: ``id``, ``vectors``, and perhaps ``text`` and ``metadata``
        (JSON, or a struct), other columns are metadata, too; a ``.npz`` or ``.npy``, see `rows_of_arrays`; or
        a folder of fast-plaid, PyLate or ColBERT, see `rows_of_plaid`.
    path
        Where the index goes; nothing is there.
    ids
        A file with an id a line, or a JSON object with ``id``, ``text`` and ``metadata``, where the source
        has none. Otherwise documents are numbered.
    vectors
        The column of a Parquet file that holds them.
    tier
        What the index is compressed to.
    encoder
        The `Encoder.identity <lfm2_retrieval.Encoder.identity>` of the model that made them, for searches
        with texts. A Parquet file that `export_index` wrote says which.
    on_progress
        Called with the number of documents read so far.

    Returns
    -------
    Index
        Open.

    Raises
    ------
    IndexExistsError
        If something is at ``path``.
    InvalidInputError
        If the source can't be read, or its vectors, ids and texts don't fit together; then no index is left.
    MissingExtraError
        If Parquet is to be read, and pyarrow isn't installed.
    """
    source, path = Path(source), Path(path)
    if not source.exists():
        raise InvalidInputError(f"{source}: no such file or folder")
    dim, batches, found = _open(source, None if ids is None else Path(ids), vectors)
    recorded = encoder or found
    if recorded is not None and recorded.get("dim", dim) != dim:
        raise InvalidInputError(
            f"the model makes vectors of {recorded['dim']} dimensions, and {source} has {dim}"
        )
    settings = {} if recorded is None else {"encoder": dict(recorded)}
    index = Index.create(path, dim, tier=tier, settings=settings)
    try:
        count = 0
        with index.writer() as writer:
            for rows in batches:
                writer.add(rows.ids, rows.vectors, rows.texts, rows.metadata)
                count += len(rows.ids)
                on_progress(count)
        if not count:
            raise InvalidInputError(f"{source} holds no documents")
        index.build(force=True)
    except BaseException:
        index.close()
        shutil.rmtree(path)
        raise
    return index


def _open(source: Path, ids: Path | None, vectors: str) -> tuple[int, Iterator[Rows], dict[str, Any] | None]:
    """How wide vectors are, the documents, and which model made them, where that is known."""
    if source.is_dir():
        if not is_plaid(source):
            raise InvalidInputError(
                f"{source}: is no folder of fast-plaid, PyLate or ColBERT, which has centroids.npy or "
                "centroids.pt"
            )
        return *rows_of_plaid(source, ids), None
    if source.suffix == ".parquet":
        return *rows_of_parquet(source, vectors), encoder_of(source)
    if source.suffix in (".npz", ".npy"):
        return *rows_of_arrays(source, ids), None
    raise InvalidInputError(
        f"{source}: its name must end in .parquet, .npz or .npy, or it is a folder of PLAID"
    )
