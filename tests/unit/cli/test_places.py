import os
from pathlib import Path

import pytest

from lfm2_retrieval.cli import _places
from lfm2_retrieval.cli._places import check_beneath, location, open_at, opening_command
from lfm2_retrieval.documents import Place
from lfm2_retrieval.errors import InvalidInputError


def test_locations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(Path(os.path.realpath(tmp_path)) / "docs/guide.md")
    assert location(here, Place(lines=(120, 130))) == "docs/guide.md:120"
    assert location(here, Place(lines=(120, 130)), line=125) == "docs/guide.md:125"
    assert location("/x/paper.pdf", Place(pages=(7, 7))) == "/x/paper.pdf p. 7"
    assert location("/x/book.xlsx", Place(sheet="Sheet", range="A2:D9")) == "/x/book.xlsx Sheet!A2:D9"
    assert location("/x/a.ipynb", Place(cells=(3, 3), lines=(1, 4))) == "/x/a.ipynb cell 3, lines 1–4"
    assert location("/x/a.docx", Place()) == "/x/a.docx"
    assert location(os.fsdecode(b"/x/\xff.md"), Place(lines=(1, 1))) == "/x/\\xff.md:1"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a b;$(touch x).md"
    path.write_text("text")
    return str(path)


@pytest.mark.parametrize(
    ("editor", "expected"),
    [
        ("vim", ["vim", "+7", "{}"]),
        ("emacsclient -t", ["emacsclient", "-t", "+7", "{}"]),
        ("/usr/bin/code --wait", ["/usr/bin/code", "--wait", "--goto", "{}:7"]),
        ("hx", ["hx", "{}:7"]),
        ("kate", ["kate", "--line", "7", "{}"]),
        ("'my editor' -x", ["my editor", "-x", "{}"]),
    ],
)
def test_editors_go_to_the_line(file, editor, expected):
    expected = [part.replace("{}", file) for part in expected]
    assert opening_command(file, 7, {"EDITOR": editor}) == expected
    assert opening_command(file, 7, {"VISUAL": editor, "EDITOR": "ed"}) == expected


def test_what_is_no_text_is_left_to_the_desktop(tmp_path, monkeypatch, file):
    monkeypatch.setattr(_places.shutil, "which", lambda name: f"/bin/{name}" if name == "xdg-open" else None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "run.py").write_text("print()")
    assert opening_command(str(tmp_path / "a.pdf"), 7, {"EDITOR": "vim"}) == [
        "/bin/xdg-open",
        str(tmp_path / "a.pdf"),
    ]
    assert opening_command(file, 7, {})[0] == "/bin/xdg-open"
    with pytest.raises(InvalidInputError, match="EDITOR"):  # a desktop could run it
        opening_command(str(tmp_path / "run.py"), 7, {})


def test_what_is_not_there_is_told(tmp_path, file):
    os.mkfifo(tmp_path / "pipe.md")
    for source, why in (
        (str(tmp_path / "none.md"), "no such file"),
        (str(tmp_path / "pipe.md"), "no regular file"),
        (str(tmp_path), "no regular file"),
        ("guide.md", "in which folder"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            opening_command(source, 1, {"EDITOR": "vim"})
    with pytest.raises(InvalidInputError, match="can't be started"):
        open_at(file, 1, {"EDITOR": "no-such-editor-anywhere"})
    with pytest.raises(InvalidInputError, match="EDITOR="):
        opening_command(file, 1, {"EDITOR": "'unclosed"})


def test_kinds_that_may_hold_programs_are_not_opened(tmp_path):
    for name in ("a.docm", "b.XLSM", "c.desktop", "d.exe", "e.AppImage"):
        (tmp_path / name).write_text("x")
        with pytest.raises(InvalidInputError, match="programs"):
            opening_command(str(tmp_path / name), 1, {"EDITOR": "vim"})


def test_only_what_lies_here_or_where_is_said_is_opened_unasked(tmp_path, monkeypatch):
    for folder in ("here", "there", "here/.ssh"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "key").write_text("x")
    (tmp_path / "here/out").symlink_to(tmp_path / "there")
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.chdir(here)
    check_beneath(str(here / "key"))
    check_beneath(str(there / "key"), [there])
    asked = []
    for source in (there / "key", here / ".ssh/key", here / "out/key", here / "../there/key"):
        with pytest.raises(InvalidInputError, match="--open-in"):
            check_beneath(str(source))
        check_beneath(str(source), (), lambda path: not asked.append(path))
        with pytest.raises(InvalidInputError):
            check_beneath(str(source), (), lambda path: False)
    true = os.path.realpath(there / "key")
    assert asked == [true, os.path.realpath(here / ".ssh/key"), true, true]
    monkeypatch.chdir("/")
    with pytest.raises(InvalidInputError):  # all lies beneath it
        check_beneath(str(here / "key"))


def test_an_editor_is_run_without_a_shell(file, tmp_path):
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.out"\nexit 3\n')
    script.chmod(0o755)
    assert open_at(file, 4, {"EDITOR": str(script)}) == 3
    assert (tmp_path / "editor.out").read_text() == f"{file}\n"
    assert not (tmp_path / "x").exists()
