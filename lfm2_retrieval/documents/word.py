"""Word files before they are parsed: kreuzberg 4.10 loses characters that are written as entities."""

from __future__ import annotations

import io
import re
import zipfile

__all__ = ["protect", "restore"]

_ENTITY = re.compile(rb"&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));")
_NAMES = {b"lt": "<", b"gt": ">", b"amp": "&", b"quot": '"', b"apos": "'"}
_STAND_INS = {"<": "\ufdd0", ">": "\ufdd1", "&": "\ufdd2"}
"""Code points that are no characters, so that no text holds them."""
_BACK = str.maketrans({stand_in: character for character, stand_in in _STAND_INS.items()})
_MOST = 100 << 20
"""How long a part may be; the parser's own limit."""


def protect(data: bytes) -> bytes:
    """A Word file whose entities are characters, stand-ins where XML needs those itself."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.infolist():
            if entry.filename.startswith("word/media/"):
                continue
            content = b"" if entry.file_size > _MOST else source.read(entry)
            if entry.file_size > _MOST:
                return data  # refused by the parser
            if entry.filename.startswith("word/") and entry.filename.endswith(".xml") and b"&" in content:
                # Attributes keep theirs: a quote would end them.
                content = re.sub(rb">([^<]*&[^<]*)<", lambda one: b">" + _text(one[1]) + b"<", content)
            target.writestr(entry.filename, content)
    return buffer.getvalue()


def _text(text: bytes) -> bytes:
    def character(found: re.Match[bytes]) -> bytes:
        if found[1]:
            plain = _NAMES[found[1]]
        else:
            number = int(found[2]) if found[2] else int(found[3], 16)
            if number > 0x10FFFF or number < 32 or 0xD800 <= number < 0xE000:
                return found[0]
            plain = chr(number)
        return _STAND_INS.get(plain, plain).encode()

    return _ENTITY.sub(character, text)


def restore(text: str) -> str:
    """A text with the characters in the place of their stand-ins."""
    return text.translate(_BACK) if max(text, default="") >= "\ufdd0" else text
