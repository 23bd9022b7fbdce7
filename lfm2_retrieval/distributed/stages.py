"""The steps of a build, each of which any worker can do: encode a part, append parts, train, compress.

A step leaves what it made on disk, whole or not at all, and doing it again does no harm: so a build goes on
wherever workers, nodes or its driver died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datatypes import Document
from ..documents import Passages
from ..encoder import Encoder
from ..errors import DamagedIndexError, DuplicateIdError, IndexExistsError, StoredIndexError
from ..indexes import Index, Writer, is_vacant
from ..platform.threads import using
from ..retriever.encoding import encode_texts
from ..retriever.pieces import part as part_of
from ..retriever.splitting import Splitter, Whole, whole_of
from .parts import Encoded, Part, StoredPart, delete_damaged, part_path, read_part, write_part
from .routing import shard_of

__all__ = ["LEDGER", "PartDone", "Plan", "Worker", "open_shard", "shard_name"]

LEDGER = "build"
"""The setting of a shard that says how many parts of the build it has: in the commit that brought them."""
BUILDING = "building"
"""The folder, in that of the collection, of what a build needs until it is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build is to make; the same throughout, however often it is begun anew.

    Parameters
    ----------
    uuid
        The collection's identity.
    n_shards
        How many shards.
    encoder
        The identity of the model, with how it reads documents.
    dim, tier, lexical, fields, passages
        As of an index.
    kernels
        What computes the model's linears, the same for all workers: see `fix_kernels`. Each would choose for
        itself what is fastest there, and their vectors would differ in the last bits.
    """

    uuid: str
    n_shards: int
    encoder: Mapping[str, Any]
    dim: int
    tier: str
    lexical: bool
    fields: Sequence[str]
    passages: Mapping[str, Any] | None
    kernels: Sequence[tuple[int, int, str, str]] = ()


class PartDone(NamedTuple):
    """What is known of a part that is encoded: its vectors, how many texts were cut, vectors a shard."""

    n_tokens: int
    n_cut: int
    by_shard: list[int]


def shard_name(number: int) -> str:
    """The folder of a shard."""
    return f"shard-{number:05}"


class Worker:
    """Does steps of a build.

    Parameters
    ----------
    folder
        Of the collection.
    plan
        What is built.
    encoder
        The model, reading documents as the plan says.
    threads, memory
        How many threads may work, and what training and compressing may use.
    """

    def __init__(
        self, folder: Path, plan: Plan, encoder: Encoder, threads: int | None = 1, memory: str | int = "2GB"
    ) -> None:
        self._folder = folder
        self._building = folder / BUILDING
        self._plan = plan
        self._encoder = encoder
        self._threads = threads
        self._memory = memory
        self._passages = None if plan.passages is None else Passages(**plan.passages)

    def encode(self, part: Part) -> PartDone:
        """Encode a part, and leave it in the folder of the build."""
        with using(self._threads):
            n = self._plan.n_shards
            path = part_path(self._building, part.number, part.digest)
            shards = [shard_of(document.id, n) for document in part.documents]
            order = sorted(range(len(shards)), key=lambda place: (shards[place], place))
            documents = [self._split(part.documents[place], part.first + place) for place in order]
            texts = [
                text
                for one in documents
                for text in (
                    [one.whole.document.text]
                    if one.passages is None
                    else [passage.encoded for passage in one.passages]
                )
            ]
            embeddings, n_cut = encode_texts(self._encoder, texts)
            numbers = [shards[place] for place in order]
            write_part(path, documents, numbers, embeddings)
            of_texts = np.repeat(
                numbers, [1 if one.passages is None else len(one.passages) for one in documents]
            )
            by_shard = np.bincount(of_texts, weights=embeddings.lengths, minlength=n).astype(int).tolist()
            return PartDone(len(embeddings.embeddings), n_cut, by_shard)

    def _split(self, document: Document, place: int) -> Encoded:
        whole = whole_of_document(document)
        if self._passages is None:
            return Encoded(place, whole, None)
        return Encoded(place, whole, Splitter(self._encoder, self._passages).split(document))

    def append(self, shard: int, first: int, paths: Sequence[str]) -> int:
        """Append neighbouring parts to a shard, in one commit; what it has is left out.

        Parameters
        ----------
        shard
            Its number.
        first, paths
            The number of the first part, and the folder of each.

        Returns
        -------
        int
            How many parts it has now.

        Raises
        ------
        DuplicateIdError
            If an id comes twice in the source.
        """
        with (
            using(self._threads),
            open_shard(self._folder, self._plan, shard) as index,
            index.writer() as writer,
        ):
            there = parts_of(writer.settings)
            if first > there:
                raise StoredIndexError(
                    f"{index.path} has {there} parts, and {first} were to be there: somebody put an old copy "
                    "in its place; delete the collection's folder, and build again"
                )
            for path in paths[there - first :]:
                part = _read(Path(path), shard)
                try:
                    _write(writer, part)
                except DuplicateIdError as error:
                    raise DuplicateIdError(
                        f"a document of the source has an id that an earlier one has: {error}; ids must be "
                        "unique: make them so, and build again (what is done by then is kept)"
                    ) from error
            done = max(there, first + len(paths))
            writer.set({LEDGER: {"collection": self._plan.uuid, "parts": done}})
            return done

    def train(self) -> str | None:
        """Train the common codec on a sample of all shards; its digest, None where they stay exact."""
        from ..indexes.sharing import digest_of, keep_codec, kept_codec, train_shared

        with using(self._threads):
            kept = self._building / "codec"
            if (codec := kept_codec(kept)) is None:
                indexes = [open_shard(self._folder, self._plan, i) for i in range(self._plan.n_shards)]
                try:
                    codec = train_shared(indexes, memory=self._memory)
                finally:
                    for index in indexes:
                        index.close()
                if codec is None:
                    return None
                keep_codec(kept, codec)
            return digest_of(codec)

    def compress(self, shard: int) -> int:
        """Compress a shard with the common codec; how many vectors it has."""
        from ..indexes.sharing import kept_codec, share_codec

        with using(self._threads), open_shard(self._folder, self._plan, shard) as index:
            codec = kept_codec(self._building / "codec")
            if codec is not None:
                share_codec(index, codec)
                index.build(force=True, memory=self._memory)
            index.merge(retrain=False, memory=self._memory)
            return index.n_tokens

    def identity(self) -> tuple[str, str]:
        """The fingerprint of the model that is loaded here, and the folder it writes to."""
        return str(self._encoder.fingerprint), str(self._folder)


def whole_of_document(document: Document) -> Whole:
    """A document with what it knows of its file."""
    from ..records import Draft

    return whole_of(Draft(document.id, document.text, document.metadata, document))


def _read(path: Path, shard: int) -> StoredPart:
    """What a shard has of a part; where one is damaged, all are deleted that are, to be encoded again."""
    try:
        return read_part(path, shard)
    except (DamagedIndexError, FileNotFoundError) as error:
        delete_damaged(path.parent)
        raise StoredIndexError(
            f"{error}; build again, which encodes what is damaged anew and keeps all else"
        ) from error


def _write(writer: Writer, part: StoredPart) -> None:
    """Write what a shard has of a part."""
    documents, embeddings = part
    writer.number({one.whole.id or "": one.place + 1 for one in documents})
    if documents and documents[0].passages is None:
        writer.add(
            [one.whole.id or "" for one in documents],
            embeddings,
            [one.whole.document.text for one in documents],
            [one.whole.document.metadata for one in documents],
        )
        return
    if known := writer.has_documents([one.whole.id or "" for one in documents]):
        raise DuplicateIdError(f"{known[0][:80]!r}")
    first = 0
    for one in documents:
        passages = one.passages or []
        opened = writer.put_document(one.whole.stored(one.whole.id or ""))
        writer.add_passages(opened, passages, part_of(embeddings, first, first + len(passages)))
        first += len(passages)


def parts_of(settings: Mapping[str, Any]) -> int:
    """How many parts of its build a shard has."""
    ledger = settings.get(LEDGER)
    return int(ledger["parts"]) if isinstance(ledger, dict) else 0


def open_shard(folder: Path, plan: Plan, number: int) -> Index:
    """A shard of a build, made if it isn't there.

    Raises
    ------
    IndexExistsError
        If something else lies in its place.
    """
    path = folder / shard_name(number)
    if is_vacant(path):
        settings = {"encoder": dict(plan.encoder), LEDGER: {"collection": plan.uuid, "parts": 0}}
        try:
            return Index.create(
                path,
                plan.dim,
                settings=settings,
                tier=plan.tier,
                lexical=plan.lexical,
                fields=plan.fields,
                passages=plan.passages,
            )
        except IndexExistsError:
            pass  # another worker has made it meanwhile
    index = Index.open(path)
    ledger = index.settings.get(LEDGER)
    if not isinstance(ledger, dict) or ledger.get("collection") != plan.uuid:
        index.close()
        raise IndexExistsError(f"{path} holds another index: choose another folder for the collection")
    return index
