import json
import signal
import time

import pytest


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "guide.md").write_text("# Guide\n\nFoxes jump over dogs.\n\n## Rain\n\nRain falls on hills.\n")
    (folder / "towns.csv").write_text("name,about\nOdra,a town where people sell bread and wine\n")
    return folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


def test_a_name_of_two_lines_is_shown_on_one(run, docs, path):
    (docs / "a\nnew      b.md").write_text("two lines")
    shown = run("sync", path, docs, "--dry-run", "--model", "nano").stdout
    assert r"new      a\x0anew      b.md" in shown.splitlines()


def test_made_synced_and_searched(run, docs, path, checkpoint):
    dry = run("sync", path, docs, "--dry-run", "--model", checkpoint())
    assert dry.stdout.splitlines()[:2] == ["new      guide.md", "new      towns.csv"]
    assert not path.exists()
    made = run("sync", path, docs, "--model", checkpoint())
    assert made.exit_code == 0
    assert f"{path} holds 2 documents" in made.stdout
    assert "the text is column 'about'" in made.stderr
    assert "nothing to do, 2 unchanged" in run("sync", path, docs).stdout
    (docs / "guide.md").rename(docs / "manual.md")
    report = json.loads(run("sync", path, docs, "--json").stdout)
    assert report["files"] == {"new": 0, "changed": 0, "renamed": 1, "gone": 0, "unchanged": 1}
    assert report["changes"]["encoded"] == 0
    assert report["index"]["documents"] == 2
    hits = run("search", path, "rain", "--mode", "lexical").stdout
    assert "manual.md:7" in hits
    assert "Guide › Rain" in hits
    found = json.loads(run("search", path, "rain", "--mode", "lexical", "--json").stdout)["hits"][0]
    assert found["source"] == str(docs / "manual.md")
    assert found["excerpt"]["text"] == "Rain falls on hills."
    assert (found["excerpt"]["place"], found["excerpt"]["headings"]) == ({"lines": [7, 7]}, ["Guide", "Rain"])


def test_hits_are_opened_where_they_lie(run, docs, path, checkpoint, tmp_path, monkeypatch):
    run("sync", path, docs, "--model", checkpoint())
    editor = tmp_path / "vim"
    editor.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.out"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    refused = run("search", path, "rain", "--mode", "lexical", "--open", "1")
    assert (refused.exit_code, "--open-in" in refused.stderr) == (1, True)
    opening = ("search", path, "rain", "--mode", "lexical", "--open-in", docs, "--open", "1")
    assert run(*opening).exit_code == 0
    assert (tmp_path / "vim.out").read_text() == f"+7\n{docs / 'guide.md'}\n"
    assert "there are 1 hits" in run("search", path, "rain", "--mode", "lexical", "--open", "5").stderr
    (docs / "guide.md").unlink()
    gone = run("search", path, "rain", "--mode", "lexical", "--open", "1")
    assert (gone.exit_code, "no such file any more" in gone.stderr) == (1, True)
    assert run("search", path, "rain", "fox", "--open", "1").exit_code == 2


def test_patterns_and_strict(run, docs, path, checkpoint):
    (docs / "broken.ipynb").write_text("{}")
    done = run(
        "sync", path, docs, "--model", checkpoint(), "--include", "*.md", "--include", "*.ipynb", "--strict"
    )
    assert (done.exit_code, "broken.ipynb" in done.stderr) == (1, True)
    assert [line.split()[0] for line in run("list", path).stdout.splitlines()[::2]] == ["guide.md"]
    assert "1 new" in run("sync", path, docs).stdout
    assert "1 gone" in run("sync", path, docs, "--exclude", "*.md", "--dry-run").stdout
    kept = run("sync", path, docs, "--exclude", "*.md", "--no-delete")
    assert "nothing to do" in kept.stdout


def test_wrong_uses(run, docs, path, tmp_path, made, monkeypatch):
    assert "no such folder" in run("sync", path, tmp_path / "none").stderr
    assert not path.exists()
    assert run("sync", path, docs, "--watch", "--dry-run").exit_code == 2
    assert run("sync", path, docs, "--passages", "none").exit_code == 2
    assert run("sync", path, docs, "--passages", "x").exit_code == 2
    assert "16 tokens" in run("sync", path, docs, "--passages", "3").stderr
    assert "holds no passages" in run("sync", made, docs).stderr
    monkeypatch.setattr("lfm2_retrieval.retriever.watching.find_spec", lambda name: None)
    assert "lfm2-retrieval[watch]" in run("sync", path, docs, "--watch").stderr


def follow(process, words):
    """Read what a process prints until some words come."""
    deadline = time.monotonic() + 120
    seen = []
    while time.monotonic() < deadline:
        line = process.stdout.readline().decode()
        if not line:
            break
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} never came: {''.join(seen)}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_watching_follows_until_it_is_ended(spawn, docs, path, number, code):
    process = spawn("sync", path, docs, "--watch", "--model", "nano")
    try:
        follow(process, "2 new")
        (docs / "more.md").write_text("Wind makes waves.\n")
        follow(process, "1 new")
        (docs / "more.md").write_bytes(b"\0 no text any more")
        (docs / "guide.md").unlink()
        follow(process, "1 gone")
        process.send_signal(number)
        assert process.wait(60) == code
    finally:
        process.kill()
        process.communicate()


def test_folders_that_vanish_are_waited_for(docs, path, monkeypatch):
    from threading import Event

    from lfm2_retrieval.retriever import watching

    monkeypatch.setattr(watching, "_POLL_SECONDS", 0.01)
    stop = Event()
    changes = watching.changes_in([str(docs / "none")], path, stop)
    assert next(changes) is next(changes) is None
    (docs / "none").mkdir()
    next(changes)
    stop.set()
    assert next(changes, "end") in (None, "end")
