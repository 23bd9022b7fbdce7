"""Building and searching on a Ray cluster: the same as in one process, whatever dies meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from distributed_support import documents

from lfm2_retrieval.distributed import (
    ShardedRetriever,
    actors,
    asking,
    build,
    building,
    cluster,
    sources,
    workers,
)
from lfm2_retrieval.errors import (
    ClusterError,
    DuplicateIdError,
    IndexNotFoundError,
    InvalidInputError,
    MissingExtraError,
)

QUERY = "storm at the harbour"


def seen(hits):
    return [(hit.id, hit.score, hit.text, hit.metadata) for hit in hits]


@pytest.fixture(scope="module")
def ray():
    """A local cluster with two processors."""
    module = pytest.importorskip("ray", reason="the extra ray is not installed")
    module.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield module
    module.shutdown()


@pytest.fixture(scope="module")
def served(ray, nano, collections, tmp_path_factory):
    """A copy in two shards, searched by actors, one of them twice."""
    folder = tmp_path_factory.mktemp("served") / "collection"
    shutil.copytree(collections[2], folder)
    with ShardedRetriever.open(folder, address="auto", model=nano, hedge_after=5.0) as opened:
        yield opened


def kill(ray, opened, number):
    """End the process of a shard as a crash would."""
    actor = opened.store.shards.replicas[number].actors[0]
    os.kill(ray.get(actor.ping.remote()), signal.SIGKILL)


def test_actors_find_what_one_index_does(whole, served):
    for options in (
        {},
        {"mode": "hybrid"},
        {"mode": "lexical", "where": "lang = 'de'"},
        {"group_by": "year"},
    ):
        assert seen(served.search(QUERY, **options)) == seen(whole.search(QUERY, **options))
    assert list(served.documents()) == list(whole.documents())
    [hit] = served.search(QUERY, 1, explain=True)
    assert hit.matches


def test_dead_actors_are_replaced_and_searches_and_changes_go_on(ray, served):
    before = served.search(QUERY)
    kill(ray, served, 0)
    assert seen(served.search(QUERY)) == seen(before)
    ray.kill(served.store.shards.replicas[1].actors[0])  # for good: Ray doesn't start it again
    assert seen(served.search(QUERY)) == seen(before)
    rows = [{"id": f"late{i}", "text": "a storm at the harbour"} for i in range(8)]
    assert served.add(rows) == 8
    kill(ray, served, 1)
    with pytest.raises(DuplicateIdError):
        served.add(rows)
    assert served.delete([row["id"] for row in rows]) == 8
    assert seen(served.search(QUERY)) == seen(before)


def test_a_change_whose_actor_dies_is_made_once(ray, served, monkeypatch):
    ask, killed = actors.RayShards.ask, []

    def dying(self, method, args, lost=None):
        if method == "add" and not killed:
            killed.append(next(iter(args)))
            kill(ray, served, killed[0])
        return ask(self, method, args, lost)

    monkeypatch.setattr(actors.RayShards, "ask", dying)
    assert served.add([{"id": f"once{i}", "text": "a storm"} for i in range(8)]) == 8
    assert killed
    assert served.count({"id": {"$in": [f"once{i}" for i in range(8)]}}) == 8
    assert asking.again("add", ([], {}, ["5"], "error", 30.0)) == ([], {}, (), "replace", 30.0)
    assert served.delete([f"once{i}" for i in range(8)]) == 8


def test_a_missing_shard_is_named_or_left_out(ray, nano, collections, tmp_path):
    shutil.copytree(collections[2], tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "shard-00001")
    with pytest.raises(IndexNotFoundError, match=r"shard 1 is missing.*shard-00001"):
        ShardedRetriever.open(tmp_path / "c", address="auto", model=nano)
    with ShardedRetriever.open(tmp_path / "c", address="auto", model=nano, allow_partial=True) as opened:
        assert opened.search(QUERY).missing_shards == ("shard-00001",)


def test_replicas_share_the_work_and_stand_in_for_each_other(ray, nano, collections):
    with ShardedRetriever.open(
        collections[2], address="auto", model=nano, replicas=2, hedge_after=0.0001
    ) as opened:
        before = seen(opened.search(QUERY))
        ray.kill(opened.store.shards.replicas[0].actors[1], no_restart=True)
        for _ in range(4):
            assert seen(opened.search(QUERY)) == before
        kill(ray, opened, 1)
        assert seen(opened.search(QUERY)) == before


def test_a_build_by_workers_that_die_equals_one_in_this_process(ray, nano, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 40)
    monkeypatch.setattr(building, "_APPENDED_TOKENS", 500)
    from test_building import contents

    rows = documents()
    build(rows, tmp_path / "here", shards=2, model=nano, workers=0, tier="exact")
    pools = []
    made = workers.RayPool.__init__
    monkeypatch.setattr(
        workers.RayPool,
        "__init__",
        lambda self, *args, **kw: (pools.append(self), made(self, *args, **kw))[1],
    )
    killed = []

    def kill_once(progress):
        if progress.documents >= 80 and not killed:
            killed.append(next(one.process for one in pools[0]._members if one.process))
            os.kill(killed[0], signal.SIGKILL)

    build(
        rows,
        tmp_path / "there",
        shards=2,
        model=nano,
        workers=2,
        tier="exact",
        num_cpus=0.5,
        on_progress=kill_once,
    )
    assert killed
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    with pytest.raises(ClusterError, match="room for 2 workers"):
        build(rows, tmp_path / "more", shards=2, model=nano, workers=99)
    dataset = pytest.importorskip("ray.data").from_items(rows[:90])
    build(dataset, tmp_path / "dataset", shards=2, model=nano, workers=0)
    with ShardedRetriever.open(tmp_path / "dataset", model=nano) as opened:
        assert opened.count() == 90


def test_a_driver_that_is_killed_loses_no_finished_part(ray, nano, tmp_path, monkeypatch):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from distributed_support import documents
from lfm2_retrieval.distributed import build, building, sources
sources.PART_DOCUMENTS, building._APPENDED_TOKENS = 40, 500
def stop(progress):
    if progress.documents >= 160:
        os.kill(os.getpid(), signal.SIGKILL)
how = dict(shards=2, model="nano", workers=0, tier="exact")
build(documents(), {str(tmp_path / "new")!r}, **how, on_progress=stop)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 40)
    monkeypatch.setattr(building, "_APPENDED_TOKENS", 500)
    shown = []
    build(
        documents(),
        tmp_path / "new",
        shards=2,
        model=nano,
        workers=2,
        tier="exact",
        on_progress=shown.append,
        num_cpus=0.5,
    )
    assert shown[-1].before >= 120
    with ShardedRetriever.open(tmp_path / "new", model=nano) as opened:
        assert opened.ids() == [row["id"] for row in documents()]


def test_an_address_that_does_not_answer_is_told_at_once(monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=rf"no Ray cluster answers at 127.0.0.1:{port}.*ray start --head"):
        cluster.connect(f"127.0.0.1:{port}")
    with pytest.raises(ClusterError, match="no address of a Ray cluster"):
        cluster.connect("somewhere")


def test_a_cluster_that_asks_for_a_token_is_told_from_one_that_is_gone():
    refused = ConnectionError("Failed to connect")
    refused.__cause__ = RuntimeError("Unauthenticated: InvalidAuthToken")
    assert "auth_token" in str(cluster._refused("host:6379", refused))
    assert "can't be used: Failed" in str(
        cluster._refused("host:6379", ConnectionError("Failed\nlong story"))
    )


def test_without_ray_the_extra_is_named_before_any_work(monkeypatch, collections, tmp_path):
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[ray\]"):
        build([{"id": "a", "text": "x"}], tmp_path / "new", shards=2, model="nowhere")
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[ray\]"):
        ShardedRetriever.open(collections[2], address="local")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("asks", "mode", "here", "then"),
    [
        (True, None, True, "token"),
        (True, "token", False, "token"),
        (False, None, True, "disabled"),
        (None, None, True, None),
    ],
)
def test_a_token_is_shown_where_it_is_asked_for(monkeypatch, asks, mode, here, then, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", mode or "")
    if mode is None:
        monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setattr(cluster, "_asks_for_token", lambda address: asks)
    monkeypatch.setattr(cluster, "_reread_environment", lambda: None)
    cluster._agree_on_token("127.0.0.1:6379" if here else "192.0.2.77:6379")
    assert os.environ.get("RAY_AUTH_MODE") == then


def test_a_token_is_not_shown_to_any_address(monkeypatch, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster, "_reread_environment", lambda: None)
    monkeypatch.setattr(cluster, "_asks_for_token", lambda address: True)
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE=token"):
        cluster._agree_on_token("203.0.113.9:6379")
    monkeypatch.setattr(cluster, "_asks_for_token", lambda address: False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ClusterError, match=r"knows no token.*unset"):
        cluster._agree_on_token("203.0.113.9:6379")


def test_a_part_that_kills_every_worker_is_named_and_the_build_goes_on_without_it(
    ray, nano, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 40)
    monkeypatch.setattr(workers, "_RETRIES", 1)
    rows = documents(120)
    fatal = rows[50]["text"]

    def loader(encoder, device):
        load = encoder.loader

        def load_to_die():  # in the worker's process
            import os
            import signal

            from lfm2_retrieval.distributed import stages

            encode = stages.encode_texts

            def encode_or_die(encoder, texts):
                if fatal in texts:
                    os.kill(os.getpid(), signal.SIGKILL)
                return encode(encoder, texts)

            stages.encode_texts = encode_or_die
            return load()

        return load_to_die

    how = {"shards": 2, "model": nano, "tier": "exact", "num_cpus": 0.5}
    with monkeypatch.context() as dying:
        dying.setattr(building, "_loader", loader)
        with pytest.raises(ClusterError, match=r"encoding part 1 .*'d40' to 'd79'.* ended 2 workers"):
            build(rows, tmp_path / "new", workers=2, **how)
    shown = []
    build(rows, tmp_path / "new", workers=0, **{**how, "on_progress": shown.append})
    with ShardedRetriever.open(tmp_path / "new", model=nano) as opened:
        assert opened.ids() == [row["id"] for row in rows]


def test_nodes_without_the_package_or_the_folder_are_named(ray, tmp_path, monkeypatch):
    (tmp_path / "there").touch()
    cluster.probe(ray, tmp_path, "there")
    with pytest.raises(ClusterError, match=r"doesn't see .*all nodes share"):
        cluster.probe(ray, tmp_path, "nowhere")
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(ClusterError, match=r"and this is 9\.9: install the same"):
        cluster.probe(ray, tmp_path, "there")


def test_threads_may_share_it(served):
    found, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: found.append(seen(served.search(QUERY)))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    with pytest.raises(InvalidInputError):
        served.search(QUERY, 0)
