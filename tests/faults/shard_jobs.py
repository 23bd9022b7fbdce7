"""What processes do to shards until they are killed; each tells its parent how far it is."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["PRELOADED", "N", "build_shards", "change_shards", "rows", "small_parts"]

N = 600
PRELOADED = ["lfm2_retrieval.distributed.building", "lfm2_retrieval.distributed.stages"]
"""What a fork server imports before it forks."""


def rows():
    """The documents that are built."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit/distributed"))
    from distributed_support import documents

    return documents(N)


def small_parts(set_attribute=setattr):
    """Have a build of few documents take many steps."""
    from lfm2_retrieval.distributed import building, sources

    set_attribute(sources, "PART_DOCUMENTS", 20)
    set_attribute(building, "_APPENDED_TOKENS", 300)


def build_shards(told, path):
    """Build, and tell the phase, how many documents are done, and how many were done before."""
    from lfm2_retrieval import Encoder
    from lfm2_retrieval.distributed import build

    small_parts()
    given, nano = rows(), Encoder.load("nano")
    told.send(("begun", 0, 0))

    def follow(progress):
        told.send((progress.phase, progress.documents, progress.before))

    build(given, path, shards=3, model=nano, workers=0, on_progress=follow)
    told.send(("ended", N, N))


def change_shards(told, path, first):
    """Add documents and delete one of them, again and again, and tell each change before and after."""
    from lfm2_retrieval.distributed import ShardedRetriever

    with ShardedRetriever.open(path, model="nano") as opened:
        _ = opened.encoder
        told.send(("begun", first, ()))
        while True:
            new = [f"n{first + i}" for i in range(6)]
            told.send(("adding", first, new))
            opened.add([{"id": id, "text": f"storm number {id}"} for id in new])
            told.send(("added", first, new))
            told.send(("deleting", first, new[:2]))
            opened.delete(new[:2])
            told.send(("deleted", first, new[:2]))
            first += 6
