"""Parts of a build: some documents each, encoded, in a folder of their own until all shards have theirs.

A part is a folder ``parts/NUMBER-DIGEST``, written under another name and renamed, so that one that is there
is whole. Its digest is of the documents as they were read: the same source makes the same parts, and what is
there need not be encoded again. Documents lie in it shard by shard, each shard's in the order of the source,
so that a shard reads, and checks, what is its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datatypes import Document, TokenEmbeddings
from ..documents import FileDocument, Passage
from ..errors import DamagedIndexError
from ..hits import Place
from ..retriever.splitting import Whole

__all__ = ["Encoded", "Part", "StoredPart", "digest_of", "part_path", "read_part", "write_part"]


@dataclass(frozen=True, slots=True)
class Part:
    """Some neighbouring documents of a source.

    Parameters
    ----------
    number
        Which part of the source.
    first
        The place of its first document in the source, from 0 on.
    documents
        Each with an id.
    digest
        From `digest_of`.
    """

    number: int
    first: int
    documents: Sequence[Document]
    digest: str


class Encoded(NamedTuple):
    """A document of a part, encoded: its place in the source, and its passages where it is split."""

    place: int
    whole: Whole
    passages: list[Passage] | None


class StoredPart(NamedTuple):
    """What one shard has of a part: documents in order, and a text each, or each passage, of vectors."""

    documents: list[Encoded]
    embeddings: TokenEmbeddings


def digest_of(documents: Sequence[Document]) -> str:
    """What is the same for the same documents in the same order: hexadecimal, 128 bits."""
    digest = hashlib.blake2b(digest_size=16)
    for one in documents:
        values: list[Any] = [one.id, one.text, dict(one.metadata)]
        if isinstance(one, FileDocument):
            values += [one.source, one.format, one.structure.to_dict(), dict(one.facts)]
        digest.update(json.dumps(values, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def part_path(folder: Path, number: int, digest: str) -> Path:
    """Where a part lies, or will."""
    return folder / "parts" / f"{number:08}-{digest}"


def write_part(
    path: Path, documents: Sequence[Encoded], shards: Sequence[int], embeddings: TokenEmbeddings
) -> None:
    """Write a part; nothing happens if it is there by now.

    Parameters
    ----------
    path
        From `part_path`.
    documents, shards
        The documents in the order of their shards, and the shard of each.
    embeddings
        A text each, or each passage; float16, with token ids.
    """
    making = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    making.mkdir(parents=True)
    try:
        vectors = np.ascontiguousarray(embeddings.embeddings, np.float16)
        token_ids, offsets = embeddings.token_ids, embeddings.offsets
        np.save(making / "vectors.npy", vectors, allow_pickle=False)
        np.save(making / "offsets.npy", offsets, allow_pickle=False)
        if token_ids is not None:
            np.save(making / "token_ids.npy", token_ids, allow_pickle=False)
        shares: dict[int, dict[str, Any]] = {}
        text = 0
        with (making / "documents.jsonl").open("wb") as out:
            for shard, group in groupby(zip(shards, documents, strict=True), key=itemgetter(0)):
                own = [one for _, one in group]
                last = text + sum(1 if one.passages is None else len(one.passages) for one in own)
                rows = b"".join(json.dumps(_to_json(one)).encode() + b"\n" for one in own)
                tokens = slice(int(offsets[text]), int(offsets[last]))
                shares[shard] = {
                    "rows": [out.tell(), len(rows), zlib.crc32(rows)],
                    "texts": [text, last],
                    "vectors": _crc32(vectors[tokens]),
                    "token_ids": None if token_ids is None else _crc32(token_ids[tokens]),
                }
                out.write(rows)
                text = last
        body = json.dumps({"offsets": _crc32(offsets), "shards": shares}).encode()
        (making / "part.json").write_bytes(body + b"\n%08x\n" % zlib.crc32(body))
        for one in (*making.iterdir(), making):
            _sync(one)
        try:
            making.rename(path)
        except OSError:
            if not path.exists():
                raise
        _sync(path.parent)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file, or a folder, outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_damaged(folder: Path) -> None:
    """Delete all parts that aren't what was written."""
    for path in folder.glob("[!.]*"):
        try:
            for shard in json.loads((path / "part.json").read_bytes().splitlines()[0])["shards"]:
                read_part(path, int(shard))
        except (DamagedIndexError, OSError, ValueError, LookupError):
            shutil.rmtree(path, ignore_errors=True)


def read_part(path: Path, shard: int) -> StoredPart:
    """What a shard has of a part.

    Raises
    ------
    DamagedIndexError
        If a file of it isn't what was written.
    """
    try:
        body, _, crc32 = (path / "part.json").read_bytes().rstrip(b"\n").rpartition(b"\n")
        _check("part.json", zlib.crc32(body), int(crc32, 16))
        head = json.loads(body)
        vectors = np.load(path / "vectors.npy", mmap_mode="r", allow_pickle=False)
        share = head["shards"].get(str(shard))
        if share is None:
            nothing = TokenEmbeddings(np.empty((0, vectors.shape[1]), np.float16), np.zeros(1, np.int64))
            return StoredPart([], nothing)
        offsets = np.load(path / "offsets.npy", allow_pickle=False)
        _check("offsets.npy", _crc32(offsets), head["offsets"])
        start, length, crc32 = share["rows"]
        with (path / "documents.jsonl").open("rb") as file:
            file.seek(start)
            rows = file.read(length)
        _check("documents.jsonl", zlib.crc32(rows), crc32)
        first, last = share["texts"]
        tokens = slice(int(offsets[first]), int(offsets[last]))
        own = np.array(vectors[tokens])
        _check("vectors.npy", _crc32(own), share["vectors"])
        ids = None
        if share["token_ids"] is not None:
            ids = np.array(np.load(path / "token_ids.npy", mmap_mode="r", allow_pickle=False)[tokens])
            _check("token_ids.npy", _crc32(ids), share["token_ids"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DamagedIndexError(f"{path} is damaged ({error})") from error
    embeddings = TokenEmbeddings(own, offsets[first : last + 1] - tokens.start, ids)
    return StoredPart([_from_json(json.loads(row)) for row in rows.splitlines()], embeddings)


def _crc32(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _check(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(name)


def _to_json(one: Encoded) -> dict[str, Any]:
    document = one.whole.document
    return {
        "place": one.place,
        "id": one.whole.id,
        "text": document.text,
        "metadata": dict(document.metadata),
        "facts": dict(one.whole.facts),
        "structure": dict(one.whole.structure),
        "passages": None
        if one.passages is None
        else [
            [p.number, p.start, p.end, list(p.headings), list(p.context), p.place.to_dict()]
            for p in one.passages
        ],
    }


def _from_json(row: dict[str, Any]) -> Encoded:
    id, text = row["id"], row["text"]
    whole = Whole(id, Document(id, text, row["metadata"]), row["facts"], row["structure"])
    passages = row["passages"]
    if passages is None:
        return Encoded(row["place"], whole, None)
    return Encoded(
        row["place"],
        whole,
        [
            Passage(
                id,
                number,
                start,
                end,
                text[start:end],
                tuple(headings),
                tuple(context),
                Place.from_dict(place),
            )
            for number, start, end, headings, context, place in passages
        ],
    )
