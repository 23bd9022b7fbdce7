"""What a file is by its first bytes, which count for more than its name."""

from __future__ import annotations

import io
import zipfile
from typing import BinaryIO

__all__ = ["HEAD", "RICH", "archive_kind", "rich_kind", "sniff"]

HEAD = 4096
"""How many bytes `sniff` looks at."""

_OPEN = "application/vnd.openxmlformats-officedocument"
_MACROS = "application/vnd.ms"
RICH = {
    "pdf": "application/pdf",
    "docx": f"{_OPEN}.wordprocessingml.document",
    "pptx": f"{_OPEN}.presentationml.presentation",
    "xlsx": f"{_OPEN}.spreadsheetml.sheet",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "html": "text/html",
    "eml": "message/rfc822",
    "msg": f"{_MACROS}-outlook",
}
"""The formats that need a parser, and their media types."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BEFORE_PDF = 64
"""How far from the beginning a PDF may begin: some have a line of a mail or a printer before it."""
_CONTAINERS = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
    "ole": (_OLE,),
    "gzip": (b"\x1f\x8b",),
    "parquet": (b"PAR1",),
}
_PARTS = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}
_NO_TEXT = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"),
    *(b"OggS", b"ID3", b"fLaC", b"wOFF", b"wOF2"),
    *(b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
    *(b"\x7fELF", b"\xca\xfe\xba\xbe", b"\0asm", b"SQLite format 3\0"),
)


def sniff(head: bytes) -> str | None:
    """What a file's first bytes say.

    Returns
    -------
    str or None
        A key of `RICH`; ``zip`` (an archive, or what is one inside: see `archive_kind`), ``ole`` (see
        `rich_kind`), ``gzip``, ``parquet`` or ``binary``. None: nothing, as of text.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for kind, magic in (
        ("zip", b"PK\x03\x04"),
        ("zip", b"PK\x05\x06"),
        ("ole", _OLE),
        ("gzip", b"\x1f\x8b"),
        ("parquet", b"PAR1"),
    ):
        if head.startswith(magic):
            return kind
    if head.startswith(b"%PDF") or b"%PDF-" in head[:_BEFORE_PDF]:
        return "pdf"
    if start.startswith(b"{\\rtf"):
        return "rtf"
    if start[:200].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if head.startswith(_NO_TEXT) or head[4:8] == b"ftyp" or head[:4] == b"RIFF":
        return "binary"
    return None


def archive_kind(data: bytes | BinaryIO) -> str | None:
    """What a zip is by the names in it: a key of `RICH`, ``encrypted``; None for another archive.

    Raises
    ------
    zipfile.BadZipFile
        If it is none, as where it is cut off.
    """
    with zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data) as archive:
        entries = archive.infolist()
        if any(entry.flag_bits & 1 for entry in entries):
            return "encrypted"
        names = {entry.filename for entry in entries}
        for kind, part in (
            ("docx", "word/document.xml"),
            ("xlsx", "xl/workbook.xml"),
            ("pptx", "ppt/presentation.xml"),
        ):
            if part in names:
                return kind
        if "xl/workbook.bin" in names:
            return None
        if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
            kind = archive.read("mimetype").decode("ascii", "replace").strip()
            if "META-INF/manifest.xml" in names:
                with archive.open("META-INF/manifest.xml") as manifest:
                    if b"encryption-data" in manifest.read(1 << 20):
                        return "encrypted"
            return next(
                (name for name, media in RICH.items() if media == kind.removesuffix("-template")), None
            )
    return None


def rich_kind(data: bytes) -> str | None:
    """What a compound file is: ``msg``, ``encrypted`` (Office with a password); None for anything else."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "encrypted"
    if "__substg1.0_".encode("utf-16-le") in data or "__properties_version1.0".encode("utf-16-le") in data:
        return "msg"
    return None
