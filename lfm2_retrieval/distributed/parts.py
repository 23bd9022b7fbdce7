"""Parts of a build: some documents each, encoded, in a folder of their own until all shards have theirs.

A part is a folder ``parts/NUMBER-DIGEST``, written under another name and renamed, so that one that is there
is whole. Its digest is of the documents as they were read: the same source makes the same parts, and what is
there need not be encoded again. Documents lie in it shard by shard, each shard's in the order of the source.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
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

_ARRAYS = ("vectors", "offsets", "token_ids")


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
        token_ids = embeddings.token_ids
        arrays: dict[str, NDArray[Any]] = {
            "vectors": np.ascontiguousarray(embeddings.embeddings, np.float16),
            "offsets": embeddings.offsets,
            "token_ids": np.empty(0, np.int32) if token_ids is None else token_ids,
        }
        for name, array in arrays.items():
            np.save(making / f"{name}.npy", array, allow_pickle=False)
        rows = [_to_json(one, shard) for one, shard in zip(documents, shards, strict=True)]
        head = {name: _crc32(array) for name, array in arrays.items()}
        body = "\n".join(json.dumps(row) for row in (head, *rows)).encode()
        (making / "documents.jsonl").write_bytes(body + b"\n%08x\n" % zlib.crc32(body))
        try:
            making.rename(path)
        except OSError:
            if not path.exists():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def read_part(path: Path, shard: int) -> StoredPart:
    """What a shard has of a part.

    Raises
    ------
    DamagedIndexError
        If a file of it isn't what was written.
    """
    try:
        body, _, crc32 = (path / "documents.jsonl").read_bytes().rstrip(b"\n").rpartition(b"\n")
        if int(crc32, 16) != zlib.crc32(body):
            raise ValueError("documents.jsonl")
        head, *rows = (json.loads(line) for line in body.split(b"\n"))
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
        for name, array in arrays.items():
            if _crc32(array) != head[name]:
                raise ValueError(name)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DamagedIndexError(f"{path} is damaged ({error})") from error
    return _of_shard(rows, arrays, shard)


def _crc32(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _of_shard(rows: Sequence[dict[str, Any]], arrays: dict[str, Any], shard: int) -> StoredPart:
    first = 0
    documents: list[Encoded] = []
    texts: list[int] = []
    for row in rows:
        n_texts = 1 if row["passages"] is None else len(row["passages"])
        if row["shard"] == shard:
            documents.append(_from_json(row))
            texts += range(first, first + n_texts)
        first += n_texts
    offsets = np.array(arrays["offsets"])
    if not texts:
        return StoredPart(
            [], TokenEmbeddings(np.empty((0, arrays["vectors"].shape[1]), np.float16), np.zeros(1, np.int64))
        )
    start, end = int(offsets[texts[0]]), int(offsets[texts[-1] + 1])  # they lie together
    ids = arrays["token_ids"]
    embeddings = TokenEmbeddings(
        np.array(arrays["vectors"][start:end]),
        offsets[texts[0] : texts[-1] + 2] - start,
        np.array(ids[start:end]) if len(ids) else None,
    )
    return StoredPart(documents, embeddings)


def _to_json(one: Encoded, shard: int) -> dict[str, Any]:
    document = one.whole.document
    return {
        "shard": shard,
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
