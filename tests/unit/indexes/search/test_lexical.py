"""Words of texts, BM25 on them, and their tables in the catalogue."""

import sqlite3
from contextlib import suppress

import numpy as np
import pytest
from support import embeddings

from lfm2_retrieval import Index, SearchParams
from lfm2_retrieval.errors import DamagedIndexError, InvalidInputError
from lfm2_retrieval.indexes.analysis.words import query_words, words
from lfm2_retrieval.indexes.search import bm25, word_statistics

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


def index_of(texts, **options):
    index = Index.create(None, 16, **options, tier="exact")
    index.add([str(i) for i in range(len(texts))], embeddings([2] * len(texts)), texts)
    return index


def asked(index, *queries, k=100, **options):
    params = SearchParams(k, mode="lexical", **options)
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(None, params, texts=queries)]


@pytest.fixture(scope="module")
def index():
    with index_of(DOCUMENTS) as made:
        yield made


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
def test_finds(index, query, number):
    [hits] = asked(index, query)
    assert hits[0][0] == str(number)
    assert hits[0][1] > 0


@pytest.mark.parametrize("query", ["", "  ", "?!", '"', "*", "😀", "\x00", "\ud800", "()", "^-+:"])
def test_a_query_without_words_finds_nothing(index, query):
    assert query_words(query) == {}
    assert asked(index, query) == [[]]


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
        "'; DROP TABLE words; --",
        "cat\x00dog",
        "cat \ud800",
        "(((((cat",
        "cat " * 5000,
        "cat " + " ".join(f"w{i}" for i in range(5000)),
        "cat " + "x" * 100_000,
    ],
)
def test_operators_are_text(index, query):
    [hits] = asked(index, query)
    if "cat" in query[:20]:
        assert [id for id, _ in hits] == ["0"]


def test_arabic_hebrew_and_latin_signs_do_not_count():
    assert words("שָׁלוֹם") == words("שלום")
    assert words("كِتَابٌ") == words("كتاب")
    assert words("ÀÉÎõü") == "aeiou"
    assert words("がぎぐ ガギグ") == "がぎ ぎぐ ぐ ガギ ギグ グ"  # a voiced sign makes another letter


def formula(texts, query):
    """BM25 of texts of single spaces and words that no stemmer touches."""
    split = [text.split() for text in texts]
    full = [one for one in split if one]
    scores = []
    for one in split:
        score = 0.0
        for word in query.split():
            n = sum(word in other for other in full)
            count = one.count(word)
            mean = sum(map(len, full)) / len(full)
            if count:
                idf = np.log(1 + (len(full) - n + 0.5) / (n + 0.5))
                score += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(one) / mean))
        scores.append(score)
    return scores


def test_scores_are_the_formula():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{rng.zipf(1.5) % 50}q" for _ in range(rng.integers(0, 30))) for _ in range(200)]
    with index_of(texts) as index:
        for query in ("w1q", "w1q w2q w3q", "w7q w49q w7q", "w5q nowhere"):
            expected = formula(texts, query)
            [hits] = asked(index, query, k=1000)
            assert {id for id, _ in hits} == {str(i) for i, score in enumerate(expected) if score}
            for id, score in hits:
                assert score == pytest.approx(expected[int(id)], rel=1e-5)
            assert hits == sorted(hits, key=lambda hit: (-hit[1], int(hit[0])))


def test_what_was_deleted_or_changed_counts_for_nothing():
    texts = [f"apple {'pear' * (i % 2)} w{i}q" for i in range(60)]
    with index_of(texts) as index, index_of([*texts[:5], "plum pear"]) as fresh:
        index.delete([str(i) for i in range(6, 60)])
        index.update(["5"], texts=["plum pear"])
        index.add(["new"], embeddings([2]), ["cherry"])
        index.delete(["new"])
        for query in ("apple", "pear plum", "w5q", "cherry", "w1q apple"):
            assert asked(index, query) == asked(fresh, query)
        index.update(["5"], texts=[None])
        assert asked(index, "plum") == [[]]
        index.update(["5"], metadata=[{"a": 1}])
        assert asked(index, "plum") == [[]]
        index.verify()


def test_a_document_that_changes_twice_in_a_transaction_has_its_last_words():
    with index_of(["first", "second"]) as index:
        with index.transaction():
            index.update(["0"], texts=["plum"])
            index.update(["0"], texts=["cherry"])
            index.add(["c"], embeddings([1]), ["plum"])
            index.delete(["c"])
        assert asked(index, "plum first") == [[]]
        assert [id for id, _ in asked(index, "cherry")[0]] == ["0"]
        index.verify()


def test_a_reader_keeps_its_commit():
    with index_of(["apple", "apple pear", "plum"]) as index, Index.open(index.path) as reader:
        before = asked(reader, "apple", "pear")
        index.delete(["0"])
        index.add(["more"], embeddings([2]), ["apple apple"])
        index.update(["1"], texts=["plum"])
        assert asked(reader, "apple", "pear") == before
        assert asked(index, "apple", "pear") != before
        reader.refresh()
        assert asked(reader, "apple", "pear") == asked(index, "apple", "pear")


