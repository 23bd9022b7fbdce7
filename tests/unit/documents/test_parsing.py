"""What comes of each format that a parser reads (text, pages, sheets, headings), and of hostile files."""

import io
import struct
import zipfile

import made_files as made
import pytest

from lfm2_retrieval import documents
from lfm2_retrieval.errors import InvalidInputError, MissingExtraError

pytest.importorskip("kreuzberg", reason="needs the extra documents")

TIDES, WAVES = "The Moon pulls the sea up twice a day.", "Wind makes waves far out at sea."


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made.write(folder)
    reader = documents.read(folder)
    found = {document.id: document for document in reader}
    assert reader.report.left_out == 0
    return found


def at(document, text):
    start = document.text.index(text)
    return document.place(start, start + len(text))


@pytest.mark.parametrize(
    "name", ["paper.pdf", "report.docx", "talk.pptx", "letter.odt", "book.epub", "page.html"]
)
def test_sections(read, name):
    document = read[name]
    assert document.format == name.partition(".")[2]
    assert TIDES in document.text
    assert WAVES in document.text
    assert [heading.title for heading in document.structure.headings] == ["Tides", "Waves"]
    for heading in document.structure.headings:
        assert document.text[heading.start : heading.end].lstrip("# ") == heading.title
    assert document.structure.path(document.text.index("Wind"))[-1] == "Waves"


@pytest.mark.parametrize("name", ["paper.pdf", "talk.pptx"])
def test_pages(read, name):
    document = read[name]
    assert at(document, TIDES).page == 1
    assert at(document, WAVES).page == 2
    assert document.place().pages == (1, 2)
    assert str(document.place()) == "pp. 1–2"
    assert document.metadata["pages"] == 2


def test_sheets(read):
    document = read["table.xlsx"]
    assert str(at(document, "Brest | 7.5")) == "Ports!A2:B2"
    assert str(at(document, "breeze | 3\ngale | 8")) == "Winds!A2:B3"
    assert document.structure.path(document.text.index("gale")) == ("Winds",)


def test_a_sheet_that_begins_elsewhere(tmp_path):
    data = made.xlsx({"Empty": [], "Tides & Winds": [[], [], ["x", "y"], ["Brest", "3\n4"]]})
    data = data.replace(b'r="A', b'r="C')  # not within what is packed
    path = tmp_path / "a.xlsx"
    path.write_bytes(data)
    [document] = documents.read(path)
    assert str(at(document, "Brest | 3 4")) == "Tides & Winds!A4:B4"


def test_mail(read):
    for name in ("mail.eml", "mail.msg"):
        document = read[name]
        assert TIDES in document.text
        assert "<ada@example.org>" in document.text
        assert document.metadata["title"] == document.metadata["subject"] == "Tides"
    assert "Grüße, Ada" in read["mail.eml"].text
    assert read["mail.eml"].metadata["to"] == ['"Grace" <grace@example.org>']


def test_a_mail_that_is_a_web_page_keeps_its_blocks_apart(tmp_path):
    page = "<h1>Report</h1><p>The roof leaks.</p><h2>Costs</h2><p>Grüße</p>"
    head = b"From: Ada <ada@example.org>\r\nSubject: Roof\r\nMIME-Version: 1.0\r\n"
    kind = b"Content-Type: text/html; charset=%s\r\n\r\n"
    (tmp_path / "a.eml").write_bytes(head + kind % b"latin-1" + page.encode("latin-1"))
    (tmp_path / "b.eml").write_bytes(head + kind % b"none-such" + page.encode())
    first, _ = documents.read(tmp_path)
    assert first.text.endswith("# Report\n\nThe roof leaks.\n\n## Costs\n\nGrüße")
    assert "Subject: Roof" in first.text
    assert [one.title for one in first.structure.headings] == ["Report", "Costs"]


def test_web_pages_lose_navigation_and_scripts(read):
    text = read["page.html"].text
    assert "größer" in text
    for noise in ("Navigation entry", "secretScript", "secret-style"):
        assert noise not in text
    assert read["page.html"].metadata["title"] == "The sea"


def test_other_letters(read):
    assert "Größe: Wind" in read["note.rtf"].text


def test_nothing_is_escaped(tmp_path):
    text = "a_b*c <d> # e [f](g) \\h `i` &amp; x<y 'q' \"r\""
    (tmp_path / "a.docx").write_bytes(made.docx([("Normal", text)]))
    (tmp_path / "b.rtf").write_bytes(made.rtf(["# no heading"]))
    (tmp_path / "c.xlsx").write_bytes(made.xlsx({"A & B": [["x < y & z"]]}))
    first, second, third = documents.read(tmp_path)
    assert first.text == text
    assert third.text == "# A & B\n\nx < y & z"
    assert second.structure.headings == ()


