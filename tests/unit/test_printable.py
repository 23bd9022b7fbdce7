"""What steers or hides is shown as an escape; ordinary text of all scripts stays."""

import unicodedata

import pytest

from lfm2_retrieval.errors import IndexExistsError, RetrievalError, UnknownIdError
from lfm2_retrieval.printable import printable, quoted, without_hidden

ORDINARY = [
    "Grüße aus Köln – „zitiert“ … ½ €",
    "Tiếng Việt, e\u0301, n\u0303",
    "Ελληνικά, русский, հայերեն, ქართული",
    "שָׁלוֹם עוֹלָם",
    "مرحبا، می\u200cخواهم، کتاب\u200cها",
    "हिन्दी क्\u200dष, क्\u200c, বাংলা র\u200d্য, தமிழ், ක්\u200dරී",
    "ไทย ລາວ ភាសាខ្មែរ မြန်မာ བོད་སྐད",
    "日本語、한국어、中文, 葛\U000e0100, ᄀᆞ",
    "ᠮᠣᠩᠭᠣᠯ\u180bᠠ",
    "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 👩🏽\u200d🚀",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3 🇩🇪",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𒀀 \ue000",
    "C:\\path\\x1b and \\u202e as they are written",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text):
    assert printable(text) == text
    assert without_hidden(text) == text


HIDDEN = [
    *map(chr, (*range(32), *range(0x7F, 0xA0))),
    *"\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069",
    *"\u206a\u206f\u2028\u2029\ufeff\u180e\u00ad\u3164\uffa0\u115f\u1160\u034f\ufff9\ufffb\ufffe\ufdd0",
    *"\u200c\u200d\U000e0001\U000e0041\U000e007f\U0001d173\ud800\udfff",
]


@pytest.mark.parametrize("character", HIDDEN, ids=lambda one: f"{ord(one):x}")
def test_what_steers_or_hides_is_an_escape(character):
    for text in (f"pay{character}pal", f"{character}x", f"x{character}", f"я{character}я", f"1{character} "):
        shown = printable(text)
        assert character not in shown
        assert f"{ord(character):x}" in shown
        assert character not in without_hidden(text)
    assert printable(f"a{character}b", keep=character) == f"a{character}b"


def test_variation_selectors_carry_no_message():
    smuggled = "😀" + "".join(chr(0xE0100 + byte) for byte in b"secret")
    assert printable(smuggled).count("\\U000e01") == 5
    assert without_hidden(smuggled) == smuggled[:2]
    assert printable(" \ufe0f") == " \\ufe0f"


def test_all_controls_and_formats_are_known():
    """Of all characters without a form of their own, only those stay that are seen, or join."""
    left = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Cs")
    ]
    shown = [one for one in left if printable(f"x{one}x") == f"x{one}x"]
    numbers = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    assert {one for one in shown if not 0x13430 <= ord(one) <= 0x1345F} == set(numbers)


def test_values_are_quoted_short():
    assert quoted("a\x1b") == "'a\\x1b'"
    assert quoted("'\u202e") == '"\'\\u202e"'
    assert len(quoted("x" * 1000)) < 100
    assert len(quoted(list(range(1000)))) < 100
    assert quoted(float("nan")) == "nan"
    assert quoted(10**5000) == "int"
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert quoted(deep) == "list"


@pytest.mark.parametrize("kind", [RetrievalError, IndexExistsError, UnknownIdError])
def test_messages_of_errors_are_printable(kind):
    assert str(kind("no \x1b[2J at\n\u202e")) == "no \\x1b[2J at\n\\u202e"
