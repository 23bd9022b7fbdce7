"""Words of any text: marks never stand alone, and the words are the same however a text is encoded."""

import unicodedata
from collections import Counter

import regex
from hypothesis import given
from hypothesis import strategies as st

from lfm2_retrieval.indexes.analysis.words import _folded, query_words, terms, words

ALPHABET = (
    "abCÉß01 \u0301\u0316-+#._&@/:'·"
    "\u0915\u0928\u094d\u093f\u0940\u0e01\u0e31\u0e49\u0e33\u0e40\u1019\u103c\u1014\u103a\u1781\u17d2\u17c2"
    "한ᄒ\u1161\u11ab국猫かガ\u3099\u05e9\u05b8\u05c1\u0627\u0654\u064e\u0663\u200b\u200d\u00ad\ufe0f\U00020000"
)
TEXTS = st.text(st.one_of(st.sampled_from(ALPHABET), st.characters()), max_size=40)


@given(TEXTS)
def test_no_word_begins_with_a_mark_or_has_a_space(text):
    for word in words(text).split(" "):
        assert not word or regex.match(r"[\p{L}\p{N}.@#]", word)
        assert word.split() == ([word] if word else [])
        assert len(word) <= 2 * 255


@given(TEXTS)
def test_words_do_not_depend_on_the_normal_form(text):
    for form in ("NFC", "NFD"):
        assert words(unicodedata.normalize(form, text)) == words(text)
        assert query_words(unicodedata.normalize(form, text)) == query_words(text)


@given(TEXTS, TEXTS)
def test_texts_laid_together_have_the_words_of_both(one, other):
    together = Counter(words(f"{one} \n {other}").split())
    assert together == Counter(words(one).split()) + Counter(words(other).split())


@given(TEXTS)
def test_folding_twice_changes_nothing(text):
    assert _folded(_folded(text)) == _folded(text)


@given(TEXTS)
def test_a_query_asks_for_what_a_text_like_it_holds(text):
    found, length = terms(text)
    assert length <= len(found)
    asked = query_words(text)
    assert all(any(term.startswith(word.term) for term in found) for word in asked)
    assert {word.term for word in asked if not word.prefix} <= set(found)
    assert bool(asked) == bool(found)
    assert all(set(word.forms) <= set(found[length:]) for word in asked)
