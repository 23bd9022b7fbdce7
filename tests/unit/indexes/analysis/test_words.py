"""Words of many scripts, words with signs, their ranking, the stemmer, and indexes of the first analysis."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support import embeddings

from lfm2_retrieval import Index, SearchParams
from lfm2_retrieval.errors import DamagedIndexError
from lfm2_retrieval.indexes.analysis import words_v1 as lexical_v1
from lfm2_retrieval.indexes.analysis.stemmer import stem
from lfm2_retrieval.indexes.analysis.versions import ANALYSES, ANALYSIS, SETTING
from lfm2_retrieval.indexes.analysis.words import query_words, terms, words
from lfm2_retrieval.indexes.catalogue.derived import derive
from lfm2_retrieval.indexes.catalogue.fts import drop_words, make_words
from lfm2_retrieval.indexes.catalogue.schema import read_settings, write_settings

GOLDEN = Path(__file__).parents[4] / "indexes" / "golden" / "format-1"


def index_of(texts, path=None):
    index = Index.create(path, 16, tier="exact")
    index.add([str(i) for i in range(len(texts))], embeddings([2] * len(texts)), texts)
    return index


def asked(index, *queries, k=100):
    params = SearchParams(k, mode="lexical")
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(None, params, texts=queries)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी किताब", "हिन्दी किताब"),
        ("বাংলা ভাষা", "বাংলা ভাষা"),
        ("ਪੰਜਾਬੀ", "ਪੰਜਾਬੀ"),
        ("ગુજરાતી", "ગુજરાતી"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("తెలుగు", "తెలుగు"),
        ("ಕನ್ನಡ", "ಕನ್ನಡ"),
        ("മലയാളം", "മലയാളം"),
        ("සිංහල", "සිංහල"),
        ("བོད་སྐད།", "བོད སྐད"),
        ("አማርኛ ቋንቋ", "አማርኛ ቋንቋ"),
        ("ქართული ენა", "ქართული ენა"),
        ("Հայերեն լեզու", "հայերեն լեզու"),
        ("ދިވެހި", "ދިވެހި"),
        ("العَرَبِيَّةُ", "العربيه"),
        ("שָׁלוֹם־עולם", "שלום עולם"),
        ("Ελληνικά ΟΔΟΣ", "ελληνικα οδοσ"),
        ("Русский ёж", "русскии еж"),
        ("Tiếng Việt, Ünïcödé", "tieng viet unicode"),
        ("می‌خواهم", "ميخواهم"),
        ("co\u00adoperate", "cooperate"),
        ("١٢٣ ४५६ ๗๘๙", "123 456 789"),
        ("ไทย", "ไท ทย ย"),
        ("น้ำดื่ม", "น้ํา าดื่ ดื่ม ม"),
        ("ພາສາລາວ", "ພາ າສ ສາ າລ ລາ າວ ວ"),
        ("ភាសាខ្មែរ", "ភាសា សាខ្ ខ្មែ មែរ រ"),
        ("မြန်မာ", "မြန် န်မာ မာ"),
        ("한국어", "한국 국어 어"),
        ("がぎぐ", "がぎ ぎぐ ぐ"),
        ("東京都の雨 rain", "東京 京都 都の の雨 雨 rain"),
        ("The Fox's den", "the fox s den"),
        ("❤️ 1️⃣ \u0301\u0301x", "1 x"),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words(text).split() == unicodedata.normalize("NFKC", expected).split()
    for form in ("NFC", "NFD"):
        assert words(unicodedata.normalize(form, text)) == words(text)


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("C++", "c++"),
        ("C#, F#.", "c# f#"),
        ("(.NET)", ".net"),
        ("ASP.NET", "asp.net"),
        ("C++17", "c++ c++17"),
        ("C++/C#", "c++ c# c++/c#"),
        ("C++语言", "c++"),
        ("node.js.", "node.js"),
        ("POL-358", "pol358"),
        ("POL–358 ＰＯＬ‐３５８", "pol358 pol358"),
        ("foo_bar", "foobar"),
        ("3.14", "3.14"),
        ("v1.2.3", "v1.2.3"),
        ("2024-01-15", "2024-01-15"),
        ("e-mail", "email"),
        ("AT&T", "at&t"),
        ("@user #tag", "@user #tag"),
        ("user@host.com", "user@host.com"),
        ("src/foo/bar.py", "src/foo/bar.py"),
        ("std::vector", "std::vector"),
        ("наука-2", "наука2"),
        ("a -- b; x... ...y", ""),
        ("End. Next - one / two & three + four", ""),
        ("E4012 plain", ""),
        ("x" * 40 + "-" + "y" * 40, ""),
    ],
)
def test_what_signs_join_is_a_term_besides(text, forms):
    found, length = terms(text)
    assert found[length:] == forms.split()
    assert words(text).split()[length:] == forms.split()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("C++", {"0", "1"}),
        ("c++ templates", {"0"}),
        ("C#", {"2"}),
        (".NET", {"3"}),
        ("asp.net", {"4"}),
        ("POL-358", {"6", "7"}),
        ("pol_358", {"6", "7"}),
        ("POL358", {"6", "7"}),
        ("node.js", {"10"}),
        ("AT&T", {"12"}),
        ("v1.2.3", {"14"}),
        ("email", {"16"}),
        ("@user", {"17"}),
    ],
)
def test_what_has_the_signs_comes_first(query, first):
    texts = [
        "C++ has templates, classes, and much that nobody asked for, and has had them for a long time now",
        "Written in C++17, with some C.",
        "C# has properties, which is a long story that we shall tell at another time and place than this one",
        "Runs on .NET, wherever there is a runtime, and where there is none it does not run at all",
        "A page of ASP.NET",
        "C C C C C C",
        "The ticket POL-358 was closed; nobody remembers when, or why, or who it was",
        "See pol-358.",
        "POL POL POL 358 358",
        "POL-359 and POL-35, 358",
        "A server in Node.js for everything that one may want to serve to others",
        "node node node js js js",
        "A bill of AT&T, among many other bills of other firms whose names have no signs",
        "at at at t t t",
        "Fixed in v1.2.3 of the library that all of the others need, and which nobody has the time for",
        "v1 2 3 v1 2 3",
        "Write an e-mail, or call.",
        "Ask @user about it, who will know, or who will know somebody who knows what it was",
        "user user user net net net f f",
    ]
    with index_of(texts) as index:
        [hits] = asked(index, query)
        assert {id for id, _ in hits[: len(first)]} == first
        index.verify()


@pytest.mark.parametrize(("query", "found"), [("pol", {"0", "1"}), ("358", {"0", "2"}), ("c", {"3"})])
def test_the_parts_are_found_too(query, found):
    with index_of(["POL-358", "POL-359", "No. 358", "C++"]) as index:
        assert {id for id, _ in asked(index, query)[0]} == found


def test_parts_count_in_full_where_no_document_has_the_form():
    with index_of(["shock waves", "a wave of shocks", "something else"]) as index:
        assert asked(index, "shock-wave") == asked(index, "shock wave")


def test_forms_make_no_text_longer():
    assert terms("C++ and POL-358")[1] == 4


def test_a_word_that_the_query_repeats_counts_as_often():
    with index_of(["apple", "pear", "plum fig"]) as index:
        once, thrice = asked(index, "apple", "apple pear apple apple")
        assert dict(thrice)["0"] == pytest.approx(3 * dict(once)["0"])
        assert dict(thrice)["1"] == pytest.approx(dict(once)["0"])


def test_scores_are_those_of_bm25s():
    bm25s = pytest.importorskip("bm25s")
    rng = np.random.default_rng(1)
    texts = [
        " ".join(f"w{number % 80}q" for number in rng.zipf(1.4, rng.integers(1, 40))) for _ in range(300)
    ]
    split = [text.split() for text in texts]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(word for one in split for word in one))}
    oracle = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    oracle.index(([[vocabulary[word] for word in one] for one in split], vocabulary), show_progress=False)
    with index_of(texts) as index:
        for _ in range(20):
            query = [f"w{number % 80}q" for number in rng.zipf(1.3, 60)]
            ids = [vocabulary[word] for word in query if word in vocabulary]
            expected = 2.2 * oracle.get_scores_from_ids(ids)  # bm25s leaves out the factor k1 + 1
            [hits] = asked(index, " ".join(query), k=1000)
            assert {id for id, _ in hits} == {str(i) for i in np.flatnonzero(expected)}
            for id, score in hits:
                assert score == pytest.approx(expected[int(id)], rel=1e-4)


ENDINGS = """
ational tional enci anci izer logi bli alli entli eli ousli ization ation ator alism iveness fulness ousness
aliti iviti biliti icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent sion
tion ion ou ism ate iti ous ive ize s es sses ies eed ed ing y e ll at bl iz
"""


def test_stems_are_those_of_fts5():
    rng = random.Random(0)
    endings = ENDINGS.split()
    some = ["running", "caresses", "ponies", "hopping", "sky", "relational", "x" * 70, "ab", "größes"]
    for _ in range(4000):
        beginning = "".join(rng.choice("aeiouybcstlwxzé9ш") for _ in range(rng.randint(1, 6)))
        some.append(beginning + "".join(rng.choice(endings) for _ in range(rng.randint(0, 3))))
    some = list(dict.fromkeys(some))
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5 (terms, content='', columnsize=0, tokenize='porter ascii')"
    )
    connection.execute("CREATE VIRTUAL TABLE places USING fts5vocab (words, instance)")
    connection.executemany("INSERT INTO words (rowid, terms) VALUES (?, ?)", enumerate(some))
    stems = {some[row]: term for row, term in connection.execute("SELECT doc, term FROM places")}
    connection.close()
    assert {word: stem(word) for word in some} == stems


def age(index):
    """Give an index the words of the first analysis, as if nothing else had ever made any."""
    with index._views.catalogue.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        drop_words(connection)
        make_words(connection, 1)
        connection.execute("DELETE FROM settings WHERE key = ?", (SETTING,))
        connection.execute("COMMIT")
    path = index.path
    index.close()
    return path


TEXTS = ["C++ cats", "C running", "हिन्दी किताब", "한국어 검색", "crème 猫"]


@pytest.fixture
def old(tmp_path):
    path = age(index_of(TEXTS, tmp_path / "index"))
    with Index.open(path) as index:
        yield index


def analysis(index):
    with index._views.catalogue.reading() as connection:
        return read_settings(connection).get(SETTING, 1)


def test_an_index_of_the_first_analysis_is_searched_by_it(old):
    assert analysis(old) == 1
    old.verify()
    assert [id for id, _ in asked(old, "cat")[0]] == ["0"]
    assert [id for id, _ in asked(old, "검색")[0]] == ["3"]
    assert [id for id, _ in asked(old, "creme")[0]] == ["4"]
    assert {id for id, _ in asked(old, "C++")[0]} == {"0", "1"}
    old.delete(["1"])
    old.merge()
    assert analysis(old) == 1
    old.verify()
    assert [id for id, _ in asked(old, "C++")[0]] == ["0"]


@pytest.mark.parametrize(
    "write",
    [
        lambda index: index.add(["new"], embeddings([1]), ["plum"]),
        lambda index: index.update(["1"], metadata=[{"a": 1}]),
        lambda index: index.configure(lexical=True),
        lambda index: (index.configure(lexical=False), index.configure(lexical=True)),
    ],
)
def test_words_are_made_anew_by_what_writes_to_them(old, write):
    with Index.open(old.path) as reader:
        assert len(asked(reader, "C++")[0]) == 2
        write(old)
        assert analysis(old) == ANALYSIS
        for index in (old, reader):
            [hits] = asked(index, "C++")
            assert hits[0][0] == "0"
            assert hits[0][1] > 1.1 * hits[1][1]
            assert [id for id, _ in asked(index, "हिन्दी")[0]] == ["2"]
            assert asked(index, "न") == [[]]
        old.verify()
        with index_of(TEXTS) as fresh:
            assert asked(reader, "cats C++", "검색") == asked(fresh, "cats C++", "검색")


def test_words_are_made_anew_once_and_with_what_replaces_them(old):
    with old.writer(replace={"dim": 16}) as writer:
        writer.add(["a"], embeddings([2]), ["F# हिन्दी"])
    assert analysis(old) == ANALYSIS
    assert [id for id, _ in asked(old, "F#")[0]] == ["a"]
    old.verify()
    commit = old._snapshot().commit
    old.configure(lexical=True)
    assert old._snapshot().commit == commit


def test_what_fails_leaves_the_first_analysis(old):
    with suppress(ZeroDivisionError), old.writer() as writer:
        writer.add(["b"], embeddings([2]), ["pear"])
        _ = 1 / 0
    assert analysis(old) == 1
    assert [id for id, _ in asked(old, "cat")[0]] == ["0"]
    old.verify()


@pytest.mark.parametrize("number", ["3", "0", "null", "[1]", '"2"', "1"])
def test_an_analysis_that_is_none_of_ours_or_not_that_of_the_tables_is_damage(tmp_path, number):
    with index_of(["apple"], tmp_path / "index") as index, index._views.catalogue.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        write_settings(connection, {SETTING: json.loads(number)})
        connection.execute("COMMIT")
    with pytest.raises(DamagedIndexError):
        Index.open(tmp_path / "index")


@pytest.mark.parametrize("tier", ["exact", "balanced"])
def test_golden_indexes_answer_by_words_before_and_after_a_write(tmp_path, tier):
    shutil.copytree(GOLDEN / tier, tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        [before] = asked(index, "naive 猫", k=5)
        index.configure(lexical=True)
        assert index.settings[SETTING] == ANALYSIS
        [after] = asked(index, "naive 猫", k=5)
        assert [id for id, _ in after] == [id for id, _ in before]
        index.verify()


def test_derive_names_the_analysis():
    with sqlite3.connect(":memory:") as connection:
        assert derive(connection, {}, {"lexical": False, "fields": []})[SETTING] == ANALYSIS
    connection.close()
    assert set(ANALYSES) == {1, ANALYSIS}
    assert lexical_v1.query_words("cats cats") == query_words("cats cats")


LINEAR = """
from lfm2_retrieval.indexes.analysis.words import query_words, terms
parts = ["\\u0301", "a\\u0301\\u0316", "\\u0915\\u0940", "\\u05b0\\u05b1", "\\u0e01\\u0e34", "\\u0e33"]
parts += ["\\u3099", "+", "-", "a+", "a-", "a.", "\\u00e9-", ".a", "#", "c++", "\\u00e9++", "a", "a::", "@a."]
for part in parts:
    terms(part * ({size} // len(part)))
    query_words(part * ({size} // len(part)))
"""


@pytest.mark.parametrize("size", [200_000, pytest.param(1_000_000, marks=pytest.mark.campaign)])
def test_what_repeats_is_split_in_linear_time(size):
    # In quadratic time it would take hours; the limit only ends that.
    subprocess.run([sys.executable, "-c", LINEAR.format(size=size)], check=True, timeout=1800)
