"""Several nodes of Ray, as processes of this machine: what is where, and what happens when one dies."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from distributed_support import documents

from lfm2_retrieval.distributed import ShardedRetriever, build, building, cluster, sources, workers
from lfm2_retrieval.errors import ClusterError

pytest.importorskip("ray", reason="the extra ray is not installed")

QUERY = "storm at the harbour"
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


def seen(hits):
    return [(hit.id, hit.score, hit.text, hit.metadata) for hit in hits]


def begin():
    import ray
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    return Cluster(initialize_head=True, head_node_args=NODE)


@pytest.fixture(scope="module")
def nodes():
    """A cluster whose head has one processor."""
    import ray

    made = begin()
    yield made
    ray.shutdown()
    made.shutdown()


def kill(node):
    """End a node as a crash would; what runs on it ends a little later."""
    os.kill(raylet(node), signal.SIGKILL)


def raylet(node):
    return node.all_processes["raylet"][0].process.pid


def nodes_of(opened):
    """By shard, the process of the node that each replica runs on."""
    import ray

    of = [ray.get([actor.ping.remote() for actor in one.actors]) for one in opened.store.shards.replicas]
    return [
        [int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in one]
        for one in of
    ]


def test_replicas_lie_on_different_nodes_and_stand_in_for_those_of_a_dead_one(
    nodes, nano, collections, tmp_path
):
    shutil.copytree(collections[2], tmp_path / "c")
    second = nodes.add_node(**NODE)
    with (
        ShardedRetriever.open(
            tmp_path / "c", address=nodes.address, model=nano, replicas=2, hedge_after=0.2
        ) as opened,
        ShardedRetriever.open(
            tmp_path / "c", address=nodes.address, model=nano, allow_partial=True
        ) as partial,
    ):
        assert [len(set(one)) for one in nodes_of(opened)] == [2, 2]
        gone = {
            f"shard-{number:05}" for number, [node] in enumerate(nodes_of(partial)) if node == raylet(second)
        }
        assert len(gone) == 1
        before = seen(opened.search(QUERY))
        assert seen(partial.search(QUERY)) == before
        kill(second)
        for _ in range(6):
            assert seen(opened.search(QUERY)) == before
        assert opened.add([{"id": f"late{i}", "text": "a storm at the harbour"} for i in range(4)]) == 4
        assert opened.count({"id": {"$in": [f"late{i}" for i in range(4)]}}) == 4
        assert opened.delete([f"late{i}" for i in range(4)]) == 4
        end = time.monotonic() + 120
        while (hits := partial.search(QUERY)).missing_shards:  # until its actor runs on the other node
            assert set(hits.missing_shards) == gone
            assert time.monotonic() < end
        assert seen(hits) == before
    nodes.remove_node(second)


def test_a_build_goes_on_with_the_nodes_that_are_left(nodes, nano, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 40)
    monkeypatch.setattr(building, "_APPENDED_TOKENS", 500)
    from test_building import contents

    second = nodes.add_node(**NODE)
    killed = []

    def kill_once(progress):
        if progress.documents >= 40 and not killed:
            killed.append(progress.documents)
            kill(second)

    how = {"shards": 2, "model": nano, "tier": "exact"}
    build(documents(), tmp_path / "here", workers=0, **how)
    build(documents(), tmp_path / "there", workers=2, address=nodes.address, on_progress=kill_once, **how)
    assert killed
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    nodes.remove_node(second)


def test_workers_must_fit_on_nodes_not_on_the_sum_of_them():
    three = [{"Resources": {"CPU": 3.0, "GPU": 1.0}}, {"Resources": {"CPU": 1.0}}, {"Resources": {}}]
    assert workers._room(three, 1, 0) == 4
    assert workers._room(three, 2, 0) == 1
    assert workers._room(three, 0.5, 0.5) == 2
    assert workers._room(three, 0, 0) == 3


def search_on(opened):
    while True:
        opened.search(QUERY)


@pytest.mark.campaign
def test_a_cluster_whose_head_dies_is_told_and_another_one_taken_up(nano, collections, tmp_path):
    shutil.copytree(collections[2], tmp_path / "c")
    first = begin()
    opened = ShardedRetriever.open(tmp_path / "c", address=first.address, model=nano)
    before = seen(opened.search(QUERY))
    for name in ("gcs_server", "raylet"):
        os.kill(first.head_node.all_processes[name][0].process.pid, signal.SIGKILL)
    with pytest.raises(ClusterError, match=r"head of the Ray cluster .* doesn't answer.*ray start --head"):
        search_on(opened)
    opened.close()
    second = begin()
    with ShardedRetriever.open(tmp_path / "c", address=second.address, model=nano) as again:
        assert seen(again.search(QUERY)) == before
    import ray

    ray.shutdown()
    second.shutdown()
    assert not cluster.has_head(ray)
