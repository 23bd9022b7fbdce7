import gzip
import io
import json
import os
import sys

import pytest

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.readers import DocumentFormat, read_documents


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(*paths, format=None):
    return list(read_documents(paths, format))


def document(id, text, title=None, /, **metadata):
    row = {"id": id, "text": text, "metadata": metadata}
    return row | {"title": title} if title else row


@pytest.fixture
def stdin(monkeypatch):
    def set_(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return set_


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_format_reads_the_same_rows(tmp_path, suffix):
    rows = [("a", "A, title", 'text "one"\nand more'), ("b", "", "zwei 猫")]
    jsonl = "".join(json.dumps({"_id": i, "title": t, "text": x, "lang": "en"}) + "\n\n" for i, t, x in rows)
    quoted = [[i, t, '"' + x.replace('"', '""') + '"', "en"] for i, t, x in rows]
    csv = "id,title,text,lang\r\n" + "".join(f'{i},"{t}",{x},{y}\r\n' for i, t, x, y in quoted)
    tsv = "_id\ttitle\ttext\tlang\n" + "".join("\t".join(row) + "\n" for row in quoted)
    expected = [document(i, x, t, lang="en") for i, t, x in rows]
    for name, content in (("a.jsonl", jsonl), ("a.csv", csv), ("a.TSV", tsv)):
        path = put(tmp_path, name + suffix, content)
        assert read(path) == expected
        assert read(put(tmp_path, "unnamed" + suffix, content), format=name[2:].lower()) == expected


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path):
    assert read(put(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"_id":"a","text":"b"}\r\n')) == [document("a", "b")]
    assert read(put(tmp_path, "a.csv", b"\xef\xbb\xbftext\r\nb\r\n"))[0]["text"] == "b"
    assert read(put(tmp_path, "a.txt", b"\xef\xbb\xbfb"))[0]["text"] == "b"


def test_rows_without_an_id_are_called_by_file_and_line(tmp_path):
    path = put(tmp_path, "a.jsonl", '{"text":"a"}\n\n{"_id":null,"text":"b"}\n')
    assert [row["id"] for row in read(path)] == [f"{path}:1", f"{path}:3"]
    path = put(tmp_path, "a.csv", 'id,text\n,"two\nlines"\n,b\n')
    assert [row["id"] for row in read(path)] == [f"{path}:2", f"{path}:4"]


def test_ids_that_are_whole_numbers_count_as_their_digits(tmp_path):
    numbers = (5, 0, -7, 2**70)
    path = put(tmp_path, "a.jsonl", "".join(f'{{"_id":{one},"text":"t"}}\n' for one in numbers))
    assert [row["id"] for row in read(path)] == [str(one) for one in numbers]


def test_metadata_is_what_is_left_over(tmp_path):
    path = put(tmp_path, "a.jsonl", '{"_id":"a","id":7,"text":"t","metadata":{"url":"u"},"n":[1]}')
    assert read(path) == [document("a", "t", id=7, url="u", n=[1])]
    path = put(tmp_path, "a.jsonl", '{"id":"a","text":"t","metadata":"word"}')
    assert read(path) == [document("a", "t", metadata="word")]


def test_only_a_line_feed_ends_a_line(tmp_path):
    text = "one\u2028two\x0bthree\x85four\x00five"
    path = put(tmp_path, "a.jsonl", json.dumps({"id": "a", "text": text}, ensure_ascii=False))
    assert read(path) == [document("a", text)]


def test_lone_surrogates_pass(tmp_path):
    assert read(put(tmp_path, "a.jsonl", r'{"id":"a","text":"\ud800"}'))[0]["text"] == "\ud800"


def test_a_folder_gives_its_texts_sorted_and_not_the_hidden(tmp_path):
    for name in ("b.md", "sub/a.txt", "a.txt.gz", ".hidden.txt", ".git/c.txt", "code.py", "d.jsonl"):
        put(tmp_path, name, f"in {name}\nline")
    (tmp_path / "folder.txt").mkdir()
    rows = read(tmp_path)
    assert [row["id"] for row in rows] == ["a.txt.gz", "b.md", "sub/a.txt"]
    assert rows[2] == document("sub/a.txt", "in sub/a.txt\nline", path=str(tmp_path / "sub/a.txt"))
    assert [row["id"] for row in read(tmp_path / "b.md")] == [str(tmp_path / "b.md")]
    assert [row["id"] for row in read(tmp_path, format="lines")][:2] == ["a.txt.gz:1", "a.txt.gz:2"]


def test_stdin_is_jsonl_or_lines(stdin):
    stdin(b'{"text":"a"}\n')
    assert read("-") == [document("stdin:1", "a")]
    stdin(b"one\n\n  \ntwo\r\n")
    assert read("-", format="lines") == [document("stdin:1", "one"), document("stdin:4", "two")]
    stdin(b"{")
    with pytest.raises(InvalidInputError, match=r"^stdin:1: not valid JSON"):
        read("-")


def test_documents_come_before_the_end_is_read(tmp_path):
    rows = read_documents([put(tmp_path, "a.jsonl", '{"text":"a"}\nnot json')])
    assert next(rows)["text"] == "a"


def test_long_fields_and_many_files(tmp_path):
    path = put(tmp_path, "a.csv", "id,text\na," + "x" * 300_000 + "\n")
    assert len(read(path, path)[1]["text"]) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text":"a"}\n{"text":', ":2: not valid JSON: Expecting value at column 9"),
        ("a.jsonl", b'{"text":"a","n":NaN}', ":1: not valid JSON: NaN"),
        ("a.jsonl", b'{"text":"a","n":-1e999}', ":1: not valid JSON: -1e999 is beyond"),
        ("a.jsonl", b"[" * 100_000, ":1: not valid JSON"),
        ("a.jsonl", b'{"text":"a","n":' + b"9" * 5000 + b"}", ":1: not valid JSON"),
        ("a.jsonl", b'["a"]', r":1: a JSON object is expected, not \['a'\]|\[\"a\"\]"),
        ("a.jsonl", b'{"_id":"a"}', ":1: no 'text'; it has nothing"),
        ("a.jsonl", b'{"_id":"a","body":"t"}', ":1: no 'text'; it has 'body'"),
        ("a.jsonl", b'{"_id":"a","text":null}', ":1: 'text' is null"),
        ("a.jsonl", b'{"_id":"a","text":["t"]}', ":1: 'text' must be a string, not "),
        ("a.jsonl", b'{"_id":5.0,"text":"t"}', ":1: 'id' must be a string or a whole number, not 5.0"),
        ("a.jsonl", b'{"_id":true,"text":"t"}', ":1: 'id' must be a string or a whole number, not true"),
        ("a.jsonl", b'{"_id":[5],"text":"t"}', r":1: 'id' must be a string or a whole number, not \[5\]"),
        ("a.jsonl", b'{"_id":"a","text":"t","title":3}', ":1: 'title' must be a string"),
        ("a.jsonl", b'{"text":"a"}\n{"text":"\xff"}', ":2: not UTF-8: byte 0xff at position 9"),
        ("a.jsonl", '{"text":"a"}'.encode("utf-16"), ":1: not UTF-8"),
        ("a.txt", b"fine\n\xc3(", ":2: not UTF-8"),
        ("a.csv", b"id,body\na,b\n", ":1: a header with 'text'"),
        ("a.csv", b"text,text\na,b\n", ":1: a header with 'text'"),
        ("a.csv", b"id,text\na,b,c\n", ":2: has 3 fields, the header 2"),
        ("a.tsv", b"id\ttext\n\na\n", ":3: has 1 fields"),
        ("a.csv", b'id,text\na,b\nc,"open\nand on\n', ":3: not valid CSV"),
        ("a.csv", b"id,text\ra,b\r", ":1: not valid CSV"),
        ("a.tsv", b'id\ttext\na\t"b" c\n', ":2: not valid TSV"),
        ("a.csv", b"id,text\na,\xff\n", ":2: not UTF-8"),
    ],
)
def test_errors_name_file_and_line(tmp_path, name, content, message):
    path = put(tmp_path, name, content)
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"plain", lambda data: data[:40]])
def test_a_damaged_gzip_is_named(tmp_path, damage):
    whole = gzip.compress(json.dumps({"text": os.urandom(200).hex()}).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(damage(whole))
    with pytest.raises(InvalidInputError, match=r"a\.jsonl\.gz:1: can't be read"):
        read(path)


def test_places_that_hold_no_documents(tmp_path):
    cases = {
        "nope.jsonl": "can't be read: No such file",
        "nope": "no such file or folder",
        "a.docx": "name it: jsonl, csv",
        "empty": "holds no .txt or .md",
    }
    put(tmp_path, "a.docx", b"")
    (tmp_path / "empty").mkdir()
    for name, message in cases.items():
        with pytest.raises(InvalidInputError, match=message):
            read(tmp_path / name)
    with pytest.raises(InvalidInputError, match="one of jsonl, csv, tsv, text, lines, not 'xml'"):
        read_documents([], "xml")


@pytest.mark.parametrize("format", DocumentFormat)
def test_an_empty_file_has_no_rows(tmp_path, format):
    expected = 1 if format is DocumentFormat.TEXT else 0
    assert len(read(put(tmp_path, "empty", b""), format=format)) == expected
