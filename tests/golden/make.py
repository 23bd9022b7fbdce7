"""Makes the golden indexes of the current format: ``python tests/golden/make.py``.

Each folder of ``indexes/golden/format-N`` is an index of its tier; ``expected.json`` holds queries, hits and
texts. Once a format is released its files stay as they are, and every later version must read them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
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
    (home / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    print(f"{home}: {size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
