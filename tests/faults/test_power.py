"""Power loss: of all that a job did, only what it synced is sure to be there. SIGKILL doesn't show that."""

import json
import random
import shutil
from pathlib import Path

import pytest
from disk import MARK, Disk, read_record
from life import Life
from model import check, columns
from report import EVERY, report

from lfm2_retrieval.indexes import Index

JOBS = ["add", "stream", "replace", "delete", "update", "transaction", "build", "merge"]


def states_of(diary, before):
    """The states in order; number ``n`` is what the ``n``th acknowledged commit led to."""
    entries = [json.loads(line) for line in Path(diary).read_text().splitlines()]
    return [before, *(entry["begin"] for entry in entries if "begin" in entry)]


def lose_power(zygote, folder, job, chosen, seed=0):
    """Run a job, and lose power after each operation that ``chosen`` names; how many states were opened."""
    life = Life(zygote, folder)
    life.begin()
    disk, before = Disk(life.folder), life.state
    record = folder / "record"
    request = {"job": job, "folder": str(life.folder), "diary": life.diary, "record": str(record)}
    assert zygote.run({**request, "arguments": {"state": before, "seed": 3}}) == [0]
    states = states_of(life.diary, before)
    rng = random.Random(seed)
    opened = 0
    for number, operation in enumerate(read_record(record)):
        disk.do(*operation)
        if operation[0] == MARK or not chosen(number):
            continue
        for fate in (None, rng):
            left = folder / "left"
            disk.save(left, fate)
            possible = states[disk.acknowledged : disk.acknowledged + 2]
            with Index.open(left) as index:
                found = check(index, possible)
                index.add(*columns([("after", 1)]))
                assert index.ids() == [*(id for id, _ in found), "after"]
            shutil.rmtree(left)
            opened += 1
    assert disk.acknowledged == len(states) - 1
    return opened


@pytest.mark.parametrize("job", JOBS)
def test_power_loss_leaves_every_acknowledged_commit(zygote, tmp_path, job):
    assert lose_power(zygote, tmp_path, job, lambda number: number % 41 == 5) > 1


@pytest.mark.campaign
def test_power_loss_at_every_operation(zygote, tmp_path):
    found = {}
    for job in JOBS:
        for seed in range(2):
            (tmp_path / f"{job}{seed}").mkdir()
            opened = lose_power(
                zygote, tmp_path / f"{job}{seed}", job, lambda number: not number % EVERY, seed
            )
            found[job] = found.get(job, 0) + opened
    report("power", {"states": sum(found.values()), "by job": found})
