"""Another number of shards, or shards of what was one index: vectors are copied, nothing is encoded."""

from __future__ import annotations

import heapq
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..datatypes import TokenEmbeddings
from ..errors import DamagedIndexError, InvalidInputError, remedy
from ..indexes import Index, StoredDocument, StoredPassage, Tier, Writer, WriterLock, parse_memory
from ..platform.forks import cached_property
from ..retriever.ingest import Progress
from ..retriever.progress import Show, shown
from .building import check_numbers, manifest_of, prepare
from .calls import check_states
from .ledger import settled_plan
from .manifest import Manifest, is_manifest
from .routing import shard_of
from .shard import OpenShard
from .stages import BUILDING, LEDGER, Plan, open_shard

__all__ = ["reshard"]

_PAGE = 64
_COMMIT_TOKENS = 1 << 17
"""A shard gets what waits for it when it is so many vectors."""


@dataclass
class _Copied:
    """A document on its way: its place in the order, itself, its passages if it has some, its vectors."""

    place: int
    document: StoredDocument
    passages: list[StoredPassage] | None
    embeddings: TokenEmbeddings


class _Page:
    """Some documents of a shard, whose vectors are read together.

    Parameters
    ----------
    index
        The shard at the commit that is copied.
    documents
        The documents.
    split
        Whether they have passages.
    """

    def __init__(self, index: Index, documents: Sequence[StoredDocument], split: bool) -> None:
        self._index, self._split = index, split
        self.documents = documents

    @cached_property
    def _vectors(self) -> TokenEmbeddings:
        return self._index.embeddings([one.id for one in self.documents])

    def copied(self, place: int, i: int) -> _Copied:
        """A document with its vectors."""
        if not self._split:
            return _Copied(place, self.documents[i], None, self._vectors.select([i]))
        held = self._index.sources.held(self.documents[i].id)
        if held is None:
            raise DamagedIndexError(f"{self._index.path}: the document {self.documents[i].id!r:.80} is gone")
        passages = [entry.passage for entry in held.passages if entry.passage is not None]
        ids = [entry.id for entry in held.passages]
        return _Copied(place, held.document, passages, self._index.embeddings(ids))


@dataclass
class _Waiting:
    """What waits to be written to a shard."""

    items: list[_Copied] = field(default_factory=list)
    n_tokens: int = 0


def reshard(
    source: str | Path,
    path: str | Path,
    *,
    shards: int,
    memory: str | int = "2GB",
    on_progress: Show | bool | None = None,
) -> Manifest:
    """Make a collection of so many shards of another one, or of one index, which stays as it is.

    Documents, their order, vectors, passages and metadata are those of the source's newest commits. The codec
    is the source's, where it has one for all; else one is trained. Called again after it was interrupted, it
    goes on.

    Parameters
    ----------
    source
        A collection, or an index.
    path
        The folder of the new collection.
    shards
        How many.
    memory
        What training and compressing may use.
    on_progress
        Told how far it is; True shows a bar on stderr.

    Raises
    ------
    InvalidInputError
        If the source is of the tier compact, which keeps no vectors to copy, or has changed since the call
        that was interrupted.
    IndexExistsError
        If the path holds something.
    IndexNotFoundError, ShardMismatchError, DamagedIndexError
        If the source can't be read.
    """
    check_numbers(shards, 0)
    parse_memory(memory)
    with ExitStack() as stack:
        opened, encoder = _open(Path(source).absolute(), stack)
        folder = Path(path).absolute()
        if (finished := prepare(folder)) is not None:
            return finished
        stack.enter_context(WriterLock(folder / BUILDING / "lock", 0))
        settings = opened[0].index.settings
        commits = [(shard.index.settings["uuid"], shard.newest()) for shard in opened]
        plan = settled_plan(
            folder / BUILDING / "plan.json",
            Plan(
                uuid.uuid4().hex,
                shards,
                {**encoder, "": commits},
                int(settings["dim"]),
                str(settings["tier"]),
                bool(settings.get("lexical")),
                tuple(settings.get("fields") or ()),
                settings.get("passages"),
            ),
        )
        plan = Plan(plan.uuid, shards, encoder, *_common(plan))
        total = sum(shard.index.sources.count() for shard in opened)
        show = stack.enter_context(shown(on_progress, total))
        _Copy(folder, plan, opened, show or (lambda _: None), total).run()
        codec = _compress(folder, plan, opened, memory)
        manifest = manifest_of(folder, plan, codec)
        manifest.write(folder)
    shutil.rmtree(folder / BUILDING, ignore_errors=True)
    return manifest


def _common(plan: Plan) -> tuple[Any, ...]:
    return plan.dim, plan.tier, plan.lexical, tuple(plan.fields), plan.passages


