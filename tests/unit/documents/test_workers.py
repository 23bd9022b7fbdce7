import os
import time
from pathlib import Path

import pytest

from lfm2_retrieval.documents.workers import Limits, Parsers


@pytest.fixture
def parsers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with Parsers(1, Limits(seconds=0.5, memory=1 << 28), "bad_parsers:misbehave") as found:
        yield found


def ask(parsers, folder, *texts):
    jobs = []
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text)
        jobs.append(parsers.submit({"path": str(folder / f"{i}.txt")}))
    return [[answer.get("text", answer.get("refused")) for answer in job.answers()] for job in jobs]


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("die", "brought the parser down"),
        ("exit", "brought the parser down"),
        ("spin", "took more than 0.5 seconds"),
        ("sleep", "took more than 5 seconds"),
        ("eat", "took too much memory"),
        ("raise", "broken"),
    ],
)
def test_a_file_that_brings_its_parser_down_is_the_only_one_lost(parsers, tmp_path, does, reason):
    before, found, after, again, last = ask(parsers, tmp_path, "a", does, "b", does, "c")
    assert (before, after, last) == (["a"], ["b"], ["c"])
    for one in (found, again):
        assert len(one) == 1
        assert one[0].startswith(reason)


def test_what_may_have_come_of_the_file_before_is_tried_again(parsers, tmp_path):
    (tmp_path / "mark").touch()
    assert ask(parsers, tmp_path, "a", f"once {tmp_path}/mark") == [["a"], [f"once {tmp_path}/mark"]]


def test_what_libraries_print_is_no_answer(parsers, tmp_path):
    assert ask(parsers, tmp_path, "print", "a") == [["print"], ["a"]]


def test_answers_come_as_they_are_asked_for(parsers, tmp_path):
    [many] = ask(parsers, tmp_path, "many")
    assert many == [str(i) for i in range(1000)]
    (tmp_path / "x.txt").write_text("many")
    job = parsers.submit({"path": str(tmp_path / "x.txt")})
    answers = job.answers()
    assert next(answers) == {"text": "0"}
    answers.close()
    assert ask(parsers, tmp_path, "a") == [["a"]]


def test_no_process_stays(parsers, tmp_path):
    ask(parsers, tmp_path, "a")
    (tmp_path / "y.txt").write_text("sleep")
    parsers.submit({"path": str(tmp_path / "y.txt")})
    time.sleep(0.2)
    parsers.close()
    for _ in range(20):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        names = [Path(f"/proc/{pid}/cmdline") for pid in children]
        if not any(b"documents.worker" in name.read_bytes() for name in names if name.exists()):
            return
        time.sleep(0.1)
    pytest.fail("a parser is left")


def test_the_working_directory_holds_no_modules(tmp_path, monkeypatch, parsers):
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert ask(parsers, tmp_path, "a") == [["a"]]
