"""Words and queries of the lexical half, in SQLite's own FTS5."""

import sqlite3

import pytest

from lfm2_retrieval.indexes.lexical import match_expression, words

DOCUMENTS = [
    "The cats are running: crème brûlée!",
    "機械学習は楽しい。",
    "한국어 검색 엔진을 만들다",
    "中国",
    "العَرَبِيَّةُ إلى الآن",
    "ΟΔΟΣ Straße",
    "AI搜索引擎 2.0",
    "ภาษาไทยสวยงาม",
]


@pytest.fixture
def search():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5 (words, content='', tokenize='porter ascii')")
    for number, text in enumerate(DOCUMENTS):
        connection.execute("INSERT INTO f (rowid, words) VALUES (?, ?)", (number, words(text)))

    def found(query):
        expression = match_expression(query)
        if expression is None:
            return []
        rows = connection.execute("SELECT rowid FROM f WHERE f MATCH ? ORDER BY rank", (expression,))
        return [number for (number,) in rows]

    yield found
    connection.close()


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("cat", 0),
        ("RUN", 0),
        ("creme", 0),
        ("brulée", 0),
        ("学習", 1),
        ("楽しい", 1),
        ("검색", 2),
        ("엔진", 2),
        ("中", 3),
        ("国", 3),
        ("中国", 3),
        ("العربية", 4),
        ("الى", 4),
        ("οδος", 5),
        ("STRASSE", 5),
        ("引擎", 6),
        ("ai", 6),
        ("ไทย", 7),
    ],
)
def test_finds(search, query, number):
    assert search(query)[0] == number


@pytest.mark.parametrize("query", ["", "  ", "?!", '"', "*", "😀", "\x00", "\ud800", "()", "^-+:"])
def test_a_query_without_words_finds_nothing(search, query):
    assert match_expression(query) is None
    assert search(query) == []


@pytest.mark.parametrize(
    "query",
    [
        'cat" OR "dog',
        "cat AND NOT dog",
        "NEAR(cat dog)",
        "words:cat",
        "cat*",
        "{words} : cat",
        "cat ^ dog",
        "'; DROP TABLE f; --",
        "cat\x00dog",
        "cat \ud800",
        "(((((cat",
        "cat " * 5000,
        " ".join(f"w{i}" for i in range(5000)) + " cat",
    ],
)
def test_operators_are_text(search, query):
    search(query)
    if "cat" in query[:20]:
        assert search(query) == [0]


def test_arabic_hebrew_and_latin_signs_do_not_count():
    assert words("שָׁלוֹם") == words("שלום")
    assert words("كِتَابٌ") == words("كتاب")
    assert words("ÀÉÎõü") == "aeiou"
    assert words("がぎぐ ガギグ") == "がぎ ぎぐ ぐ ガギ ギグ グ"  # a voiced sign makes another letter
