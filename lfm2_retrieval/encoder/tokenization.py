"""Text to token ids and character spans, as a checkpoint's tokenizer and settings say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer

from ..errors import CheckpointError
from .settings import EncoderSettings

__all__ = ["TextTokenizer", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """One tokenized text.

    ``ids`` int64 ``[n]``; ``spans`` int32 ``[n, 2]``, characters of the text as given; ``real`` counts
    the leading positions that are not expansion; ``cut`` says whether the text was too long.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int32]
    real: int
    cut: bool


class TextTokenizer:
    """The two ways, document and query, in which a checkpoint reads text. Safe to share between threads."""

    def __init__(self, folder: Path, settings: EncoderSettings, max_positions: int) -> None:
        self._settings = settings
        text = _tokenizer_json(folder)
        vocabulary = _parse(text, folder)
        document_length = min(settings.document_length, max_positions)
        query_length = max_positions
        if settings.query_length is not None and settings.truncate_queries:
            query_length = min(settings.query_length, max_positions)
        self._document = _Side(vocabulary, settings.document_prefix, document_length)
        self._query = _Side(_parse(text, folder), settings.query_prefix, query_length)
        skipped = [vocabulary.token_to_id(word) for word in settings.skiplist]
        unknown = _unknown_id(text, vocabulary)
        self.skiplist = np.array(
            sorted({i for i in skipped if i is not None and i != unknown}), dtype=np.int64
        )
        self.size = vocabulary.get_vocab_size()
        self.expansion_id = self._expansion_id(folder, vocabulary)

    def documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize documents."""
        return self._document(self._clean(texts))

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize queries, filled up with expansion positions where the settings say so."""
        tokens = self._query(self._clean(texts))
        if not self._settings.expand_queries:
            return tokens
        return [self._expand(one, self._settings.query_length or 0) for one in tokens]

    def _clean(self, texts: Sequence[str]) -> list[tuple[str, int]]:
        """What the tokenizer is given, and how many characters were stripped before it."""
        cleaned = []
        for text in texts:
            start = 0
            if self._settings.strip:
                start = len(text) - len(text.lstrip())
                text = text.strip()  # noqa: PLW2901
            text = _without_surrogates(text)  # noqa: PLW2901
            cleaned.append((_lower(text) if self._settings.lower else text, start))
        return cleaned

    def _expand(self, tokens: Tokens, length: int) -> Tokens:
        missing = length - len(tokens.ids)
        if missing <= 0:
            return tokens
        return Tokens(
            ids=np.concatenate([tokens.ids, np.full(missing, self.expansion_id)]),
            spans=np.concatenate([tokens.spans, np.zeros((missing, 2), np.int32)]),
            real=tokens.real,
            cut=tokens.cut,
        )

    def _expansion_id(self, folder: Path, vocabulary: Tokenizer) -> int:
        """The id that fills up queries: what the checkpoint names, else mask, else EOS, else pad."""
        names: dict[str, str | None] = {"expansion": self._settings.expansion_token}
        for file in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / file).is_file():
                raw = json.loads((folder / file).read_text(encoding="utf-8"))
                for role in ("mask", "eos", "pad"):
                    token = raw.get(f"{role}_token")
                    names[role] = (token.get("content") if isinstance(token, dict) else token) or names.get(
                        role
                    )
        for role in ("expansion", "mask", "eos", "pad"):
            name = names.get(role)
            found = vocabulary.token_to_id(name) if name else None
            if found is not None:
                return int(found)
        if self._settings.expand_queries:
            raise CheckpointError(
                "the checkpoint expands queries, but its tokenizer names no mask, EOS or pad token for it"
            )
        return 0


class _Side:
    """A tokenizer with one prefix and one length."""

    def __init__(self, tokenizer: Tokenizer, prefix: str, length: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._prefix_id = self._tokenizer.token_to_id(prefix) if prefix else None
        # A prefix that is no single token stands as text in front of the text.
        self._prefix_text = "" if self._prefix_id is not None else prefix
        marker = self._prefix_text.split()[:1]
        if marker and self._tokenizer.token_to_id(marker[0]) is not None:
            self._tokenizer.add_special_tokens([AddedToken(marker[0], normalized=False)])
        specials = self._tokenizer.encode("a").special_tokens_mask
        self._prefix_at = specials.index(0) if 0 in specials else len(specials)
        room = length - (self._prefix_id is not None)
        if room <= sum(specials):
            raise CheckpointError(f"a length of {length} leaves no room for text beside BOS and the prefix")
        self._tokenizer.enable_truncation(room)

    def __call__(self, cleaned: list[tuple[str, int]]) -> list[Tokens]:
        encodings = self._tokenizer.encode_batch([self._prefix_text + text for text, _ in cleaned])
        return [
            self._tokens(encoding, start) for encoding, (_, start) in zip(encodings, cleaned, strict=True)
        ]

    def _tokens(self, encoding: Encoding, start: int) -> Tokens:
        ids = np.array(encoding.ids, dtype=np.int64)
        spans = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2) - len(self._prefix_text)
        spans = np.where(spans[:, 1:] > np.maximum(spans[:, :1], 0), spans.clip(0) + start, 0).astype(
            np.int32
        )
        if self._prefix_id is not None:
            ids = np.insert(ids, self._prefix_at, self._prefix_id)
            spans = np.insert(spans, self._prefix_at, 0, axis=0)
        return Tokens(ids=ids, spans=spans, real=len(ids), cut=bool(encoding.overflowing))


def _tokenizer_json(folder: Path) -> str:
    """The tokenizer as the tokenizers library writes it; older forms are converted by transformers."""
    file = folder / "tokenizer.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return str(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} holds no tokenizer that can be loaded: {error}") from error


def _parse(text: str, folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:
        message = f"{folder}/tokenizer.json is not a tokenizer: {error}; fetch the model again"
        raise CheckpointError(message) from error


def _unknown_id(text: str, vocabulary: Tokenizer) -> int | None:
    model = json.loads(text)["model"]
    unknown = model.get("unk_token")
    found = vocabulary.token_to_id(unknown) if isinstance(unknown, str) else model.get("unk_id")
    return None if found is None else int(found)


def _without_surrogates(text: str) -> str:
    """``text`` with each lone surrogate, which is no character, as U+FFFD; the length stays."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def _lower(text: str) -> str:
    """``text`` lower-cased where that keeps one character one character, so that spans stay true."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
