"""Kills of drivers, workers and actors while shards are built and changed: what was acknowledged is there,
once. ``LFM2_RETRIEVAL_KILLS`` says how many kills each makes, by default 100.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lfm2_retrieval import Encoder
from lfm2_retrieval.distributed import MANIFEST, ShardedRetriever, build, building, sources, workers
from lfm2_retrieval.errors import RetrievalError

pytestmark = pytest.mark.campaign

KILLS = int(os.environ.get("LFM2_RETRIEVAL_KILLS", "100"))
SUPPORT = Path(__file__).parents[1] / "unit/distributed"
N = 600

_BUILD = """
import sys
sys.path.insert(0, {support!r})
from distributed_support import documents
from lfm2_retrieval.distributed import build, building, sources
sources.PART_DOCUMENTS, building._APPENDED_TOKENS = 20, 300
print("begun", flush=True)
build(documents({n}), {path!r}, shards=3, model="nano", workers=0)
"""
_CHANGE = """
import sys
from lfm2_retrieval.distributed import ShardedRetriever
with ShardedRetriever.open({path!r}, model="nano") as opened:
    first = {first}
    print("begun", flush=True)
    while True:
        rows = [{{"id": f"n{{first + i}}", "text": f"storm number {{first + i}}"}} for i in range(6)]
        opened.add(rows, on_conflict="replace")
        print("added", first, first + 6, flush=True)
        opened.delete([f"n{{first}}"], missing_ok=True)
        print("deleted", first, flush=True)
        first += 6
"""


@pytest.fixture(scope="module")
def nano():
    return Encoder.load("nano")


@pytest.fixture(scope="module")
def ray():
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


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 20)
    monkeypatch.setattr(building, "_APPENDED_TOKENS", 300)


def rows():
    sys.path.insert(0, str(SUPPORT))
    from distributed_support import documents

    return documents(N)


def begun(code, **values):
    """A process that has loaded what it needs, and goes to work."""
    process = subprocess.Popen(
        [sys.executable, "-c", code.format(**values)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n", process.stderr and process.stderr.read()
    return process


def check_whole(folder, nano):
    """All documents are there, once, in order."""
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()
        assert opened.ids() == [row["id"] for row in rows()]
        assert opened.search("storm in the harbour", N, exact=True)


def test_drivers_killed_while_they_build(nano, tmp_path):
    dice, kills, built = random.Random(1), 0, 0
    folder = tmp_path / "collection"
    while kills < KILLS:
        process = begun(_BUILD, support=str(SUPPORT), n=N, path=str(folder))
        try:
            process.wait(dice.uniform(0.05, 2.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if (folder / MANIFEST).exists() and not (folder / "building").exists():
            check_whole(folder, nano)
            shutil.rmtree(folder)
            built += 1
    build(rows(), folder, shards=3, model="nano", workers=0)
    check_whole(folder, nano)
    print(f"{kills} kills, {built + 1} collections whole")


def test_workers_killed_while_they_build(ray, nano, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_RETRIES", 50)  # so many deaths of one part are this test's doing
    pools, kills = [], 0
    made = workers.RayPool.__init__

    def keep(self, *args, **options):
        made(self, *args, **options)
        pools[:] = [self]

    monkeypatch.setattr(workers.RayPool, "__init__", keep)
    dice, built = random.Random(2), 0
    while kills < KILLS:
        done = threading.Event()

        def killing(done=done):
            nonlocal kills
            while not done.wait(dice.uniform(0.5, 3.0)):
                try:
                    actor = dice.choice(pools[0]._members).actor
                    os.kill(ray.get(actor.process.remote(), timeout=20), signal.SIGKILL)
                    kills += 1
                except (IndexError, ProcessLookupError, ray.exceptions.RayError):
                    continue

        killer = threading.Thread(target=killing)
        killer.start()
        folder = tmp_path / f"collection{built}"
        try:
            build(rows(), folder, shards=3, model="nano", workers=2, num_cpus=0.5)
        finally:
            done.set()
            killer.join()
            pools.clear()
        check_whole(folder, nano)
        shutil.rmtree(folder)
        built += 1
    print(f"{kills} kills, {built} collections whole")


def test_writers_killed_while_they_change(nano, tmp_path):
    folder = tmp_path / "collection"
    build(rows(), folder, shards=3, model=nano, workers=0)
    dice, first = random.Random(3), 0
    expected: dict[str, bool] = {}
    for _ in range(KILLS):
        process = begun(_CHANGE, path=str(folder), first=first)
        time.sleep(dice.uniform(0.02, 1.0))
        process.send_signal(signal.SIGKILL)
        told, _ = process.communicate()
        for line in told.splitlines():
            if line.startswith("added") and line.count(" ") == 2:
                begin, end = map(int, line.split()[1:])
                expected |= {f"n{i}": True for i in range(begin, end)}
                first = end
            elif line.startswith("deleted"):
                expected[f"n{line.split()[1]}"] = False
        for i in range(first, first + 6):  # not acknowledged: may be there or not
            expected.pop(f"n{i}", None)
        unsure = f"n{first - 6}"
        first += 6
        with ShardedRetriever.open(folder, model=nano) as opened:
            ids = opened.ids()
            assert len(set(ids)) == len(ids)
            there = set(ids)
            lost = [id for id, is_there in expected.items() if (id in there) is not is_there and id != unsure]
            assert not lost
            expected[unsure] = unsure in there
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()


def test_actors_killed_while_they_search_and_change(ray, nano, tmp_path):
    folder = tmp_path / "collection"
    build(rows(), folder, shards=2, model=nano, workers=0)
    dice, kills, done, worked = random.Random(4), 0, threading.Event(), threading.Event()
    with ShardedRetriever.open(folder, address="auto", model="nano", replicas=2) as opened:

        def killing():
            nonlocal kills
            while not done.wait(dice.uniform(0.0, 0.5)):
                if not worked.wait(1.0):
                    continue
                worked.clear()
                try:
                    actor = dice.choice(dice.choice(opened.store.shards.replicas).actors)
                    os.kill(ray.get(actor.ping.remote(), timeout=20), signal.SIGKILL)
                    kills += 1
                except (ProcessLookupError, ray.exceptions.RayError):
                    continue

        killer = threading.Thread(target=killing)
        killer.start()
        expected, number, failed = {row["id"] for row in rows()}, 0, 0
        try:
            while kills < KILLS:
                some = [{"id": f"a{number + i}", "text": f"storm number {number + i}"} for i in range(4)]
                number += 4
                names = {row["id"] for row in some}
                try:
                    assert opened.add(some) == 4
                    assert len(opened.search("storm in the harbour")) == 10
                except RetrievalError:
                    failed += 1
                    while True:
                        try:
                            opened.add(some, on_conflict="replace")
                            break
                        except RetrievalError:
                            continue
                expected |= names
                worked.set()
        finally:
            done.set()
            killer.join()
        print(f"{kills} kills, {number} documents added, {failed} calls repeated")
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()
        ids = opened.ids()
        assert len(ids) == len(set(ids))
        assert set(ids) == expected
