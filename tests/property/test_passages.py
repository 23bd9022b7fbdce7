"""Passages at the limits: every text is covered, spans are exact, nothing is too long, edits stay local."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfm2_retrieval import Document
from lfm2_retrieval.documents import FileDocument, Passages, keep_numbers, split
from lfm2_retrieval.documents.headings import headings_of
from lfm2_retrieval.documents.structure import Region, Structure, TextKind
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError


class Characters:
    """A tokenizer with four characters a token, but one a token where they are not ASCII."""

    limit = 40

    def count(self, texts):
        return [sum(1 if character < "\x80" else 4 for character in text) // 4 + 1 for text in texts]


COUNTER = Characters()
WORDS = [
    "the",
    "moon",
    "pulls",
    "sea.",
    "Wind",
    "makes",
    "waves!",
    "月は海を引く。",
    "größer",
    "👨\u200d👩\u200d👧\u200d👦",
    "é",
    "\u200f",
    "�",
    "#",
    "-",
    "|",
    "```",
    "~~~",
    "<!--",
    "===",
    "---",
]
LINES = st.lists(
    st.sampled_from([*WORDS, "\n", "\n\n", "\r\n", "\t", "# A", "\n## B\n", "\n# C\n\n", "x" * 300]),
    max_size=120,
)


def markdown(text, id="d.md"):
    return FileDocument(
        id,
        text,
        {},
        id,
        "markdown",
        Structure(TextKind.MARKDOWN, headings_of("markdown", text), (Region(0, len(text), first=1),)),
    )


def check(document, passages, limit):
    last = 0
    for number, passage in enumerate(passages, 1):
        assert (passage.number, passage.id) == (number, f"{document.id}#{number}")
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert not document.text[last : passage.start].strip()
        last = max(last, passage.end)
        assert COUNTER.count([passage.encoded])[0] <= limit
        if passage.place.lines:
            first = document.text.count("\n", 0, passage.start) + 1
            assert passage.place.lines == (first, first + passage.text.rstrip().count("\n"))
    assert not document.text[last:].strip()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    LINES,
    st.sampled_from([16, 25, 40]),
    st.sampled_from([0, 5]),
    st.sampled_from(["markdown", "text", "code"]),
)
def test_every_span_is_exact_and_nothing_is_lost(parts, tokens, overlap, kind):
    text = " ".join(parts)
    structure = Structure(TextKind(kind), headings_of(kind, text), (Region(0, len(text), first=1),))
    document = FileDocument("d", text, {"title": "A title"}, "d", kind, structure)
    check(document, split(document, COUNTER, Passages(tokens, overlap)), tokens)
    plain = Document("d", text)
    check(plain, split(plain, COUNTER, Passages(tokens, overlap)), tokens)


def test_sections_that_fit_are_whole_and_headings_go_with_what_follows():
    text = "# A\n\n## B\n\nshort\n\n## C\n\n" + "A sentence of words. " * 20 + "\n\n### D\n\nend\n"
    found = split(markdown(text), COUNTER)
    assert found[0].text == "# A\n\n## B\n\nshort"
    assert found[0].headings == ("A", "B")
    assert found[0].context == ()
    assert found[1].text.startswith("## C\n\nA sentence")
    assert (found[1].headings, found[1].context) == (("A", "C"), ("A",))
    assert (found[2].headings, found[2].context) == (("A", "C"), ("A", "C"))
    assert found[2].encoded.startswith("A › C\nA sentence")
    assert found[-1].text == "### D\n\nend"
    assert str(found[-1].place) == "lines 11–13"
    [whole] = split(markdown("# A\n\ntext\n\n## B\n\nmore"), COUNTER)
    assert whole.encoded == "# A\n\ntext\n\n## B\n\nmore"


def test_a_title_stands_in_front_once():
    structure = markdown("# Tides\n\ntext").structure
    [first] = split(FileDocument("d", "# Tides\n\ntext", {"title": "Tides"}, structure=structure), COUNTER)
    [other] = split(FileDocument("d", "# Tides\n\ntext", {"title": "The sea"}, structure=structure), COUNTER)
    assert first.encoded == "# Tides\n\ntext"
    assert other.encoded == "The sea\n# Tides\n\ntext"
    [bare] = split(
        FileDocument("d", "# Tides\n\ntext", {"title": "The sea"}, structure=structure),
        COUNTER,
        Passages(headings=False),
    )
    assert bare.encoded == "# Tides\n\ntext"


def sections(generator):
    words = ["moon", "sea", "tide", "wave", "wind", "shore", "salt"]
    text = ""
    for number in range(30):
        text += f"{'#' * generator.choice([1, 2, 3])} Section {number}\n\n"
        for _ in range(generator.randrange(5)):
            text += " ".join(generator.choices(words, k=generator.randrange(1, 60))) + ".\n\n"
    return text


@pytest.mark.parametrize("seed", range(20))
def test_an_edit_of_a_section_leaves_the_others(seed):
    generator = random.Random(seed)
    text = sections(generator)
    before = split(markdown(text), COUNTER)
    at = text.index(".\n\n", generator.randrange(len(text) // 2)) + 1  # of a paragraph, not a heading
    after = split(markdown(text[:at] + " An edit." + text[at:]), COUNTER)
    keys = {passage.key for passage in before}
    changed = [passage for passage in after if passage.key not in keys]
    assert 1 <= len(changed) <= 16  # a block of the section's text
    assert len({passage.headings[0] for passage in changed}) == 1
    numbers = {}
    for passage in before:
        numbers.setdefault(passage.key, []).append(passage.number)
    kept = keep_numbers(after, numbers)
    assert len({passage.id for passage in kept}) == len(kept)
    ids = {passage.id: passage.key for passage in before}
    for passage in kept:
        assert ids.get(passage.id, passage.key) == passage.key
    assert sum(passage.id in ids for passage in kept) >= len(before) - 16


@pytest.mark.parametrize("seed", range(10))
def test_an_edit_of_a_text_without_sections_leaves_most(seed):
    generator = random.Random(seed)
    words = [f"word{i}" for i in range(300)]
    paragraphs = [" ".join(generator.choices(words, k=generator.randrange(5, 40))) for _ in range(600)]
    before = split(Document("d", "\n\n".join(paragraphs)), COUNTER)
    paragraphs[300] += " and an edit"
    after = split(Document("d", "\n\n".join(paragraphs)), COUNTER)
    keys = {passage.key for passage in before}
    assert len(before) > 500
    assert sum(passage.key not in keys for passage in after) < 60


def test_much_of_one_kind_takes_bounded_time():
    for text in ("字" * 30_000, "word " * 30_000, "a\n" * 30_000, "# H\n" * 10_000, "👨‍👩‍👧‍👦" * 3_000):
        document = markdown(text)
        check(document, split(document, COUNTER), COUNTER.limit)


def test_settings_are_checked():
    for wrong in ({"tokens": 3}, {"tokens": 40, "overlap": 20}, {"overlap": -1}):
        with pytest.raises(InvalidInputError):
            Passages(**wrong)
    with pytest.raises(InvalidTypeError, match="tokens is a whole number"):
        Passages(tokens="many")
    with pytest.raises(InvalidInputError, match="no less than half of the 40 tokens"):
        split(Document("d", "x"), COUNTER, Passages(overlap=20))
    assert split(Document("d", " \n"), COUNTER) == []
