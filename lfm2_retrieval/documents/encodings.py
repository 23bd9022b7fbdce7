"""Which encoding a file's bytes are in, by marks, by being valid, else by a detector where that is sure.

What is in doubt is not guessed: whoever reads it is told, and can name the encoding.
"""

from __future__ import annotations

import codecs
from importlib.util import find_spec

__all__ = ["DETECTOR", "decode_text", "detect_encoding"]

DETECTOR = "charset_normalizer"
"""The package that tells encodings which have no mark; a part of the extra ``documents``."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 16
_APART = 0.1
_CANDIDATES = [
    *(f"cp125{i}" for i in range(8)),
    *("koi8_r", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
    *("iso8859_2", "iso8859_5", "tis_620"),
]
_WESTERN = frozenset(
    "äöüßÄÖÜéèêëàâáçîïíôòóõûùúñãåæøœÉÈÊËÀÂÁÇÎÏÍÔÒÓÕÛÙÚÑÅÆØŒìÌªº«»‹›„“”‚‘’–—…•·¿¡€£§°©®™²³½¼¾×±µ´\xa0"
)
"""Not ``Â`` and ``Ã``, as which UTF-8 shows when it is misread."""


def detect_encoding(data: bytes) -> str | None:
    """The encoding of some bytes, as Python calls it; None if nothing tells it, as of binary ones.

    Parameters
    ----------
    data
        A whole file.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if b"\0" in data[:_SAMPLE]:
            return _utf16(data)
        return _ask(data, error.start)
    if b"\0" in data[:_SAMPLE]:
        return _utf16(data) or "utf-8"  # ASCII with zeros between is valid UTF-8
    return "utf-8"


def decode_text(data: bytes, encoding: str) -> str:
    """Bytes as text.

    Raises
    ------
    UnicodeError
        If they are not in the encoding.
    """
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a mark is no text
    return data.decode(encoding)


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: zeros in every second byte of what is mostly ASCII."""
    sample = data[:_SAMPLE]
    even, odd = sample[::2], sample[1::2]
    if len(data) % 2 or not odd:
        return None
    for name, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high.count(0) > 0.4 * len(high) and low.count(0) < 0.02 * len(low):
            try:
                data.decode(name)
            except UnicodeDecodeError:
                return None
            return name
    return None


def _ask(data: bytes, at: int) -> str | None:
    """What the bytes around the first that isn't UTF-8 say; None if that is in doubt."""
    start = max(0, at - _SAMPLE // 2)
    sample = data[start : start + _SAMPLE]
    if _is_damaged_utf8(sample):
        return None
    if _is_western(sample) and _is_valid(data, "cp1252"):
        return "cp1252"
    if find_spec(DETECTOR) is None:
        return None
    from charset_normalizer import from_bytes

    found = list(from_bytes(sample, cp_isolation=_CANDIDATES))
    if not found:
        return None
    best = found[0]
    sure = best.coherence > 0 or len(found) == 1 or found[1].chaos > best.chaos + _APART
    name = codecs.lookup(best.encoding).name
    return name if sure and _is_valid(data, name) else None


def _is_valid(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether most of what isn't ASCII is UTF-8: some bytes of such a text are broken."""
    text = sample.decode("utf-8", "replace")
    right = sum(character > "\x7f" and character != "\ufffd" for character in text)
    return right > text.count("\ufffd")


def _is_western(sample: bytes) -> bool:
    """Whether it reads as a text with some of the letters and quotes of Western European languages."""
    text = sample.decode("cp1252", "replace")
    beyond = [character for character in text if character > "\x7f"]
    letters = sum(map(str.isalpha, text))
    return set(beyond) <= _WESTERN and len(beyond) <= 0.3 * max(letters, 1)
