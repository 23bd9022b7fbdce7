import gzip
import io
import json
import os
import socket
import subprocess
import sys

import pytest

from lfm2_retrieval.documents import (
    Reading,
    ReadOptions,
    folder_names,
    lines,
    read_documents,
    read_lines,
    tables,
)
from lfm2_retrieval.errors import InvalidInputError


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(*paths, format=None, **options):
    return list(read_documents(paths, format, ReadOptions(**options)))


def reading_of(*paths, format=None, **options):
    """Rows and the report."""
    reading = Reading(paths, format, ReadOptions(**options))
    return list(reading), reading.report


def left_out(report):
    """Names by reason."""
    return {reason: group["names"] for reason, group in report.to_dict()["left_out"]["reasons"].items()}


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
    assert [row["id"] for row in rows] == ["a.txt.gz", "b.md", "code.py", "sub/a.txt"]
    assert rows[3] == document("sub/a.txt", "in sub/a.txt\nline", path=str(tmp_path / "sub/a.txt"))
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
        "a.bin": "name it: jsonl, csv",
        "empty": "holds no .txt or .md",
    }
    put(tmp_path, "a.bin", b"")
    (tmp_path / "empty").mkdir()
    for name, message in cases.items():
        with pytest.raises(InvalidInputError, match=message):
            read(tmp_path / name)
    with pytest.raises(
        InvalidInputError, match="one of jsonl, csv, tsv, text, lines, parquet, rich, not 'xml'"
    ):
        read_documents([], "xml")


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "text", "lines"])
def test_an_empty_file_has_no_rows(tmp_path, format):
    expected = 1 if format == "text" else 0
    assert len(read(put(tmp_path, "empty", b""), format=format)) == expected


SMALL = 1000


@pytest.fixture
def small(monkeypatch):
    """A limit that tests can reach."""
    for module in (lines, tables):
        monkeypatch.setattr(module, "MAX_BYTES", SMALL)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", '{"text":"a"}\n{"text":"%s"}', 2),
        ("a.json", '[{"text":"%s"}]', 1),
        ("a.csv", 'text\n"open\n%s\n%s', 2),
        ("a.csv", "text\na\n%s\n", 3),
        ("a.csv", "text,%s\n", 1),
        ("a.tsv", "id\ttext\nx\t%s", 2),
        ("a.txt", "%s", 1),
        ("a.txt", "x\n" + "y\n" * SMALL, 501),
    ],
)
def test_lines_records_and_texts_have_a_limit(tmp_path, small, suffix, name, content, line):
    path = put(
        tmp_path, name + suffix, content.replace("%s", "x" * (SMALL - 10 if "open" in content else SMALL + 1))
    )
    with pytest.raises(InvalidInputError, match=rf":{line}: a .* of more than 1,000 bytes.*split it"):
        read(path)


def test_what_is_as_long_as_the_limit_is_read(tmp_path, small):
    assert len(read(put(tmp_path, "a.txt", "x" * SMALL))[0]["text"]) == SMALL
    row = '{"text":"' + "x" * (SMALL - 12) + '"}\n'
    assert len(row) == SMALL
    assert len(read(put(tmp_path, "a.jsonl", row * 3))) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_have_the_limit(tmp_path, small, encoding):
    path = put(tmp_path, "a.txt", ("x" * (SMALL + 1)).encode(encoding))
    with pytest.raises(InvalidInputError, match="of more than"):
        read(path, encoding=encoding)


def test_stdin_has_the_limit(small, stdin):
    stdin(b"x" * (SMALL + 1))
    with pytest.raises(InvalidInputError, match=r"^stdin:1: a line of more than"):
        list(read_lines("-"))


