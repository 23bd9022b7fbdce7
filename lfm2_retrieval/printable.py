"""Strings that somebody else wrote, made safe to show: nothing in them steers a terminal or hides.

What a name, a setting or a document holds may be controls that move the cursor, recolour or erase what was
printed before; marks that turn the direction of writing around, so that ``exe.txt`` reads ``txt.exe``; line
separators; and characters without width, which make two different names look alike. Ordinary text of all
scripts has joiners and variation selectors, too: those stay where they can mean something, beside what they
join or vary.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["printable", "quoted", "without_hidden"]

_ALWAYS = (
    "\x00-\x1f\x7f-\x9f"  # controls
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # direction
    "\u2028\u2029"  # lines and paragraphs
    "\u200b\u2060-\u2065\ufeff\u180e\u00ad\u3164\uffa0\u17b4\u17b5\u2800"  # no width, or nothing to see
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\ufdd0-\ufdef\ufffe\uffff"  # no characters
    "\ud800-\udfff"  # half of one
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags, but for the flags below
)
_SELECTORS = {
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xE0100, 0xE01F0)),
    *"\u180b\u180c\u180d\u180f",
}
_JOINERS = "\u200c\u200d\u034f\u115f\u1160\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef"
_SUSPECT = re.compile(f"[{_ALWAYS}{_JOINERS}]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
"""A black flag and the tags that say whose it is: England's, Scotland's …"""
_JOINING = re.compile(
    "[\u0590-\u10ff\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00012000]"
)


def printable(text: str, keep: str = "") -> str:
    r"""``text`` with each character that steers or hides as an escape, such as ``\x1b`` or ``\u202e``.

    Parameters
    ----------
    text
        What somebody else may have written.
    keep
        Characters that stay, such as a line feed.
    """
    if text.isascii() and text.isprintable():
        return text
    return _replaced(text, keep, escape=True)


def quoted(value: object, most: int = 80) -> str:
    """A value as errors show it: its ``repr``, printable and not too long."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # whole numbers of too many digits, nested without end
        text = type(value).__name__
    cut = text[:most] + "…" * (len(text) > most)
    return printable(repr(cut) if isinstance(value, str) else cut)


def without_hidden(text: str) -> str:
    """``text`` for reading: controls and separators are blanks, what hides is left out."""
    if text.isascii() and text.isprintable():
        return text
    return _replaced(text, "", escape=False)


def _replaced(text: str, keep: str, *, escape: bool) -> str:
    flags = [found.span() for found in _FLAG.finditer(text)]

    def replace(found: re.Match[str]) -> str:
        at, character = found.start(), found[0]
        if character in keep or any(start < at < end for start, end in flags):
            return character
        if _belongs(text, at):
            return character
        if escape:
            return _escape(character)
        if "\ud800" <= character <= "\udfff":
            return "\ufffd"
        return " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else ""

    return _SUSPECT.sub(replace, text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _belongs(text: str, at: int) -> bool:
    """Whether a joiner or a variation selector stands where one can mean something."""
    character, before = text[at], text[at - 1 : at]
    after = text[at + 1 : at + 2]
    if character in "\u200c\u200d":
        return _joins(before) and (_joins(after) or unicodedata.category(before) == "Mn")
    if character == "\u034f":
        return any(one and unicodedata.category(one) == "Mn" for one in (before, after))
    if character in "\u115f\u1160":  # placeholders in syllables of old Korean
        return _is_jamo(before) or _is_jamo(after)
    return character in _SELECTORS and _is_base(before)


def _joins(character: str) -> bool:
    """Whether it is of a script whose letters join, or an emoji or what varies one."""
    if not character:
        return False
    kind = unicodedata.category(character)
    return kind in ("So", "Sk", "Mn") or (kind[0] in "LMN" and bool(_JOINING.match(character)))


def _is_base(character: str) -> bool:
    """Whether it is something to see: a single selector behind it chooses its form."""
    if not character or _SUSPECT.match(character) or character.isspace():
        return False
    return unicodedata.category(character)[0] in "LMNSP"


def _is_jamo(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff" and character not in "\u115f\u1160"
