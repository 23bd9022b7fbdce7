"""English written in other scripts' letters: nothing to understand, so words can only be compared.

No text in these scripts is trained on. nano's tokenizer writes them in Latin letters (`romanise`), so these
are words that mean nothing, cut into pieces that mean something else.
"""

from __future__ import annotations

import random
import string
import unicodedata

_BLOCKS = {
    "Greek": (0x3B1, 0x3CA),
    "Cyrillic": (0x430, 0x450),
    "Armenian": (0x561, 0x587),
    "Hebrew": (0x5D0, 0x5EB),
    "Arabic": (0x627, 0x64B),
    "Devanagari": (0x904, 0x93A),
    "Bengali": (0x985, 0x9BA),
    "Tamil": (0xB85, 0xBBA),
    "Thai": (0xE01, 0xE2F),
    "Georgian": (0x10D0, 0x10F1),
}
SCRIPTS = [
    [chr(code) for code in range(*block) if unicodedata.category(chr(code)) in ("Ll", "Lo")]
    for block in _BLOCKS.values()
]
INFLECTED = 0.3
"""How many words get an ending or a beginning that they have in this text only."""


class Cipher:
    """Replaces each Latin letter by one of a script, the same one in every text.

    Parameters
    ----------
    rng
        Draws script, letters and inflections.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.script = rng, rng.choice(SCRIPTS)
        letters = rng.sample(self.script, min(26, len(self.script)))
        letters += rng.choices(self.script, k=26 - len(letters))
        self.table = str.maketrans(dict(zip(string.ascii_lowercase, letters, strict=True)))

    def write(self, text: str) -> str:
        return " ".join(self.inflect(word) for word in text.lower().translate(self.table).split())

    def inflect(self, word: str) -> str:
        if len(word) < 4 or self.rng.random() > INFLECTED:
            return word
        affix = "".join(self.rng.choices(self.script, k=self.rng.randint(1, 2)))
        return self.rng.choice((word + affix, affix + word, word[:-1] + affix))
