"""Small files of every format, built by hand, so that no test needs a library that writes them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from xml.sax.saxutils import escape

XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
OFFICE = "http://schemas.openxmlformats.org"
PACKAGE = f"{OFFICE}/package/2006"
TYPES = f"{OFFICE}/officeDocument/2006/relationships"


def zipped(files: Mapping[str, str | bytes], first: str | None = None) -> bytes:
    """A zip of some files; ``first`` is stored without compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            kind = zipfile.ZIP_STORED if name == first else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=kind)
    return buffer.getvalue()


def relations(targets: Mapping[str, tuple[str, str]]) -> str:
    """The relationships of a part of an Office file: id → (kind, target)."""
    inner = "".join(
        f'<Relationship Id="{id}" Type="{TYPES}/{kind}" Target="{target}"/>'
        for id, (kind, target) in targets.items()
    )
    return f'{XML}<Relationships xmlns="{PACKAGE}/relationships">{inner}</Relationships>'


def content_types(parts: Mapping[str, str]) -> str:
    """The types of an Office file's parts."""
    inner = "".join(f'<Override PartName="/{part}" ContentType="{kind}"/>' for part, kind in parts.items())
    return (
        f'{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{inner}</Types>'
    )


def pdf(pages: Iterable[Sequence[str]], extra: str = "") -> bytes:
    """A PDF of pages of lines, of which one with ``# `` is large; ``extra`` comes into the trailer."""
    pages = list(pages)
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for i, lines in enumerate(pages):
        y, drawn = 760, []
        for line in lines:
            size = 24 if line.startswith("# ") else 11
            shown = line.removeprefix("# ").replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
            y -= size + 8
            drawn.append(f"BT /F1 {size} Tf 72 {y} Td ({shown}) Tj ET")
        stream = "\n".join(drawn)
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    n, at = len(objects) + 1, len(out)
    out += f"xref\n0 {n}\n0000000000 65535 f \n{table}"
    out += f"trailer\n<< /Size {n} /Root 1 0 R {extra} >>\nstartxref\n{at}\n%%EOF\n"
    return out.encode("cp1252")


def docx(blocks: Iterable[tuple[str, str]]) -> bytes:
    """A Word file of (style, text): ``Heading1`` …, ``Normal``; ``break`` begins a page."""
    word = f"{OFFICE}/wordprocessingml/2006/main"
    body = ""
    for style, text in blocks:
        if style == "break":
            body += '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
            continue
        body += f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{i}"><w:name w:val="heading {i}"/>'
        f'<w:pPr><w:outlineLvl w:val="{i - 1}"/></w:pPr></w:style>'
        for i in (1, 2, 3)
    )
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    return zipped(
        {
            "[Content_Types].xml": content_types(
                {"word/document.xml": f"{kind}.document.main+xml", "word/styles.xml": f"{kind}.styles+xml"}
            ),
            "_rels/.rels": relations({"rId1": ("officeDocument", "word/document.xml")}),
            "word/_rels/document.xml.rels": relations({"rId1": ("styles", "styles.xml")}),
            "word/document.xml": f'{XML}<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": f'{XML}<w:styles xmlns:w="{word}">{styles}</w:styles>',
        }
    )


def xlsx(sheets: Mapping[str, Sequence[Sequence[str | int | float]]]) -> bytes:
    """A workbook: name of sheet → rows of cells."""
    main = f"{OFFICE}/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files: dict[str, str | bytes] = {}
    listed, targets, types = "", {}, {"xl/workbook.xml": f"{kind}.sheet.main+xml"}
    for number, (name, rows) in enumerate(sheets.items(), 1):
        data = ""
        for r, row in enumerate(rows, 1):
            cells = ""
            for c, value in enumerate(row):
                at = f"{chr(65 + c)}{r}"
                if isinstance(value, str):
                    cells += f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
                else:
                    cells += f'<c r="{at}"><v>{value}</v></c>'
            data += f'<row r="{r}">{cells}</row>'
        part = f"worksheets/sheet{number}.xml"
        files[f"xl/{part}"] = f'{XML}<worksheet xmlns="{main}"><sheetData>{data}</sheetData></worksheet>'
        listed += f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
        targets[f"rId{number}"] = ("worksheet", part)
        types[f"xl/{part}"] = f"{kind}.worksheet+xml"
    return zipped(
        {
            "[Content_Types].xml": content_types(types),
            "_rels/.rels": relations({"rId1": ("officeDocument", "xl/workbook.xml")}),
            "xl/_rels/workbook.xml.rels": relations(targets),
            "xl/workbook.xml": f'{XML}<workbook xmlns="{main}" xmlns:r="{TYPES}"><sheets>{listed}</sheets>'
            "</workbook>",
            **files,
        }
    )


