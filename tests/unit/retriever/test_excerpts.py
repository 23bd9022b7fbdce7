import pytest

from lfm2_retrieval.hits import Hit, Match, ScoreKind
from lfm2_retrieval.retriever.excerpts import excerpts, whole_word

TEXT = "# Tides\n\nThe Moon pulls the sea up. Twice a day the tide comes in. Wind makes waves."


def matched(text, pairs, query):
    """A hit whose query words match words of the text, with their similarities."""
    matches = [Match((0, 0), (0, 0), 0.9)]
    for asked, word, similarity in pairs:
        a, w = query.index(asked), text.index(word)
        matches.append(Match((a, a + len(asked)), (w, w + len(word)), similarity))
    return Hit("a", 1.0, 1, text=text, matches=tuple(matches))


def shown(hit, excerpt):
    return hit.text[excerpt.start : excerpt.end], [hit.text[a:b] for a, b in excerpt.words]


def test_the_sentence_that_carries_most_of_the_score():
    query = "what makes the waves"
    hit = matched(TEXT, [("makes", "makes", 0.9), ("the", "Tides", 0.3), ("waves", "wave", 0.9)], query)
    [excerpt] = excerpts(query, [hit])
    assert shown(hit, excerpt) == ("Wind makes waves.", ["makes", "waves"])


def test_a_word_counts_wherever_it_stands_and_a_heading_last():
    hit = matched("# Waves\n\nWaves are high. Rain falls.", [("waves", "Waves", 0.9)], "waves")
    assert shown(hit, excerpts("waves", [hit])[0]) == ("Waves are high.", ["Waves"])
    alone = matched("# Waves", [("waves", "Waves", 0.9)], "waves")
    assert shown(alone, excerpts("waves", [alone])[0])[0] == "# Waves"


def test_words_alone():
    hits = [
        Hit("a", 2.0, 1, ScoreKind.BM25, text=TEXT),
        Hit("b", 1.0, 2, ScoreKind.BM25, text="About tides."),
    ]
    found = excerpts("the tides", hits)
    assert shown(hits[0], found[0])[0] == "Twice a day the tide comes in."
    assert shown(hits[1], found[1]) == ("About tides.", ["tides"])


def test_where_no_spaces_are_written():
    hit = Hit("a", 2.0, 1, ScoreKind.BM25, text="犬は走る。猫は静かに眠る。雨が降る。")
    assert shown(hit, excerpts("静かに眠る", [hit])[0]) == ("猫は静かに眠る。", ["静かに眠る"])


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_hit_without_text_has_none(text):
    assert excerpts("q", [Hit("a", 1.0, 1, text=text)]) == [None]


def test_whole_words():
    assert whole_word("a unhappily b", 4, 7) == (2, 11)
    assert whole_word("猫は眠る", 2, 3) == (2, 3)
    assert whole_word("a ... b", 2, 5) is None
