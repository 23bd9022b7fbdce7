"""Makes the golden indexes of the current format: ``python tests/golden/make.py``.

Each folder of ``indexes/golden/format-N`` is an index of its tier; ``expected.json`` holds queries, hits and
texts. Once a format is released its files stay as they are, and every later version must read them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes import StoredDocument, Writer
from lfm2_retrieval.indexes.catalogue.schema import FORMAT

GOLDEN = Path(__file__).parents[2] / "indexes" / "golden"
DIM = 6  # no multiple of what a byte of code holds
N_COMPRESSED, N_LOOSE, LENGTH = 72, 5, 58  # about the fewest vectors that are compressed
TIERS = ("compact", "balanced", "accurate", "exact")
K = 8


def documents(count: int, rng: np.random.Generator, unit: bool) -> TokenEmbeddings:
    """Clustered vectors; the third document is empty, the fifth is like the fourth."""
    lengths = np.full(count, LENGTH)
    lengths[2] = 0
    topics = rng.standard_normal((12, DIM))
    parts = []
    for length in lengths:
        vectors = topics[rng.choice(12, 3)][rng.integers(3, size=length)]
        vectors = vectors + 0.5 * rng.standard_normal(vectors.shape)
        if unit:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts.append(vectors.astype(np.float16))
    parts[4] = parts[3]
    return TokenEmbeddings(
        np.concatenate(parts).astype(np.float32), np.concatenate([[0], np.cumsum(lengths)])
    )


def text(number: int) -> str | None:
    """Some have none; some hold what is awkward."""
    return None if number % 7 == 6 else f"text {number} \x00 naïve 猫 \udc80"


def make(folder: Path, tier: str) -> None:
    """An index with a compressed segment and an fp16 one; ``accurate`` has vectors of any length.

    One document was deleted from each segment, and the metadata of one were updated.
    """
    rng = np.random.default_rng(7)
    unit = tier != "accurate"
    sizes = (N_LOOSE, N_LOOSE) if tier == "exact" else (N_COMPRESSED, N_LOOSE)
    with Index.create(folder, DIM, tier=tier, settings={"made_by": "tests/golden/make.py"}) as index:
        first = 0
        for size in sizes:
            numbers = range(first, first + size)
            ids, texts = [f"id-{number}" for number in numbers], [text(number) for number in numbers]
            metadata = [{"number": number or -1} for number in numbers]
            index.add([*ids, "gone"], documents(size + 1, rng, unit), [*texts, None], [*metadata, {}])
            if not first:
                index.build(force=True)
            index.delete("gone")
            first += size
        index.update(["id-0"], metadata=[{"number": 0}])
    (folder / "lock").unlink()


def make_passages(folder: Path) -> None:
    """An index of passages: documents were put, changed, renamed and deleted."""
    rng = np.random.default_rng(9)
    settings = {"tokens": None, "overlap": 0, "headings": True}
    with Index.create(folder, DIM, tier="exact", passages=settings) as index:
        for number in range(3):
            document = whole(number)
            parts = [Part(n + 1, n * 10, n * 10 + 8) for n in range(3)]
            vectors = documents(5, rng, unit=True).select([0, 1, 3])

            def put(
                writer: Writer,
                document: StoredDocument = document,
                parts: list[Part] = parts,
                vectors: TokenEmbeddings = vectors,
            ) -> None:
                writer.add_passages(writer.put_document(document), parts, vectors)

            index.change(put)

        def change(writer: Writer) -> None:
            writer.delete("document-2")
            kept = {"document-0#2": Part(2, 10, 18)}
            opened = writer.put_document(replace(whole(0), metadata={"number": -1}), kept)
            writer.add_passages(opened, [Part(4, 20, 28)], documents(5, rng, unit=True).select([1]))
            names = {"document-1": "renamed"}
            writer.rename_documents(names, lambda held, id: replace(held, id=id))

        index.change(change)
    (folder / "lock").unlink()


@dataclass(frozen=True)
class Part:
    """A passage."""

    number: int
    start: int
    end: int
    headings: tuple[str, ...] = ("Guide", "naïve 猫")
    context: tuple[str, ...] = ("Guide",)
    place: Mapping[str, Any] = field(default_factory=lambda: {"lines": [1, 2]})


def whole(number: int) -> StoredDocument:
    """A whole document."""
    facts = {"source": f"folder/{number}.md", "digest": str(number)}
    body = "".join(f"naïve 猫 {n} \udc80" for n in range(4))
    return StoredDocument(f"document-{number}", body, {"number": number}, facts, {"kind": "text"})


def expect(folder: Path, queries: TokenEmbeddings) -> dict[str, object]:
    """What a search finds, by default and exactly."""
    with Index.open(folder) as index:
        return {
            "documents": len(index),
            "tokens": index.n_tokens,
            "codecs": [part.segment.info.codec for part in index._snapshot().parts],
            "searches": {
                name: [[(hit.id, hit.score, str(hit.score_kind)) for hit in hits] for hits in found]
                for name, found in (
                    ("default", index.search(queries, K)),
                    ("exact", index.search(queries, SearchParams(K, exact=True))),
                )
            },
        }


def main() -> None:
    """Make everything anew."""
    import faiss

    faiss.omp_set_num_threads(1)
    home = GOLDEN / f"format-{FORMAT}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    rng = np.random.default_rng(8)
    queries = TokenEmbeddings(
        np.round(rng.standard_normal((40, DIM)), 4).astype(np.float32), np.array([0, 4, 4, 8, 40])
    )
    expected: dict[str, object] = {
        "format": FORMAT,
        "k": K,
        "queries": [query.astype(float).round(4).tolist() for query in queries],
    }
    for tier in TIERS:
        make(home / tier, tier)
        expected[tier] = expect(home / tier, queries)
        for leftover in ("index.db-wal", "index.db-shm", "build.lock"):
            (home / tier / leftover).unlink(missing_ok=True)
    make_passages(home / "passages")
    expected["passages"] = expect(home / "passages", queries)
    for leftover in ("index.db-wal", "index.db-shm"):
        (home / "passages" / leftover).unlink(missing_ok=True)
    (home / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    print(f"{home}: {size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
