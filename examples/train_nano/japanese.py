"""Plain Japanese in the polite style and back, roughly: by how sentences end.

All Japanese passages to search are in the plain style of an encyclopedia (である), all translations in the
polite style of a manual (です, ます). A student that sees no other learns to tell them by their endings
and takes any polite passage for a page of that manual.
"""

from __future__ import annotations

import re

_ENDINGS = [
    (re.compile(rf"(?:{before}){plain}$"), polite)
    for before, plain, polite in (
        (r"", r"ではない", "ではありません"),
        (r"", r"なかった", "ませんでした"),
        (r"", r"ない", "ません"),
        (r"", r"(?:であった|だった)", "でした"),
        (r"", r"である", "です"),
        (r"", r"する", "します"),
        (r"(?<=[てで])", r"いた", "いました"),
        (r"(?<=[しえけせてねべめれげぜじきちみびりぎ])", r"た", "ました"),
        (r"", r"いた", "きました"),
        (r"", r"った", "りました"),
        (r"", r"んだ", "みました"),
        (r"", r"いだ", "ぎました"),
        (r"", r"だ", "です"),
        (r"(?<=[いえけせてねべめれげぜじきちみびりぎ])", r"る", "ます"),
        (r"(?<=[あかさたなまらわが])", r"る", "ります"),
        (r"(?<=[一-鿿よ])", r"る", "ります"),
        (r"", r"う", "います"),
        (r"", r"く", "きます"),
        (r"", r"す", "します"),
        (r"", r"つ", "ちます"),
        (r"", r"ぶ", "びます"),
        (r"", r"む", "みます"),
        (r"", r"い", "いです"),
        (r"(?<=[一-鿿ァ-ヶーのつこら])", r"", "です"),
    )
]
_POLITE = re.compile(r"(?:です|ます|ません|でした|ました|ください|でしょう)$")
_SENTENCE = re.compile(r"([^。?？!！\n]+)([。?？!！\n]|$)")
_PLAIN = (
    ("ませんでした", "なかった"),
    ("ありません", "ない"),
    ("ません", "ない"),
    ("しました", "した"),
    ("します", "する"),
    ("でした", "だった"),
    ("ました", "た"),
    ("です", "である"),
    ("ます", "る"),
)
_KANA = re.compile(r"[ぁ-ん]")


def polite(text: str) -> str:
    """Sentences in the plain style end in the polite one; text in other languages is returned as it is."""
    return _SENTENCE.sub(_polite, text) if _KANA.search(text) else text


def _polite(sentence: re.Match[str]) -> str:
    text, stop = sentence.groups()
    stem = text.removesuffix("か")
    if not _POLITE.search(stem):
        for ending, ours in _ENDINGS:
            changed, count = ending.subn(ours, stem)
            if count:
                asked = text != stem or (stop in ("?", "？") and ours == "です")
                return changed + ("か" if asked else "") + stop
    return sentence[0]


def plain(text: str) -> str:
    """The polite endings are replaced by plain ones, wherever they are."""
    for polite_ending, ours in _PLAIN:
        text = text.replace(polite_ending, ours)
    return text
