from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfm2_retrieval.documents.sentences import sentences


def split(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "It costs 3.5 euros, e.g. at Dr. Hale's. Then go.",
            ["It costs 3.5 euros, e.g. at Dr. Hale's.", "Then go."],
        ),
        (
            "See version 2.0.1 of it. “Really?” she asked.",
            ["See version 2.0.1 of it.", "“Really?” she asked."],
        ),
        ("猫は静かに眠る。犬は走る！本当？", ["猫は静かに眠る。", "犬は走る！", "本当？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("यह पहला है। यह दूसरा है।", ["यह पहला है।", "यह दूसरा है।"]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("# Title\n\nText goes on\nhere.", ["# Title", "Text goes on", "here."]),
        ("- one\n- two\n  more", ["- one", "- two", "more"]),
        ("a | b\n1 | 2", ["a | b", "1 | 2"]),
        ("def f(x):\n    return x", ["def f(x):", "return x"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences_of_many_kinds(text, expected):
    assert split(text) == expected


def test_a_wrapped_line_goes_on():
    line = "The quick brown fox jumps over the lazy dog and goes on to run"
    text = f"{line}\nthrough the forest until night. Then it sleeps."
    assert len(split(text)) == 2


def test_a_text_without_any_sign_is_parted_all_the_same():
    assert max(map(len, split("word " * 1000))) <= 401
    thai = "ประเทศไทยเป็นประเทศที่มีประวัติศาสตร์ยาวนาน " * 30
    assert len(split(thai)) == 30


@given(st.text(alphabet='ab. \n。!?#-|1ก\u0301"”)', max_size=800))
def test_they_ascend_and_leave_out_nothing_but_space(text):
    spans = list(sentences(text))
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    left = [text[a:b] for (_, a), (b, _) in pairwise([(0, 0), *spans, (len(text), len(text))])]
    assert not "".join(left).strip()
