"""Train nano's tokenizer: byte-level BPE over lower-cased text, most of it English.

python examples/train_nano/build_tokenizer.py WORK
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import sources
from student import SHAPE
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIALS = ["<|pad|>", "<|startoftext|>", "<|im_end|>", "[Q] ", "[D] "]
BUDGETS = {
    "en": 16_000_000,
    "de": 2_500_000,
    "es": 2_500_000,
    "fr": 2_500_000,
    "zh": 900_000,
    "ja": 900_000,
    "ko": 1_200_000,
}


def texts(rng: random.Random) -> Iterator[str]:
    """Text of each language up to its budget of characters."""
    articles = sources.wiki_articles()
    streams: dict[str, list[str]] = {"en": [f"{title}. {' '.join(passages)}" for title, passages in articles]}
    streams["en"] += sources.meetings() + [english for english, _ in sources.parallel("zh")]
    for language in ("es", "fr", "ja", "ko", "zh"):
        streams[language] = [other for _, other in sources.parallel(language)]
    for language in sources.MONOLINGUAL:
        streams.setdefault(language, []).extend(
            " ".join(p) for _, p in sources.monolingual_articles(language)
        )
    streams["fr"] += [passage for _, passages in sources.questions("piaf11-fr") for passage in passages]
    streams["ja"] += [passage for _, passages in sources.questions("jaquad-ja-train") for passage in passages]
    for language, budget in BUDGETS.items():
        pool = list(dict.fromkeys(streams[language]))
        rng.shuffle(pool)
        spent = 0
        for text in pool:
            spent += len(text)
            if spent > budget:
                break
            yield text


def build(rng: random.Random) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(rng), trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<|startoftext|> $A",
                pair="<|startoftext|> $A $B",
                special_tokens=[("<|startoftext|>", 1)],
            ),
        ]
    )
    return tokenizer


if __name__ == "__main__":
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    build(random.Random(0)).save(str(work / "tokenizer.json"))
