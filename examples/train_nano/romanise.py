"""Write alphabets that nano has no words of in Latin letters, before its tokenizer looks for words.

    python examples/train_nano/romanise.py FOLDER     # with a tokenizer.json: WORK, or a checkpoint

A letter outside the vocabulary costs a token a byte, and says little. In Latin letters a name is found in
whichever script it is written, and a word has a third of the tokens. The table is rough, by ear or by the
letters' Unicode names, and need only be the same for queries and documents. Han, kana and Hangul are left
alone: the vocabulary has them. Letters with marks that the vocabulary has, such as é, are left alone, too.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

BY_EAR = {
    "абвгдеёжзийклмноп": "a b v g d e e zh z i i k l m n o p",
    "рстуфхцчшщъыьэюя": "r s t u f kh ts ch sh shch - y - e yu ya",
    "іїєґўјљњћђџ": "i i e g u j lj nj c dj dz",
    "αβγδεζηθικλμνξοπρσςτυφχψω": "a v g d e z i th i k l m n x o p r s s t y f ch ps o",
    "άέήίόύώϊϋΐΰ": "a e i i o y o i y i y",
    "ءآأؤإئابةتثجحخدذرزس": "- a a w i y a b h t th j h kh d dh r z s",
    "شصضطظعغفقكلمنهوىي": "sh s d t z a gh f q k l m n h w a y",
    "پچژکگیھہےںٹڈڑ": "p ch zh k g y h h e n t d r",
    "אבגדהוזחטיךכלםמןנסעףפץצקרשת": "a b g d h v z ch t y k k l m m n n s a f p ts ts k r sh t",
}
SILENT = "\u0301"
"""A mark, which is stripped afterwards: a table's entry can't be empty."""
BY_NAME = (
    (0x531, 0x588),  # Armenian
    (0x660, 0x66A),  # Arabic digits
    (0x6F0, 0x6FA),
    (0x900, 0xE00),  # Devanagari to Sinhala
    (0xE01, 0xE60),  # Thai
    (0xE81, 0xEE0),  # Lao
    (0x1000, 0x1050),  # Myanmar
    (0x10D0, 0x1100),  # Georgian
    (0x1200, 0x1380),  # Ethiopic
    (0x1780, 0x17EA),  # Khmer
)
LATIN = ((0xC0, 0x250), (0x1E00, 0x1F00))
STROKED = {"đłıøħŧðþæœ": "d l i o h t d th ae oe"}
SOUND = re.compile(r"[B-DF-HJ-NP-TV-XZ]+|[AEIOUY]+")


def named(letter: str) -> str | None:
    """What the Unicode name of a letter of an Indic script or of a small alphabet sounds like."""
    digit = unicodedata.digit(letter, None)
    if digit is not None:
        return str(digit)
    name = unicodedata.name(letter, "")
    for word, sound in (("ANUSVARA", "n"), ("CANDRABINDU", "n"), ("VISARGA", "h")):
        if name.endswith(word):
            return sound
    found = re.search(r"(?:LETTER|VOWEL SIGN|CHARACTER SARA|CHARACTER|SYLLABLE)(?: VOCALIC)? ([A-Z]+)", name)
    if found is None or unicodedata.category(letter) not in ("Lo", "Ll", "Mc", "Mn") or " MAI " in name:
        return None
    if "SYLLABLE" in name:
        return name.split()[-1].lower()
    sound = SOUND.match(found[1])
    return re.sub(r"(.)\1", r"\1", sound[0].lower()) if sound else None


def spelt_out(tables: dict[str, str]) -> dict[str, str]:
    """Letters, each beside what it is written as."""
    pairs = (pair for some, sounds in tables.items() for pair in zip(some, sounds.split(), strict=True))
    return {letter: sound.replace("-", SILENT) for letter, sound in pairs}


def table(vocabulary: dict[str, int]) -> dict[str, str]:
    """Latin letters for each letter that no word of the vocabulary is written with."""
    letters = spelt_out(BY_EAR)
    for start, end in BY_NAME:
        letters |= {chr(code): sound for code in range(start, end) if (sound := named(chr(code)))}
    stroked, as_bytes = spelt_out(STROKED), ByteLevel(add_prefix_space=False)
    for start, end in LATIN:
        for letter in map(chr, range(start, end)):
            base = stroked.get(letter) or unicodedata.normalize("NFD", letter)[0]
            spelling = as_bytes.pre_tokenize_str(letter)[0][0]
            if base.isascii() and letter.islower() and spelling not in vocabulary:
                letters[letter] = base
    return letters


def compiled(letters: dict[str, str]) -> str:
    """The table as sentencepiece compiles it, a trie, in base64."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        lines = (f"{ord(a):X}\t{' '.join(f'{ord(b):X}' for b in latin)}\n" for a, latin in letters.items())
        rules.write_text("".join(lines))
        text = Path(folder) / "text.txt"
        text.write_text("a b c d e\n" * 10)
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=f"{folder}/model",
            vocab_size=9,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            minloglevel=2,
        )
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((Path(folder) / "model.model").read_bytes())
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()


def romanise(path: Path) -> None:
    """Rewrite a ``tokenizer.json``."""
    described = json.loads(path.read_text(encoding="utf-8"))
    described["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKC"},
            {"type": "Lowercase"},
            {"type": "Precompiled", "precompiled_charsmap": compiled(table(described["model"]["vocab"]))},
            {"type": "StripAccents"},
        ],
    }
    Tokenizer.from_str(json.dumps(described)).save(str(path), pretty=False)


if __name__ == "__main__":
    romanise(Path(sys.argv[1]) / "tokenizer.json")