@pytest.mark.parametrize("name", ["bomb.txt.gz", "bomb.jsonl.gz", "bomb.csv.gz", "bomb.gz"])
def test_a_decompression_bomb_takes_little_memory(tmp_path, name):
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(b"text\n" if ".csv" in name else b'{"text": "')
        for _ in range(1024):
            stream.write(b"x" * (1 << 20))
    folder = "folder" if name == "bomb.gz" else ""
    code = (
        "import resource, sys; from lfm2_retrieval.documents import read_documents\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))\n"
        "try: print(len(list(read_documents([sys.argv[1]]))))\n"
        "except ValueError as error: print(error)\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss would count what this process has
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    source = tmp_path if folder else path
    command = [sys.executable, "-c", code, source]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    message, peak = result.stdout.splitlines()
    assert "of more than 32 MiB" in message or "1 too long" in message
    assert int(peak) < 400 << 10


def test_links_fifos_and_sockets_of_a_folder(tmp_path, monkeypatch):
    outside = put(tmp_path, "outside/secret.txt", "secret")
    folder = tmp_path / "folder"
    put(folder, "a.txt", "a")
    put(folder, "sub/b.md", "b")
    put(folder, ".hidden/c.txt", "c")
    (folder / "out.txt").symlink_to(outside)
    (folder / "out").symlink_to(outside.parent)
    (folder / "up").symlink_to("..")
    (folder / "loop").symlink_to(folder)
    (folder / "sub/loop.txt").symlink_to("loop.txt")
    (folder / "none.txt").symlink_to("nowhere")
    (folder / "again.txt").symlink_to("a.txt")
    (folder / "sub/again.md").symlink_to("../a.txt")
    (folder / "kept.txt").symlink_to(".hidden/c.txt")
    (folder / "kept2.txt").symlink_to(".hidden/c.txt")
    (folder / "chain.txt").symlink_to("out.txt")
    (folder / "zero.txt").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.txt")
    (folder / "pipelink.txt").symlink_to("pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(folder)  # a socket's path is short
        server.bind("sock.txt")
        rows, report = reading_of(folder)
    assert {row["id"]: row["text"] for row in rows} == {"a.txt": "a", "kept.txt": "c", "sub/b.md": "b"}
    reasons = {reason: set(names) for reason, names in left_out(report).items()}
    assert reasons["links to nothing"] == {"none.txt", "sub/loop.txt"}
    assert reasons["links out of the folder"] <= {"chain.txt", "out", "out.txt", "up", "zero.txt"}
    assert reasons["links to folders"] == {"loop"}
    assert reasons["links to what is read anyway"] == {"again.txt", "kept2.txt", "sub/again.md"}
    assert reasons["no files (pipes, sockets, devices)"] == {"pipe.txt", "pipelink.txt", "sock.txt"}
    assert reasons["hidden"] == {".hidden"}
    assert (report.files, report.left_out, report.missed) == (3, 15, 11)
    (tmp_path / "link").symlink_to(folder)
    assert len(read(tmp_path / "link")) == 3
    assert read(folder / "out.txt")[0]["text"] == "secret"  # named by the user


def test_what_is_left_out_is_said(tmp_path):
    for name, content in {
        "a.md": "a",
        "page.mdx": "# page",
        "code.py": "print()",
        "LICENSE": "free",
        "data.csv": "id,text\nx,row\n",
        "rows.jsonl": '{"_id":"y","text":"row"}\n',
        "conf.json": "{}",
        "other.csv": "id,body\nx,row\n",
        "other.jsonl": '{"body":1}\n',
        "none.csv": "",
        "blank.txt": " \n",
        "empty.md": "",
        "image.png": b"\x89PNG",
        "doc.pdf": b"%PDF",
        "page.html": "<p>",
        "binary": b"\x00\x01\xff",
        "nul.txt": b"a\0b",
        "latin.txt": b"caf\xe9",
        "odd.txt": b"a \xc3(",
        ".env": "SECRET",
        "node_modules/x.js": "x",
        "old/index.db": "x",
        "old/newest": "3",
    }.items():
        put(tmp_path, name, content)
    rows, report = reading_of(tmp_path)
    assert [row["id"] for row in rows] == [
        *("LICENSE", "a.md", "code.py", "conf.json", "x", "latin.txt", "page.mdx", "y")
    ]
    assert report.files == 8
    assert report.encodings == {"utf-8": 7, "cp1252": 1}
    found = left_out(report)
    found["broken"] = [name.partition(": Pdf")[0] + ")" for name in found["broken"]]
    assert found == {
        "hidden": [".env"],
        "binary": ["binary", "nul.txt"],
        "empty": ["blank.txt", "empty.md", "none.csv"],
        "broken": ["doc.pdf (Invalid PDF)"],
        "no text": ["page.html"],
        "of a kind that is not read": ["image.png"],
        "in another encoding": ["odd.txt"],
        "dependencies or caches": ["node_modules"],
        "indexes": ["old"],
        "without a text column": ["other.csv", "other.jsonl"],
    }
    summary = report.summary()
    assert summary.startswith("14 left out, 8 read: 3 empty (")
    assert "1 of a kind that is not read (1 .png: image.png)" in summary
    with pytest.raises(InvalidInputError, match="--strict: 14 left out"):
        read(tmp_path, strict=True)
    latin = read(tmp_path, encoding="latin-1")
    assert {"id": "latin.txt", "text": "café", "metadata": {"path": f"{tmp_path}/latin.txt"}} in latin


def test_strict_minds_neither_hidden_files_nor_caches(tmp_path):
    for name in ("a.txt", ".git/x", "__pycache__/a.pyc"):
        put(tmp_path, name, "x")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert len(read(tmp_path, strict=True)) == 1
    put(tmp_path, "c.bin", "x")
    with pytest.raises(InvalidInputError, match=r"1 of a kind that is not read \(1 \.bin: c\.bin\)"):
        read(tmp_path, strict=True)


def test_a_folder_of_a_given_format(tmp_path):
    put(tmp_path, "a.csv", "id,text\nx,row\n")
    put(tmp_path, "b.md", "b")
    rows, report = reading_of(tmp_path, format="csv")
    assert [row["id"] for row in rows] == ["x"]
    assert left_out(report) == {"of another format than csv": ["b.md"]}
    with pytest.raises(InvalidInputError, match="holds no tsv file that can be read: 2 left out"):
        read(tmp_path, format="tsv")
    put(tmp_path, "c.csv", "id,body\nx,row\n")
    with pytest.raises(InvalidInputError, match="text-column"):  # it was asked for
        read(tmp_path, format="csv")


def test_folders_of_one_content_have_their_names_before_ids(tmp_path):
    for name in ("one", "two", "a/docs", "b/docs", "c/x/docs"):
        put(tmp_path, f"{name}/README.md", name)
        put(tmp_path, f"{name}/rows.jsonl", '{"text":"row"}\n')
    one, two, a, b, c = (tmp_path / name for name in ("one", "two", "a/docs", "b/docs", "c/x/docs"))

    def ids(*paths):
        return [row["id"] for row in read(*paths)]

    assert ids(one) == ["README.md", "rows.jsonl:1"]
    assert ids(one, two) == ["one/README.md", "one/rows.jsonl:1", "two/README.md", "two/rows.jsonl:1"]
    assert ids(a, b)[::2] == ["a/docs/README.md", "b/docs/README.md"]
    assert ids(one, a)[::2] == ["one/README.md", "docs/README.md"]
    assert ids(a, c)[::2] == ["a/docs/README.md", "x/docs/README.md"]
    assert ids(one, one / "README.md") == ["one/README.md", "one/rows.jsonl:1", str(one / "README.md")]
    assert ids(one, one / "rows.jsonl")[0] == "README.md"  # as before
    assert folder_names([f"{one}/", f"{one}/../two"]) == {f"{one}/": "one", f"{one}/../two": "two"}


CELLS = [
    (["1", "2", ""], "int", [1, 2, None]),
    (["-3", "0", "123456789012345678"], "int", [-3, 0, 123456789012345678]),
    (["1.5", "-0.25", "3"], "float", [1.5, -0.25, 3]),
    (["true", "false", "true"], "bool", [True, False, True]),
    (["True", "False", ""], "bool", [True, False, None]),
    (["true", "False", "true"], "str", ["true", "False", "true"]),
    (["007", "8", "9"], "str", ["007", "8", "9"]),
    (["1e5", "2", "3"], "str", ["1e5", "2", "3"]),
    (["1.10", "1.9", "2"], "str", ["1.10", "1.9", "2"]),
    (["+1", "2", "3"], "str", ["+1", "2", "3"]),
    (["-0", "2", "3"], "str", ["-0", "2", "3"]),
    ([" 1", "2", "3"], "str", [" 1", "2", "3"]),
    (["1_000", "2", "3"], "str", ["1_000", "2", "3"]),
    (["١", "2", "3"], "str", ["١", "2", "3"]),
    (["nan", "1.5", "inf"], "str", ["nan", "1.5", "inf"]),
    (["12345678901234567890", "2", "3"], "str", ["12345678901234567890", "2", "3"]),
    (["1", "two", "3"], "str", ["1", "two", "3"]),
    (["1", "true", ""], "str", ["1", "true", None]),
    (["", "", ""], "str", [None, None, None]),
    (["2024-01-02", "", "2024-03-04"], "str", ["2024-01-02", None, "2024-03-04"]),
]


@pytest.mark.parametrize(("cells", "type", "expected"), CELLS)
@pytest.mark.parametrize("way", ["csv", "tsv", "stdin", "gz"])
def test_cells_have_types_if_they_come_back_the_same(tmp_path, stdin, cells, type, expected, way):
    comma = "\t" if way == "tsv" else ","
    content = f"text{comma}x\n" + "".join(f"t{comma}{cell}\n" for cell in cells)
    if way == "stdin":
        stdin(content.encode())
        rows, report = reading_of("-", format="csv")
    else:
        rows, report = reading_of(put(tmp_path, "a.csv.gz" if way == "gz" else f"a.{way}", content))
    assert [row["metadata"].get("x") for row in rows] == expected
    assert list(report.types.values()) == [{"text": "str", "x": type}]


def test_texts_ids_and_titles_stay_text(tmp_path):
    path = put(tmp_path, "a.csv", "id,title,text,n\n1,2,3,4\n")
    assert read(path) == [document("1", "3", "2", n=4)]


def test_the_types_are_told(tmp_path):
    path = put(tmp_path, "a.csv", "text,year,zip,price,old\na,2001,007,1.50,true\nb,1999,123,2.00,false\n")
    _, report = reading_of(path)
    assert report.types_summary() == [
        f"{path}: year int, old bool; all else is text; zip, price stayed text, as the numbers there would "
        "not come back as they are written (--types zip=float reads them as numbers)"
    ]
    [first, _] = read(path, types={"price": "float", "year": "str", "zip": "int", "old": "str"})
    assert first["metadata"] == {"year": "2001", "zip": 7, "price": 1.5, "old": "true"}


def test_types_that_are_asked_for_are_kept_to(tmp_path):
    path = put(tmp_path, "a.csv", "text,x\na,1\nb,yes\n")
    for type, says in (("int", "a whole number"), ("float", "a number"), ("bool", "true or false")):
        with pytest.raises(
            InvalidInputError, match=rf"a\.csv:3: the column 'x' is {type}, and 'yes' is not {says}"
        ):
            read(path, types={"x": type})
    with pytest.raises(InvalidInputError, match=r"--types names 'y', which is none of the columns"):
        read(path, types={"y": "int"})
    with pytest.raises(InvalidInputError, match="x=date: a type is one of int, float, bool, str"):
        read(path, types={"x": "date"})


def test_what_can_be_read_once_has_the_types_of_its_first_rows(stdin, monkeypatch):
    monkeypatch.setattr(tables, "LOOK_AHEAD", 3)
    content = b"text,x\na,1\nb,2\nc,3\nd,%s\n"
    stdin(content % b"2.5")
    with pytest.raises(InvalidInputError, match=r"^stdin:5: the column 'x' is int, and '2.5'.*--types x=str"):
        read("-", format="csv")
    stdin(content % b"2.5")
    assert read("-", format="csv", types={"x": "float"})[3]["metadata"] == {"x": 2.5}
    stdin(content % b"4")
    assert read("-", format="csv")[3]["metadata"] == {"x": 4}


@pytest.mark.parametrize("delimiter", [";", "|", "\t", ","])
def test_the_header_tells_the_delimiter(tmp_path, delimiter):
    path = put(tmp_path, "a.csv", delimiter.join(["id", "text", '"n"']) + "\n" + delimiter.join("abc") + "\n")
    assert read(path) == [document("a", "b", n="c")]


def test_a_delimiter_can_be_named(tmp_path):
    path = put(tmp_path, "a.csv", "id;x,text\n1,2;3,4\n")
    with pytest.raises(InvalidInputError, match="has 3 fields, the header 2"):
        read(path)
    assert read(put(tmp_path, "b.csv", "id:text\na:b\n"), delimiter=":") == [document("a", "b")]
    assert read(put(tmp_path, "c.csv", "id\ttext\na\tb\n"), delimiter="tab") == [document("a", "b")]
    for wrong in ("", ";;", '"', "\n"):
        with pytest.raises(InvalidInputError, match="a delimiter is one character"):
            read(path, delimiter=wrong)


def test_headers_as_people_have_them(tmp_path):
    saved = put(tmp_path, "a.csv", "\ufeff,text, year ,\n0,a,2001,\n1,b,2002,\n")
    assert [row["metadata"] for row in read(saved)] == [
        {"column_1": 0, "year": 2001},
        {"column_1": 1, "year": 2002},
    ]
    with pytest.raises(InvalidInputError, match="'year' comes twice"):
        read(put(tmp_path, "b.csv", "text,year,year\na,1,2\n"))
    with pytest.raises(
        InvalidInputError, match=r":1: a header with 'text' .*: --text-column, or text=.*--delimiter"
    ):
        read(put(tmp_path, "c.csv", "a:b\nc:d\n"))
    with pytest.raises(InvalidInputError, match=r":3: has 1 fields, the header 2"):
        read(put(tmp_path, "d.csv", "id,text\na,b\nc\n"))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_columns_can_be_named(tmp_path, name):
    row = {"key": "k", "body": "b", "text": "t", "n": 1, "m": 2}
    content = {
        "a.csv": ",".join(row) + "\n" + ",".join(map(str, row.values())),
        "a.jsonl": json.dumps(row),
        "a.json": json.dumps([row]),
    }
    path = put(tmp_path, name, content[name])
    named = {"text": "body", "id": "key"}
    assert read(path, **named) == [document("k", "b", text="t", n=1, m=2)]
    assert read(path, **named, metadata=("m",)) == [document("k", "b", m=2)]
    with pytest.raises(InvalidInputError, match="'nr'"):
        read(path, text="body", id="nr")


def test_json_files(tmp_path):
    rows = [{"_id": "a", "text": "x"}, {"text": "y", "n": [1]}]
    path = put(tmp_path, "a.json", json.dumps(rows, indent=1))
    assert read(path) == [document("a", "x"), document(f"{path}:2", "y", n=[1])]
    assert read(put(tmp_path, "b.json", json.dumps(rows[0]))) == [document("a", "x")]
    lined = put(tmp_path, "c.json", "\n".join(map(json.dumps, rows)))
    assert read(lined) == [document("a", "x"), document(f"{lined}:2", "y", n=[1])]
    for content in ("[1]", "{", '[{"body":1}]'):
        with pytest.raises(InvalidInputError, match=r"d\.json:1: "):
            read(put(tmp_path, "d.json", content))


def test_encodings(tmp_path):
    text = "id,text\na,Zürich €\n"
    for encoding in ("cp1252", "utf-16", "utf-8-sig", "iso8859-15", "UTF8"):
        path = put(tmp_path, "a.csv", text.encode(encoding))
        assert read(path, encoding=encoding) == [document("a", "Zürich €")]
    path = put(tmp_path, "a.csv", text.encode("cp1252"))
    reading = Reading([path])
    assert list(reading) == [document("a", "Zürich €")]
    assert reading.report.encodings == {"cp1252": 1}
    assert read(put(tmp_path, "a.csv", text.encode("utf-16"))) == [document("a", "Zürich €")]
    path = put(tmp_path, "a.csv", "id,text\na,Луна\n".encode("cp1251"))
    with pytest.raises(InvalidInputError, match=r":2: not UTF-8: byte 0xcb at position 2; --encoding"):
        read(path)
    with pytest.raises(InvalidInputError, match=":1: not utf-16"):
        read(put(tmp_path, "b.txt", b"odd"), encoding="utf-16")
    for wrong in ("klingon", "base64", "rot13"):
        with pytest.raises(InvalidInputError, match="there is no encoding"):
            read(path, encoding=wrong)


def test_a_named_file_without_extension_or_of_code_is_a_text(tmp_path):
    for name in ("LICENSE", "main.py", "page.mdx"):
        assert read(put(tmp_path, name, "x"))[0]["text"] == "x"