def test_a_merge_forgets_the_words_of_what_was_deleted():
    with index_of([f"apple w{i}q" for i in range(20)]) as index, Index.open(index.path) as reader:
        index.delete([str(i) for i in range(10)])
        found, before = asked(index, "apple", "w15q"), asked(reader, "apple", "w3q")
        index.merge()
        assert asked(reader, "apple", "w3q") == before  # still pinned
        reader.close()
        index.merge()
        index.verify()
        assert asked(index, "apple", "w15q") == found
        with index._views.catalogue.reading() as connection:
            [n] = connection.execute("SELECT count(DISTINCT doc) FROM word_places").fetchone()
        assert n == 10


def test_words_can_be_left_out_and_made_later():
    with index_of(["apple", "pear"], lexical=False) as index:
        with pytest.raises(InvalidInputError, match=r"configure\(lexical=True\)"):
            asked(index, "apple")
        index.delete(["1"])
        before = index.settings
        index.configure(lexical=True)
        assert index.settings == {**before, "lexical": True}
        assert [id for id, _ in asked(index, "apple pear")[0]] == ["0"]
        index.verify()
        index.configure(lexical=True)
        index.configure(lexical=False)
        with pytest.raises(InvalidInputError):
            asked(index, "apple")
        index.verify()


def test_overwriting_leaves_no_words(tmp_path):
    with Index.create(tmp_path / "index", 16, tier="exact") as index:
        index.add(["a"], embeddings([2]), ["apple"])
        with index.writer(replace={"dim": 16}) as writer:
            writer.add(["a"], embeddings([2]), ["pear"])
        assert asked(index, "apple") == [[]]
        assert [id for id, _ in asked(index, "pear")[0]] == ["a"]
        with index.writer(replace={"dim": 16, "lexical": False, "fields": ["lang"]}) as writer:
            writer.add(["a"], embeddings([2]), ["pear"])
        assert (index.settings["lexical"], index.settings["fields"]) == (False, ["lang"])
        index.verify()
    with Index.create(tmp_path / "index", 8, if_exists="overwrite", fields=["year"], tier="exact") as index:
        assert (index.settings["lexical"], index.settings["fields"]) == (True, ["lang", "year"])
        index.add(["a"], embeddings([2], 8), ["plum"])
        assert [id for id, _ in asked(index, "plum")[0]] == ["a"]
        index.verify()


def test_words_come_and_go_with_their_commit():
    with index_of(["apple"]) as index:
        with suppress(ZeroDivisionError), index.writer() as writer:
            writer.add(["b"], embeddings([2]), ["pear"])
            _ = 1 / 0
        assert asked(index, "pear") == [[]]
        index.verify()


def test_very_common_words_are_passed_over_where_there_are_others(monkeypatch):
    texts = [f"the apple w{i}q" if i % 3 else f"the w{i}q" for i in range(30)]
    with index_of(texts) as index:
        everything = asked(index, "the apple w4q", "the", "the nowhere")
        monkeypatch.setattr(word_statistics, "_COMMON", 5)
        index._views.seen().searcher._bm25 = bm25.Bm25(index._views.catalogue)
        assert asked(index, "the", "the nowhere") == everything[1:]
        [hits] = asked(index, "the apple w4q")
        assert [id for id, _ in hits] == ["4"]


def test_postings_in_memory_are_bounded_and_change_nothing(monkeypatch):
    texts = [f"apple pear w{i}q" for i in range(40)]
    queries = ["apple", "pear w3q", "w3q w4q", "apple"]
    with index_of(texts) as index:
        expected = asked(index, *queries)
        monkeypatch.setattr(bm25, "_REMEMBERED", 45)
        fresh = index._views.seen().searcher._bm25 = bm25.Bm25(index._views.catalogue)
        assert asked(index, *queries) == expected == asked(index, *queries)
        assert fresh._held == sum(len(one.rows) for one in fresh._postings.values()) <= 45


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE word_counts SET n = n + 1 WHERE row = 2",
        "DELETE FROM word_counts WHERE row = 1",
        "INSERT INTO words (rowid, terms) VALUES (1, 'plum')",
        "INSERT INTO words (words, rowid, terms) VALUES ('delete', 2, 'pear')",
        "UPDATE words_data SET block = zeroblob(length(block)) WHERE id > 10",
        "UPDATE documents SET text = CAST(text AS TEXT) WHERE row = 2",
    ],
)
def test_verify_holds_the_words_to_the_texts(damage):
    with index_of(["apple apple", "pear", None, ""]) as index:
        index.verify()
        with sqlite3.connect(index.path / "index.db") as connection:
            connection.execute(damage)
        connection.close()
        with pytest.raises(DamagedIndexError, match=r"word|malformed"):
            index.verify()


def test_many_queries_at_once_are_answered_as_each_alone():
    texts = [f"w{i % 17}q w{i % 5}q" for i in range(90)]
    with index_of(texts) as index:
        queries = [f"w{i % 17}q" for i in range(150)]
        assert asked(index, *queries, k=5) == [asked(index, query, k=5)[0] for query in queries]