def pretend(archive, size):
    """An archive whose largest file says that it has so many bytes."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        largest = max(entry.file_size for entry in opened.infolist())
    return archive.replace(struct.pack("<I", largest), struct.pack("<I", size))


ENCRYPTED = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O ({'a' * 32}) /U ({'b' * 32}) /P -4 >> /ID [(a)(b)]"
HOSTILE = {
    "encrypted.pdf": (
        made.pdf([["x"]], ENCRYPTED),
        "encrypted",
    ),
    "password.docx": (made.compound({"EncryptionInfo": b"x", "EncryptedPackage": b"y" * 5000}), "encrypted"),
    "truncated.pdf": (made.pdf([["x"] * 20])[:400], "broken"),
    "truncated.docx": (made.docx([("Normal", "x")])[:300], "broken"),
    "zeros.pdf": (bytes(5000), "empty"),
    "empty.docx": (b"", "empty"),
    "garbage.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 20, "broken"),
    "binary.xlsx": (bytes(range(256)) * 20, "broken"),
    "scan.pdf": (made.pdf([[], []]), "scanned pages without text; needs OCR"),
    "blank.docx": (made.docx([("Normal", "")]), "no text"),
    "archive.docx": (made.zipped({"a.txt": "x"}), "of a kind that is not read"),
    "bomb.docx": (made.docx([("Normal", "A" * 105_000_000)]), "too long"),
    "bomb.xlsx": (pretend(made.xlsx({"A": [["A" * 12_345]]}), 2 << 30), "too long"),
}  # fmt: skip


def test_hostile_files_are_named_and_the_rest_is_read(tmp_path):
    for name, (content, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "zz.md").write_text("fine")
    reader = documents.read(tmp_path)
    assert [document.id for document in reader] == ["zz.md"]
    reasons = reader.report.to_dict()["left_out"]["reasons"]
    found = {name.partition(" (")[0]: reason for reason, group in reasons.items() for name in group["names"]}
    assert found == {name: reason for name, (_, reason) in HOSTILE.items()}
    for name in ("encrypted.pdf", "scan.pdf", "truncated.docx"):
        with pytest.raises(InvalidInputError, match=f"{name}.*{HOSTILE[name][1]}"):
            list(documents.read(tmp_path / name))


def test_bytes_count_for_more_than_names(tmp_path):
    cases = {
        "a.pdf": (b"plain text", "text", "plain text"),
        "b.txt": (made.pdf([[TIDES]]), "pdf", TIDES),
        "c.docx": (made.xlsx({"S": [["cell"]]}), "xlsx", "cell"),
        "d.xlsx": (made.docx([("Normal", "word")]), "docx", "word"),
        "e.doc": (made.rtf(["rich"]), "rtf", "rich"),
        "f.pdf": (made.html("Not found", "<p>no such page</p>"), "html", "no such page"),
        "g": (made.epub({"Tides": TIDES}), "epub", TIDES),
        "h.md": (b"<div>text with tags</div>", "markdown", "<div>text"),
    }
    for name, (content, _, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    found = {document.id: document for document in documents.read(tmp_path)}
    assert found.keys() == cases.keys()
    for name, (_, format, text) in cases.items():
        assert found[name].format == format
        assert text in found[name].text


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(
        {"key": [1, 2], "story": ["a long tale of the sea and its tides", "b c d e f"], "raw": [b"x", b"y"]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    reader = documents.read(tmp_path / "a.parquet", id="key")
    assert [(one.id, one.text, one.metadata) for one in reader] == [
        ("1", "a long tale of the sea and its tides", {}),
        ("2", "b c d e f", {}),
    ]
    assert reader.report.text_columns == {str(tmp_path / "a.parquet"): "story"}
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InvalidInputError, match="broken"):
        list(documents.read(tmp_path / "b.parquet"))


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("lfm2_retrieval.documents.reading.find_spec", lambda name: None)
    (tmp_path / "a.pdf").write_bytes(made.pdf([["x"]]))
    (tmp_path / "b.md").write_text("b")
    reader = documents.read(tmp_path)
    assert [document.id for document in reader] == ["b.md"]
    assert "pip install 'lfm2-retrieval[documents]'" in reader.report.summary()
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[documents\]"):
        documents.read(tmp_path / "a.pdf")