def pptx(slides: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    """A presentation of (title, paragraphs)."""
    show, draw = f"{OFFICE}/presentationml/2006/main", f"{OFFICE}/drawingml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.presentationml"
    spaces = f'xmlns:p="{show}" xmlns:a="{draw}" xmlns:r="{TYPES}"'
    files: dict[str, str | bytes] = {}
    listed, targets, types = "", {}, {"ppt/presentation.xml": f"{kind}.presentation.main+xml"}

    def shape(id: int, name: str, paragraphs: Sequence[str], placeholder: str) -> str:
        texts = "".join(f"<a:p><a:r><a:t>{escape(one)}</a:t></a:r></a:p>" for one in paragraphs)
        return (
            f'<p:sp><p:nvSpPr><p:cNvPr id="{id}" name="{name}"/><p:cNvSpPr/><p:nvPr>{placeholder}</p:nvPr>'
            f"</p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/>{texts}</p:txBody></p:sp>"
        )

    for number, (title, paragraphs) in enumerate(slides, 1):
        shapes = shape(2, "Title", [title], '<p:ph type="title"/>')
        shapes += shape(3, "Content", paragraphs, '<p:ph idx="1"/>')
        files[f"ppt/slides/slide{number}.xml"] = (
            f'{XML}<p:sld {spaces}><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/>'
            f"<p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:sld>"
        )
        listed += f'<p:sldId id="{255 + number}" r:id="rId{number}"/>'
        targets[f"rId{number}"] = ("slide", f"slides/slide{number}.xml")
        types[f"ppt/slides/slide{number}.xml"] = f"{kind}.slide+xml"
    return zipped(
        {
            "[Content_Types].xml": content_types(types),
            "_rels/.rels": relations({"rId1": ("officeDocument", "ppt/presentation.xml")}),
            "ppt/_rels/presentation.xml.rels": relations(targets),
            "ppt/presentation.xml": f"{XML}<p:presentation {spaces}><p:sldIdLst>{listed}</p:sldIdLst>"
            "</p:presentation>",
            **files,
        }
    )


def odt(blocks: Iterable[tuple[int, str]]) -> bytes:
    """An OpenDocument text of (level of heading or 0, text)."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text")
    )
    body = "".join(
        f'<text:h text:outline-level="{level}">{escape(text)}</text:h>'
        if level
        else f"<text:p>{escape(text)}</text:p>"
        for level, text in blocks
    )
    kind = "application/vnd.oasis.opendocument.text"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    return zipped(
        {
            "mimetype": kind,
            "META-INF/manifest.xml": f'{XML}<manifest:manifest xmlns:manifest="{manifest}">'
            f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
            '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
            "</manifest:manifest>",
            "content.xml": f"{XML}<office:document-content {spaces}><office:body><office:text>{body}"
            "</office:text></office:body></office:document-content>",
        },
        first="mimetype",
    )


def epub(chapters: Mapping[str, str]) -> bytes:
    """A book: title of a chapter → its text."""
    items = spine = ""
    files: dict[str, str | bytes] = {}
    for i, (title, text) in enumerate(chapters.items(), 1):
        items += f'<item id="c{i}" href="c{i}.xhtml" media-type="application/xhtml+xml"/>'
        spine += f'<itemref idref="c{i}"/>'
        files[f"OEBPS/c{i}.xhtml"] = (
            f'{XML}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{escape(title)}</title></head>'
            f"<body><h1>{escape(title)}</h1><p>{escape(text)}</p></body></html>"
        )
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f'{XML}<container version="1.0" '
            'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
            'full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles>'
            "</container>",
            "OEBPS/content.opf": f'{XML}<package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
            'unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A book'
            '</dc:title><dc:identifier id="id">1</dc:identifier><dc:language>en</dc:language></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
            **files,
        },
        first="mimetype",
    )


def rtf(blocks: Iterable[str]) -> bytes:
    """Rich text of some paragraphs; other letters than ASCII are escaped."""

    def plain(text: str) -> str:
        return "".join(c if ord(c) < 128 else f"\\u{ord(c)}?" for c in text)

    return ("{\\rtf1\\ansi\\deff0 " + "\\par ".join(map(plain, blocks)) + "\\par}").encode("ascii")


def html(title: str, body: str) -> bytes:
    """A page with navigation, a script, a style and a footer around its text."""
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>.secret-style {{ color: red }}</style><script>var secretScript = 1;</script></head>
<body><nav><ul><li><a href="/">Navigation entry</a></li></ul></nav>
<main>{body}</main><script>secretScript();</script></body></html>""".encode()


def eml(subject: str, text: str) -> bytes:
    """A mail."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "Ada <ada@example.org>", "Grace <grace@example.org>"
    mail["Subject"], mail["Date"] = subject, "Mon, 02 Nov 2026 10:00:00 +0000"
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content(text)
    return mail.as_bytes()


def msg(subject: str, text: str) -> bytes:
    """A mail as Outlook keeps it: a compound file of a few streams."""

    def utf16(value: str) -> bytes:
        return value.encode("utf-16-le")

    header = bytes(32)
    streams = {
        "__substg1.0_001A001F": utf16("IPM.Note"),
        "__substg1.0_0037001F": utf16(subject),
        "__substg1.0_0C1A001F": utf16("Ada"),
        "__substg1.0_0C1F001F": utf16("ada@example.org"),
        "__substg1.0_1000001F": utf16(text),
        "__properties_version1.0": header,
    }
    return compound(streams)


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file (OLE) with some streams at its root, each padded to live in whole sectors."""
    free, end, fat_sector = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    names = sorted(streams, key=lambda name: (len(name), name.upper()))
    n_directory = -(-(len(names) + 1) // 4)
    fat = [fat_sector, *range(2, n_directory + 1), end]
    data, entries = b"", []
    for name in names:
        content = streams[name]
        size = max(len(content), 4096)  # shorter ones would lie in the small streams
        content = content.ljust(-(-size // 512) * 512, b"\0")
        start, n = len(fat), len(content) // 512
        fat += [*range(start + 1, start + n), end]
        data += content
        entries.append((name, start, size if len(streams[name]) < 4096 else len(streams[name])))
    assert len(fat) <= 128

    def entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
        coded = name.encode("utf-16-le") + b"\0\0"
        return (
            coded.ljust(64, b"\0")
            + struct.pack("<HBB", len(coded), kind, 1)
            + struct.pack("<III", free, right, child)
            + bytes(16 + 4 + 16)
            + struct.pack("<IQ", start, size)
        )

    directory = entry("Root Entry", 5, free, 1 if names else free, end, 0)
    for i, (name, start, size) in enumerate(entries, 1):
        directory += entry(name, 2, i + 1 if i < len(entries) else free, free, start, size)
    empty = bytes(64) + struct.pack("<HBB", 0, 0, 0) + struct.pack("<III", free, free, free) + bytes(48)
    directory += empty * (n_directory * 4 - len(entries) - 1)
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    head += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0)
    head += struct.pack("<I", 0) + struct.pack("<I", free) * 108
    table = struct.pack(f"<{len(fat)}I", *fat) + struct.pack("<I", free) * (128 - len(fat))
    return head + table + directory + data


def write(folder: Path) -> dict[str, Path]:
    """A file of each format, all with the same two sections."""
    made = {
        "paper.pdf": pdf(
            [
                ["# Tides", "The Moon pulls the sea up twice a day."],
                ["# Waves", "Wind makes waves far out at sea."],
            ]
        ),
        "report.docx": docx(
            [
                ("Heading1", "Tides"),
                ("Normal", "The Moon pulls the sea up twice a day."),
                ("Heading1", "Waves"),
                ("Normal", "Wind makes waves far out at sea."),
            ]
        ),
        "table.xlsx": xlsx(
            {
                "Ports": [["port", "tide"], ["Brest", 7.5], ["Dover", 6]],
                "Winds": [["wind", "strength"], ["breeze", 3], ["gale", 8]],
            }
        ),
        "talk.pptx": pptx(
            [
                ("Tides", ["The Moon pulls the sea up twice a day."]),
                ("Waves", ["Wind makes waves far out at sea."]),
            ]
        ),
        "letter.odt": odt(
            [
                (1, "Tides"),
                (0, "The Moon pulls the sea up twice a day."),
                (1, "Waves"),
                (0, "Wind makes waves far out at sea."),
            ]
        ),
        "note.rtf": rtf(
            ["The Moon pulls the sea up twice a day.", "Größe: Wind makes waves far out at sea."]
        ),
        "book.epub": epub(
            {
                "Tides": "The Moon pulls the sea up twice a day.",
                "Waves": "Wind makes waves far out at sea.",
            }
        ),
        "page.html": html(
            "The sea",
            "<h1>Tides</h1><p>The Moon pulls the sea up twice a day.</p>"
            "<h2>Waves</h2><p>Wind makes waves far out at sea. — größer</p>",
        ),
        "mail.eml": eml("Tides", "The Moon pulls the sea up twice a day.\n\nGrüße, Ada\n"),
        "mail.msg": msg("Tides", "The Moon pulls the sea up twice a day."),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in made}
