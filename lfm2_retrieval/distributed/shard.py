"""A shard as its collection uses it: what an index tells, and what changes it; in any process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..datatypes import Document, Hit, TokenEmbeddings
from ..encoder import Encoder
from ..errors import IndexNotFoundError
from ..indexes import Found, Index, OnConflict, Shard, StoredDocument, Where
from ..records import Columns
from ..retriever import Retriever
from ..retriever.change_run import ChangeCounts

__all__ = ["OpenShard", "ShardState"]


class ShardState(NamedTuple):
    """What a shard is at its newest commit.

    Parameters
    ----------
    commit, n_found, n_tokens
        Its number, how many documents or passages can be found, and how many vectors they have.
    last
        The highest number that a document has or had.
    settings
        As of `Index.settings`.
    codec
        The digest of its newest codec.
    """

    commit: int
    n_found: int
    n_tokens: int
    last: int
    settings: dict[str, Any]
    codec: str | None


class OpenShard(Shard):
    """A shard that is open in this process.

    Parameters
    ----------
    path
        Its folder.
    load
        Loads its model, when documents are first added or changed.
    """

    def __init__(self, path: Path, load: Callable[[], Encoder] | None = None) -> None:
        index = Index.open(path)
        super().__init__(index)
        self._retriever = Retriever(index, load or _no_model(path))

    def state(self) -> ShardState:
        """Go on to the newest commit, and tell what it is."""
        from ..indexes.sharing import codec_of, digest_of

        commit = self.newest()
        index = self.index
        codec = codec_of(index)
        return ShardState(
            commit,
            len(index),
            index.n_tokens,
            index.next_number(),
            index.settings,
            None if codec is None else digest_of(codec),
        )

    def embeddings(self, commit: int, ids: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some documents as stored."""
        return self.at(commit).embeddings(ids)

    def named(
        self, commit: int, queries: TokenEmbeddings, ids: Sequence[Sequence[str]]
    ) -> list[tuple[list[Found], dict[int, Hit]]]:
        """For each query documents under some ids by their MaxSim, and what is stored of them."""
        return [self.ranked(commit, queries.select([i]), some) for i, some in enumerate(ids)]

    def sources(self, commit: int, method: str, *args: Any) -> Any:
        """A method of `Sources` that reads."""
        found = getattr(self.at(commit).sources, method)(*args)
        return list(found) if isinstance(found, Iterator) else found

    def stored(self, commit: int, ids: Sequence[str]) -> list[StoredDocument | None]:
        """The whole documents under some ids."""
        return self.at(commit).sources.get_many(ids)

    def read(self, commit: int, method: str, *args: Any) -> Any:
        """A method of `IndexReader` that reads."""
        return getattr(self.at(commit), method)(*args)

    def newest_ids(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids of documents that the newest commit has."""
        return self.index.newest_ids(ids)

    def add(
        self,
        documents: Sequence[Document],
        numbers: Mapping[str, int],
        new: Sequence[str],
        on_conflict: OnConflict,
        timeout: float,
    ) -> ChangeCounts:
        """Add documents in one commit.

        Parameters
        ----------
        documents, on_conflict, timeout
            As for `Retriever.add`.
        numbers
            Their places in the order of the collection, by id.
        new
            Ids that were given by number, and so are to be of no other document.
        """
        numbered = set(new)
        with self._retriever.transaction(timeout=timeout):
            self.index.change(lambda writer: writer.number(numbers))
            named = [one for one in documents if one.id not in numbered]
            counts = self._retriever.add(named, on_conflict=on_conflict)
            rest = [one for one in documents if one.id in numbered]
            return counts.plus(self._retriever.add(rest)) if rest else counts

    def update(self, documents: Sequence[Any], columns: Columns, timeout: float) -> ChangeCounts:
        """Change documents in one commit."""
        return self._retriever.update(
            documents, text=columns.text, id=columns.id, metadata=columns.metadata, timeout=timeout
        )

    def delete(
        self, ids: Sequence[str] | None, where: Where | None, all: bool, missing_ok: bool, timeout: float
    ) -> int:
        """Delete documents in one commit."""
        if ids is not None:
            return self._retriever.delete(ids, missing_ok=missing_ok, timeout=timeout)
        return self._retriever.delete(where=where, all=all, timeout=timeout)

    def tend(self, what: Literal["merge", "verify"], n_shards: int, number: int) -> list[str]:
        """Merge, keeping the codec; or verify, and tell ids that belong to other shards."""
        from .routing import shard_of

        if what == "merge":
            self.index.merge(retrain=False)
            return []
        self.index.verify()
        return [id for id in self.index.sources.ids() if shard_of(id, n_shards) != number]

    def process(self) -> int:
        """The id of the process that has it open."""
        return os.getpid()

    def ping(self) -> str:
        """The identity of the index that is open here."""
        return str(self.index.settings["uuid"])


def _no_model(path: Path) -> Callable[[], Encoder]:
    def load() -> Encoder:
        raise IndexNotFoundError(f"{path} was opened to be searched alone")

    return load
