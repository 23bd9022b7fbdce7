"""Two writers and eight readers at the same time: no error, and every reader sees one commit at a time."""

import json
from pathlib import Path

import pytest
from life import Life
from report import report

from lfm2_retrieval.indexes import CompressedIndex


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
    with CompressedIndex.open(life.folder) as index:
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
