"""Many at the same time: readers see one commit, what is acknowledged is there, numbers are given once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from life import Life
from report import report

from lfm2_retrieval.indexes import Index


def crowd(zygote, folder, seconds, n_readers=8):
    """Commits of each writer, and how often readers looked and how many different states they saw."""
    life = Life(zygote, folder)
    life.begin()
    names = ["w0", "w1"]

    def request(number, job, **arguments):
        return {
            "job": job,
            "folder": str(life.folder),
            "diary": str(folder / f"diary{number}"),
            "arguments": arguments,
        }

    requests = [
        *(request(name, "write_groups", name=name, seconds=seconds) for name in names),
        *(request(i, "read_groups", names=names, seconds=seconds) for i in range(n_readers)),
    ]
    statuses = zygote.run(*requests)
    told = [json.loads(Path(one["diary"]).read_text()) for one in requests]
    assert not any("failed" in one for one in told), told
    assert set(statuses) == {0}
    with Index.open(life.folder) as index:
        index.verify()
    commits = [one["begin"] for one in told[:2]]
    looks = [one["begin"] for one in told[2:]]
    assert min(commits) > 0
    assert min(count for count, _ in looks) > 0
    return {
        "seconds": seconds,
        "commits": commits,
        "reads": sum(count for count, _ in looks),
        "states": [n for _, n in looks],
    }


def test_two_writers_and_eight_readers(zygote, tmp_path):
    crowd(zygote, tmp_path, 4.0)


@pytest.mark.campaign
def test_two_writers_and_eight_readers_for_minutes(zygote, tmp_path):
    report("concurrency", crowd(zygote, tmp_path, 150.0))


def numbering(zygote, folder, commits, seconds=0.0, n_writers=4):
    """How many documents without ids several processes added, and how many were deleted meanwhile."""
    life = Life(zygote, folder)
    life.begin()
    requests = [
        {
            "job": "write_numbers",
            "folder": str(life.folder),
            "diary": str(folder / f"diary{number}"),
            "arguments": {"name": f"w{number}", "commits": commits, "seconds": seconds},
        }
        for number in range(n_writers)
    ]
    statuses = zygote.run(*requests)
    told = [json.loads(Path(one["diary"]).read_text()) for one in requests]
    assert not any("failed" in one for one in told), told
    assert set(statuses) == {0}
    kept = [id for one in told for id in one["begin"][0]]
    deleted = [id for one in told for id in one["begin"][1]]
    assert len(set(kept)) == len(kept)
    with Index.open(life.folder) as index:
        assert set(index.ids()) == {*kept, *(id for id, _ in life.state)}
        index.verify()
    return {"documents": len(kept), "deleted": len(deleted)}


def test_numbers_of_several_processes(zygote, tmp_path):
    numbering(zygote, tmp_path, 12)


@pytest.mark.campaign
def test_numbers_of_several_processes_for_a_minute(zygote, tmp_path):
    report("numbers", numbering(zygote, tmp_path, 12, 60.0, n_writers=6))


BEGIN = """
import os, sys, time
from lfm2_retrieval import Encoder, Retriever

model = Encoder.load("nano")
path, go, if_exists, name = sys.argv[1:]
open(f"{go}.{name}", "w").close()
while not os.path.exists(go):
    time.sleep(0.001)
texts = [f"text {name} {number}" for number in range(5)]
Retriever.index(texts, path, model=model, if_exists=if_exists).close()
"""


def begin(folder, if_exists, n_processes):
    """Several processes index into a path that doesn't exist; who has documents there then."""
    folder.mkdir()
    path, go = folder / "deep" / "index", folder / "go"
    root = str(Path(__file__).parents[2])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(path), str(go), if_exists, str(number)],
            env={**os.environ, "PYTHONPATH": root},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(n_processes)
    ]
    while any(one.poll() is None for one in children) and len(list(folder.glob("go.*"))) < n_processes:
        time.sleep(0.01)
    go.touch()
    errors = [one.communicate()[1] for one in children]
    assert [one.returncode for one in children] == [0] * n_processes, errors
    with Index.open(path) as index:
        index.verify()
        return sorted(entry.text for entry in index)


@pytest.mark.campaign
@pytest.mark.parametrize("if_exists", ["append", "overwrite"])
def test_several_processes_begin_an_index(tmp_path, if_exists):
    rounds, n_processes = 8, 3
    for number in range(rounds):
        found = begin(tmp_path / str(number), if_exists, n_processes)
        whole = [[f"text {name} {i}" for i in range(5)] for name in range(n_processes)]
        assert found in (whole if if_exists == "overwrite" else [[text for one in whole for text in one]])
    report(f"begin-{if_exists}", {"rounds": rounds, "processes": n_processes})