def _open(source: Path, stack: ExitStack) -> tuple[list[OpenShard], dict[str, Any]]:
    """The shards of a collection, or one index as one; and what they say of their model."""
    if is_manifest(source):
        manifest = Manifest.read(source)
        folder = source if source.is_dir() else source.parent
        paths = [folder / entry.path for entry in manifest.shards]
    else:
        manifest, folder, paths = None, source, [source]
    opened = []
    for path in paths:
        shard = OpenShard(path)
        stack.callback(shard.close)
        opened.append(shard)
    if manifest is not None:  # a codec of its own is what this is to put right
        check_states(
            folder,
            replace(manifest, codec=None),
            {number: shard.state() for number, shard in enumerate(opened)},
        )
    if opened[0].index.tier is Tier.COMPACT and any(shard.index.codec_facts for shard in opened):
        build = remedy("distributed.build", "lfm2-retrieve index --shards")
        raise InvalidInputError(
            f"{source} is of the tier 'compact', which keeps no vectors to copy: {build} encodes the "
            "documents"
        )
    return opened, dict(opened[0].index.settings.get("encoder") or {})


class _Copy:
    """One call's copying, in the order of the source."""

    def __init__(self, folder: Path, plan: Plan, opened: Sequence[OpenShard], show: Show, total: int) -> None:
        self._folder, self._plan, self._opened = folder, plan, opened
        self._commits = [shard.index.commit for shard in opened]
        self._show, self._total = show, total
        self._begun = time.monotonic()
        self._waiting = [_Waiting() for _ in range(plan.n_shards)]
        self._has: list[int] = []
        for number in range(plan.n_shards):
            with open_shard(folder, plan, number) as index:
                self._has.append(int(index.settings[LEDGER].get("place", 0)))
        self._n_tokens = 0

    def run(self) -> None:
        """Copy all documents that the shards don't have."""
        for place, (page, i) in enumerate(self._documents(), 1):
            number = shard_of(page.documents[i].id, self._plan.n_shards)
            if place > self._has[number]:
                waiting = self._waiting[number]
                waiting.items.append(copied := page.copied(place, i))
                waiting.n_tokens += len(copied.embeddings.embeddings)
                if waiting.n_tokens >= _COMMIT_TOKENS:
                    self._write(number)
            if place % _PAGE == 0 or place == self._total:
                seconds = time.monotonic() - self._begun
                self._show(Progress(place, self._n_tokens, seconds, 0, total=self._total))
        for number, waiting in enumerate(self._waiting):
            if waiting.items:
                self._write(number)

    def _documents(self) -> Iterator[tuple[_Page, int]]:
        """All documents of the source in order, each as a place in a page."""
        streams = [self._stream(number) for number in range(len(self._opened))]
        for _, _, page, i in heapq.merge(*streams, key=lambda one: one[:2]):
            yield page, i

    def _stream(self, number: int) -> Iterator[tuple[int, int, _Page, int]]:
        shard, commit, after = self._opened[number], self._commits[number], 0
        while found := shard.page(commit, after, _PAGE):
            page = _Page(
                shard.at(commit), [document for _, document in found], self._plan.passages is not None
            )
            yield from ((key, number, page, i) for i, (key, _) in enumerate(found))
            after = found[-1][0]

    def _write(self, number: int) -> None:
        """Write what waits for a shard, in one commit with its place."""
        waiting, self._waiting[number] = self._waiting[number], _Waiting()
        with open_shard(self._folder, self._plan, number) as index, index.writer() as writer:
            last = waiting.items[-1].place
            if writer.settings[LEDGER].get("place", 0) < last:
                _put(writer, waiting.items)
                writer.set({LEDGER: {"collection": self._plan.uuid, "parts": 0, "place": last}})
        self._n_tokens += waiting.n_tokens


def _put(writer: Writer, items: Sequence[_Copied]) -> None:
    writer.number({one.document.id: one.place for one in items})
    if items[0].passages is None:
        writer.add(
            [one.document.id for one in items],
            TokenEmbeddings.concatenate(one.embeddings for one in items),
            [one.document.text for one in items],
            [one.document.metadata for one in items],
        )
        return
    for one in items:
        opened = writer.put_document(one.document)
        writer.add_passages(opened, one.passages or [], one.embeddings)


def _compress(folder: Path, plan: Plan, opened: Sequence[OpenShard], memory: str | int) -> str | None:
    """Compress the shards with the source's codec, or with one that is trained; its digest."""
    from ..indexes.sharing import codec_of, digest_of, share_codec, train_shared

    codecs = [codec_of(shard.index) for shard in opened]
    known = {digest_of(codec) for codec in codecs if codec is not None}
    codec = codecs[0] if len(known) == 1 and None not in codecs else None
    made: list[Index] = []
    try:
        made = [open_shard(folder, plan, number) for number in range(plan.n_shards)]
        codec = codec or train_shared(made, memory=memory)
        if codec is None:
            return None
        for index in made:
            share_codec(index, codec)
            index.build(force=True, memory=memory)
            index.merge(retrain=False, memory=memory)
        return digest_of(codec)
    finally:
        for index in made:
            index.close()
