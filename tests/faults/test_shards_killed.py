"""Kills of drivers, workers and actors while shards are built and changed: what was acknowledged is there,
once. ``LFM2_RETRIEVAL_KILLS`` says how many kills each makes, by default 100.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter

import pytest
from report import report
from shard_jobs import PRELOADED, N, build_shards, change_shards, rows, small_parts

from lfm2_retrieval import Encoder
from lfm2_retrieval.distributed import MANIFEST, ShardedRetriever, build, workers
from lfm2_retrieval.errors import RetrievalError

pytestmark = pytest.mark.campaign

KILLS = int(os.environ.get("LFM2_RETRIEVAL_KILLS", "100"))


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


@pytest.fixture(scope="module")
def forks():
    """Processes forked from one that has everything imported, which takes seconds each otherwise."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    small_parts(monkeypatch.setattr)


def killed(forks, job, *args, after, seconds):
    """Run a job, and kill it so long after it has told so much; whether it was, and what it told."""
    ours, its = forks.Pipe(duplex=False)
    process = forks.Process(target=job, args=(its, *args))
    process.start()
    its.close()
    told = [ours.recv()]
    try:
        while len(told) <= after:
            told.append(ours.recv())
        process.join(seconds)
        process.kill()
        while True:
            told.append(ours.recv())
    except EOFError:
        ours.close()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), told
    return process.exitcode != 0, told


def check_whole(folder, nano):
    """All documents are there, once, in order."""
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()
        assert opened.ids() == [row["id"] for row in rows()]
        assert len(opened.search("storm in the harbour", N, exact=True)) == N


def test_drivers_killed_while_they_build(forks, nano, tmp_path):
    dice, phases, built, known = random.Random(1), Counter(), 0, 0
    folder = tmp_path / "collection"
    while phases.total() < KILLS:
        after, seconds = dice.randrange(40), dice.uniform(0.0, 0.1)
        was_killed, told = killed(forks, build_shards, str(folder), after=after, seconds=seconds)
        phase, documents, before = told[-1]
        if phase in ("train", "encode", "ended"):
            assert before >= known  # what was encoded by others before, isn't encoded again
        known = max(known, documents)
        if was_killed:
            phases[{"begun": "starting", "index": "encoding and appending"}.get(phase, phase)] += 1
        if (folder / MANIFEST).exists() and not (folder / "building").exists():
            check_whole(folder, nano)
            shutil.rmtree(folder)
            built, known = built + 1, 0
    build(rows(), folder, shards=3, model="nano", workers=0)
    check_whole(folder, nano)
    report("shards-drivers", {"killed": phases.total(), "by phase": phases, "whole": built + 1})


def test_workers_killed_while_they_build(ray, nano, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_RETRIES", 10_000)  # so many deaths of one part are this test's doing
    pools, steps = [], Counter()
    made = workers.RayPool.__init__

    def keep(self, *args, **options):
        made(self, *args, **options)
        pools[:] = [self]

    monkeypatch.setattr(workers.RayPool, "__init__", keep)
    dice, built = random.Random(2), 0
    while steps.total() < KILLS:
        done = threading.Event()

        def killing(done=done):
            while not done.wait(dice.uniform(0.0, 0.3)):
                busy = [one for pool in pools for one in pool._members if one.step and one.process]
                if not busy or steps.total() >= KILLS:
                    continue
                member = dice.choice(busy)
                step, process, member.process = member.step, member.process, None
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                if step is not None:
                    steps[step.method] += 1

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
    report("shards-workers", {"killed": steps.total(), "by step": steps, "whole": built})


def test_writers_killed_while_they_change(forks, nano, tmp_path):
    folder = tmp_path / "collection"
    build(rows(), folder, shards=3, model=nano, workers=0)
    dice, first, calls = random.Random(3), 0, Counter()
    there, acknowledged = {row["id"] for row in rows()}, 0
    while calls.total() < KILLS:
        after, seconds = dice.randrange(13), dice.uniform(0.0, 0.1)
        was_killed, told = killed(forks, change_shards, str(folder), first, after=after, seconds=seconds)
        assert was_killed
        unsure = set()
        for what, number, ids in told:
            first = number + 6
            if what in ("adding", "deleting"):
                unsure = set(ids)
            elif what == "added":
                there |= set(ids)
            elif what == "deleted":
                there -= set(ids)
            if what in ("added", "deleted"):
                unsure, acknowledged = set(), acknowledged + 1
        calls[{"adding": "add", "deleting": "delete"}.get(told[-1][0], "between calls")] += 1
        with ShardedRetriever.open(folder, model=nano) as opened:
            ids = opened.ids()
            assert len(set(ids)) == len(ids)
            assert set(ids) - unsure == there - unsure
            there = set(ids)
            assert len(opened.search("storm number", 50)) == 50
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()
    report("shards-writers", {"killed": calls.total(), "by call": calls, "acknowledged": acknowledged})


def test_actors_killed_while_they_search_and_change(ray, nano, tmp_path):
    folder = tmp_path / "collection"
    build(rows(), folder, shards=2, model=nano, workers=0)
    dice, done, worked = random.Random(4), threading.Event(), threading.Event()
    calls, at = Counter(), ["between calls"]
    expected, number, failed = {row["id"] for row in rows()}, 0, 0
    with ShardedRetriever.open(folder, address="auto", model="nano", replicas=2) as opened:

        def killing():
            while not done.wait(dice.uniform(0.0, 0.6)):
                if not worked.wait(1.0) or calls.total() >= KILLS:
                    continue  # a call is to succeed between two kills
                worked.clear()
                actor = dice.choice(dice.choice(opened.store.shards.replicas).actors)
                try:
                    process = ray.get(actor.ping.remote(), timeout=20)
                    call = at[0]
                    os.kill(process, signal.SIGKILL)
                    calls[call] += 1
                except (ProcessLookupError, ray.exceptions.RayError):
                    continue

        killer = threading.Thread(target=killing)
        killer.start()
        try:
            while calls.total() < KILLS:
                some = [{"id": f"a{number + i}", "text": f"storm number {number + i}"} for i in range(4)]
                number += 4
                at[0] = "add"
                try:
                    assert opened.add(some) == 4
                except RetrievalError:  # it may be done in some shards: the same call again does the rest
                    failed += 1
                    repeat(lambda some=some: opened.add(some, on_conflict="replace"))
                expected |= {row["id"] for row in some}
                at[0] = "search"
                try:
                    assert len(opened.search("storm in the harbour")) == 10
                except RetrievalError:
                    failed += 1
                at[0] = "between calls"
                worked.set()
        finally:
            done.set()
            killer.join()
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.verify()
        ids = opened.ids()
        assert len(ids) == len(set(ids))
        assert set(ids) == expected
    figures = {"killed": calls.total(), "by call": calls, "acknowledged": number, "calls repeated": failed}
    report("shards-actors", figures)


def repeat(call):
    """Call until it succeeds."""
    while True:
        try:
            return call()
        except RetrievalError:
            time.sleep(0.1)
