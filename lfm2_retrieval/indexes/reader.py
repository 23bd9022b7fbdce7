"""Reading an index: its documents, and searches in them, as one commit has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..datatypes import Hit, SearchParams, TokenEmbeddings
from ..errors import InvalidInputError, InvalidTypeError, StoredIndexError
from ..platform.concurrency import turns
from ..platform.forks import busy
from .catalogue.catalogue import Catalogue, SweptError
from .catalogue.rows import COLUMNS, Entry, encode_ids, name_some
from .catalogue.schema import CATALOGUE
from .catalogue.settings import CONTENT, parse_tier
from .catalogue.sources import read_entries
from .compaction.policy import is_outgrown
from .filters.where import Condition, Where, parse_where
from .quantization.codec import Tier
from .search.searcher import Question
from .segments.fp16 import SegmentInfo
from .sources import Sources
from .stored_text import decode_text
from .views import View, Views

if TYPE_CHECKING:
    from types import TracebackType

    from .commits.snapshot import Snapshot

__all__ = ["IndexReader"]

T = TypeVar("T")
_PAGE = 100
"""Of the documents that meet a filter, so many are read at a time."""


class IndexReader:
    """An open index, read at one commit: that of `refresh`, of its own last change, or of its opening.

    With ``auto_refresh`` it looks for a newer commit before each call. Going on, it also goes on to another
    index that was put in the place of this one, whatever that holds. Nothing here takes the writer lock, and
    the folder may be one that can only be read.
    """

    def __init__(self, catalogue: Catalogue, auto_refresh: bool = False) -> None:
        self._views = Views(catalogue, auto_refresh)
        try:
            self._snapshot()
        except BaseException:
            self._views.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, auto_refresh: bool = False) -> Self:
        """Open an index, also in a folder that can only be read. Checks sizes and headers, not every byte.

        Parameters
        ----------
        path
            Its folder.
        auto_refresh
            Look for a newer commit before each call, which takes some 50 µs.

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        return cls(Catalogue(Path(path).absolute()), auto_refresh)

    def refresh(self) -> bool:
        """Go on to the newest commit, or to the index that was put in the place of this one.

        Returns
        -------
        bool
            Whether there was something newer.

        Raises
        ------
        IndexNotFoundError
            If the index was moved or deleted, and no other is in its place.
        """
        return self._views.renew()[1]

    def get(self, id: str) -> Entry | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Entry | None]:
        """The documents under some ids, in their order; None where there is none."""
        encoded = encode_ids(ids)
        wanted = list(dict.fromkeys(encoded))
        found = self._views.read(lambda view: view.catalogue.fetch(view.snapshot.commit, "id", wanted))
        return [found.get(id) for id in encoded]

    def newest_ids(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids of documents that the newest commit has, whatever this index reads."""
        living = self._views.catalogue.living
        encoded, whole = encode_ids(ids), self._snapshot().has_passages
        return set(map(decode_text, living(encoded, "sources") if whole else living(encoded)))

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def __len__(self) -> int:
        return self._snapshot().count

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter; see `filters`."""
        if where is None:
            return len(self)
        condition = parse_where(where)
        return self._views.read(lambda view: view.filter.apply(view.snapshot, condition).count)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        condition = None if where is None else parse_where(where)

        def read(view: View) -> list[str]:
            if condition is not None:
                return [decode_text(id) for (id,) in view.filter.select(view.snapshot, condition, "id")]
            pages = view.catalogue.pages(view.snapshot.commit, "id")
            return [decode_text(id) for page in pages for (id,) in page]

        return self._views.read(read)

    def documents(self, where: Where | None = None) -> Iterator[Entry]:
        """All documents, or those that meet a filter, in order of insertion, read some at a time.

        They are those of one commit, whatever happens until the last one is read.

        Raises
        ------
        StoredIndexError
            If a writer deleted the rest of them, as it may where this process can't write to the index's
            folder: begin anew.
        """
        return self._stream(self._views.seen(), None if where is None else parse_where(where))

    def _stream(self, view: View, condition: Condition | None) -> Iterator[Entry]:
        try:
            if condition is None:
                for page in view.catalogue.pages(view.snapshot.commit, COLUMNS, read_entries):
                    yield from page
                return
            keys = [key for (key,) in view.filter.select(view.snapshot, condition, "key")]
            for first in range(0, len(keys), _PAGE):
                found = view.catalogue.fetch(view.snapshot.commit, "key", keys[first : first + _PAGE])
                yield from (found[key] for key in sorted(found))
        except SweptError:
            if self._views.is_held:
                raise
            raise StoredIndexError(
                f"{self.path}: what was being read was deleted meanwhile, which a reader that can't write to "
                "the folder can't prevent: begin anew"
            ) from None

    def __iter__(self) -> Iterator[Entry]:
        return self.documents()

    def embeddings(self, ids: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some documents as stored, float32, in the order of ``ids``.

        Raises
        ------
        InvalidInputError
            If one of the ids is not in the index.
        """
        encoded = encode_ids(ids)

        def read(view: View) -> TokenEmbeddings:
            keys = view.catalogue.keys(view.snapshot.commit, list(dict.fromkeys(encoded)))
            if missing := [id for id, name in zip(ids, encoded, strict=True) if name not in keys]:
                raise InvalidInputError(f"not in the index: {name_some(missing)}")
            return view.snapshot.vectors([keys[name] for name in encoded])

        return self._views.read(read)

    def search(
        self,
        queries: TokenEmbeddings | Any | None,
        k: int | SearchParams = 10,
        *,
        where: Where | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The best documents of each query.

        The score of a search by vectors is the sum, over the query's vectors, of the largest inner product
        with a vector of the document, computed in float64 on the stored vectors and rounded to float32. Equal
        scores are in order of insertion. Documents and queries without vectors find nothing.

        Parameters
        ----------
        queries
            As wide as the index; all of them share one pass over the vectors: `TokenEmbeddings`, or a list of
            arrays or tensors ``[n_tokens, dim]``, see `TokenEmbeddings.of`. None in a search by words.
        k
            How many hits a query gets at most, or the parameters that say so and more: whether to search by
            vectors, by words or by both, and how hits are chosen.
        where
            Look only at documents whose metadata meets this filter; see `filters`. It is applied before
            anything is scored, and which documents it leaves is remembered until the next commit.
        texts
            The queries themselves, for a search by words or by both.

        Raises
        ------
        InvalidInputError
            If the width differs, a vector holds NaN, infinity or a value beyond float16 (±65504), the filter
            isn't understood, or there are no words to search by.

        Warns
        -----
        UnknownFieldWarning
            If no document has a field that the filter or ``group_by`` names; once a field.
        """
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        if queries is not None:
            queries = TokenEmbeddings.of(queries, self.dim)
        question = Question(queries, texts, params, None if where is None else parse_where(where))
        # Several queries keep all processors busy by themselves.
        alone = len(texts or () if queries is None else queries) == 1
        # A fork waits for whoever has a turn, so none may be given while it does.
        with busy, turns.taken() if alone else nullcontext():
            return self._views.read(lambda view: view.searcher.answer(view.snapshot, question))

    def rerank(self, queries: TokenEmbeddings | Any, ids: Sequence[Sequence[str]]) -> list[list[Hit]]:
        """Documents found elsewhere, in the order of their MaxSim on the stored vectors.

        Parameters
        ----------
        queries
            As wide as the index.
        ids
            Some a query. Documents without vectors are left out.

        Raises
        ------
        InvalidInputError
            If an id is not in the index, the numbers differ, or the vectors can't be used.
        """
        if isinstance(ids, str) or any(isinstance(some, str) for some in ids):
            raise InvalidTypeError("ids must be a list of str for each query")
        lists = [list(some) for some in ids]  # read more than once
        vectors = TokenEmbeddings.of(queries, self.dim)
        return self._views.read(lambda view: view.searcher.rerank(view.snapshot, vectors, lists))

    def verify(self) -> None:
        """Read every byte and hold it to its checksum.

        Raises
        ------
        DamagedIndexError
            Naming everything that is damaged.
        """
        from .recovery import verify

        self._views.read(lambda view: verify(view.catalogue, view.snapshot))

    def backup(self, destination: str | os.PathLike[str]) -> None:
        """Copy the newest commit to another folder, durably, while others go on writing; see `backup`.

        Raises
        ------
        IndexExistsError
            If something is there.
        DamagedIndexError
            If a file of this index is damaged; then there is no backup.
        IndexWriteError
            If the destination can't be written.
        """
        from .recovery import backup

        self._views.read(lambda view: backup(view.catalogue, Path(destination)))

    def at_once(self, read: Callable[[Self], T]) -> T:
        """What some function reads in several calls, all of it of one commit.

        Parameters
        ----------
        read
            Is given this index as it is now, whatever is committed meanwhile; only to read from it, and not
            to keep. It is called anew where what it reads was swept, as it may be where nothing can pin it.
        """

        def held(view: View) -> T:
            reader = object.__new__(type(self))  # a copy would open the index anew
            reader.__dict__.update(self.__dict__)
            reader._views = self._views.held_at(view)
            return read(reader)

        return self._views.read(held)

    @property
    def sources(self) -> Sources:
        """The documents as they were given, of which this index may hold passages."""
        return Sources(self._views)

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._views.folder

    @property
    def commit(self) -> int:
        """The number of the commit that is read."""
        return self._snapshot().commit

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self._snapshot().dim

    @property
    def n_tokens(self) -> int:
        """How many vectors the documents have."""
        return self._snapshot().n_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """What the index was made with: ``dim``, ``tier``, ``created_by``, ``uuid`` and others' settings."""
        hidden = ("horizon", CONTENT)
        return {key: value for key, value in self._snapshot().settings.items() if key not in hidden}

    @property
    def content_id(self) -> str | None:
        """What is another whenever all that the index held was replaced; None where that never was."""
        return self._snapshot().settings.get(CONTENT)

    @property
    def tier(self) -> Tier:
        """What the index is compressed to."""
        return parse_tier(self.settings["tier"])

    @property
    def codec_facts(self) -> dict[str, Any] | None:
        """How the newest codec was made: ``n_centroids``, mean squared errors …; None without one."""
        codecs = self._snapshot().codecs
        return dict(codecs[-1].codec.facts) if codecs else None

    @property
    def outgrown(self) -> bool:
        """Whether the codec was made for a sixteenth of the vectors: ``build(retrain=True)`` helps."""
        return is_outgrown(self._snapshot())

    def size_bytes(self) -> dict[str, int]:
        """Bytes on disk by part: kinds of segment files, the codecs, the catalogue with its journal."""
        snapshot = self._snapshot()
        sizes: dict[str, int] = {}
        for part in snapshot.parts:
            for name, facts in part.segment.info.files.items():
                kind = name.removesuffix(".npy")
                sizes[kind] = sizes.get(kind, 0) + facts["bytes"]
        sizes["catalogue"] = 0
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                sizes["catalogue"] += (self.path / (CATALOGUE + suffix)).stat().st_size
        codecs = [codec.folder.files.values() for codec in snapshot.codecs]
        if n_bytes := sum(facts["bytes"] for files in codecs for facts in files):
            sizes["codec"] = n_bytes
        return sizes

    @property
    def segments(self) -> list[SegmentInfo]:
        """What the catalogue says of each segment."""
        return [part.segment.info for part in self._snapshot().parts]

    def close(self) -> None:
        """Close the index. Closing again does nothing."""
        self._views.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _snapshot(self) -> Snapshot:
        """What is read."""
        return self._views.seen().snapshot
