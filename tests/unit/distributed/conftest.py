from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed_support import SHARDS, documents

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.distributed import ShardedRetriever, build


@pytest.fixture(scope="session")
def nano() -> Encoder:
    return Encoder.load("nano")


@pytest.fixture(scope="session")
def whole(nano: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    """All documents in one index."""
    path = tmp_path_factory.mktemp("whole") / "index"
    with Retriever.index(documents(), path, model=nano, tier="exact", fields=["lang"]) as made:
        yield made


@pytest.fixture(scope="session")
def collections(nano: Encoder, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same in shards, by their number; not to be changed."""
    made = {}
    for n in SHARDS:
        made[n] = tmp_path_factory.mktemp("sharded") / "collection"
        build(documents(), made[n], shards=n, model=nano, workers=0, tier="exact", fields=["lang"])
    return made


@pytest.fixture
def sharded(nano: Encoder, collections: dict[int, Path]) -> Iterator[ShardedRetriever]:
    with ShardedRetriever.open(collections[4], model=nano) as opened:
        yield opened
