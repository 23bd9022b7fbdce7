"""Text to token ids and character spans, as a checkpoint's tokenizer and settings say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer, normalizers

from ..errors import CheckpointError
from ..platform.plain_files import is_hollow, is_regular
from .multiplying import MOST_TIMES, check_tokenizer
from .panics import understood
from .pieces import pieces
from .settings import EncoderSettings
from .streams import batched
from .values import Values, read_file, read_json
from .windows import windows

__all__ = ["TextTokenizer", "Tokens", "columns"]


_MOST_BYTES = 1 << 27
_MOST_AROUND = 4096


@dataclass(frozen=True)
class Tokens:
    """One sequence for the backbone: a tokenized text, or a window of it.

    ``ids`` int64 ``[n]``; ``spans`` int32 ``[n, 2]``, characters of the text as given; ``real`` counts
    the leading positions that are not expansion; ``cut`` says whether the text was too long; ``kept`` are the
    first and the last position, itself left out, whose vectors belong to the text: None for all.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int32]
    real: int
    cut: bool
    kept: tuple[int, int] | None = None


def columns(
    tokens: list[Tokens], skip: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int32]]:
    """Of all positions of sequences laid end to end: whether the vector is kept, token id and span."""
    if not tokens:
        return np.zeros(0, bool), np.zeros(0, np.int64), np.zeros((0, 2), np.int32)
    ids = np.concatenate([one.ids for one in tokens])
    kept = ~np.isin(ids, skip)
    at = 0
    for one in tokens:
        if one.kept is not None:
            kept[at : at + one.kept[0]] = kept[at + one.kept[1] : at + len(one.ids)] = False
        at += len(one.ids)
    return kept, ids, np.concatenate([one.spans for one in tokens])


class TextTokenizer:
    """The two ways, document and query, in which a checkpoint reads text. Safe to share between threads."""

    def __init__(self, folder: Path, settings: EncoderSettings, max_positions: int) -> None:
        self._settings = settings
        self._file = folder / "tokenizer.json"
        with understood(self._file):
            self._read(folder, settings, max_positions)

    def _read(self, folder: Path, settings: EncoderSettings, max_positions: int) -> None:
        text = _tokenizer_json(folder)
        check_tokenizer(text, self._file)
        vocabulary = _parse(text, folder, lower=settings.lower)
        self.query_length = min(settings.query_length or max_positions, max_positions)
        self._document_length = min(settings.document_length, max_positions)
        self._document = _Side(vocabulary, settings.document_prefix, self._file)
        self._query = _Side(_parse(text, folder, lower=settings.lower), settings.query_prefix, self._file)
        self.least_length = self._document.least_length
        for side, length in ((self._document, self._document_length), (self._query, self.query_length)):
            if length < side.least_length:
                raise CheckpointError(
                    f"a length of {length} leaves no room for text beside BOS and the prefix"
                )
        self.query_skiplist = _ids(settings.query_skiplist, vocabulary)
        self.document_skiplist = _ids(settings.document_skiplist, vocabulary)
        self.size = vocabulary.get_vocab_size()
        self.highest_id = max(vocabulary.get_vocab().values(), default=-1)
        self.expansion_id = self._expansion_id(folder, vocabulary)

    def documents(self, texts: Sequence[str], length: int | None = None) -> list[Tokens]:
        """Tokenize documents, cut to ``length`` positions, by default the checkpoint's."""
        length = self._document_length if length is None else length
        return [content.whole(length) for content in self._document.read(self._clean(texts), length)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens documents have, without BOS, prefix and what follows them."""
        return self._document.count([text for text, _ in self._clean(texts)])

    def windows(self, texts: Sequence[str], length: int, *, causal: bool) -> list[list[Tokens]]:
        """Tokenize documents, those of more than ``length`` positions in windows (:mod:`.windows`)."""
        return [content.windows(length, causal=causal) for content in self._document.read(self._clean(texts))]

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize queries, filled up with expansion positions where the settings say so."""
        length = self.query_length
        tokens = [content.whole(length) for content in self._query.read(self._clean(texts), length)]
        if not self._settings.expand_queries:
            return tokens
        return [self._expand(one, self._settings.expanded_length) for one in tokens]

    def _clean(self, texts: Sequence[str]) -> list[tuple[str, int]]:
        """What the tokenizer is given, and how many characters were stripped before it."""
        cleaned = []
        for text in texts:
            start = 0
            if self._settings.strip:
                start = len(text) - len(text.lstrip())
                text = text.strip()  # noqa: PLW2901
            cleaned.append((_without_surrogates(text), start))
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
        wanted = self._settings.expansion_token
        if wanted is not None and vocabulary.token_to_id(wanted) is None:
            raise CheckpointError(
                f"the checkpoint expands queries with {wanted!r}, which its tokenizer doesn't have: settings "
                "and tokenizer do not belong together"
            )
        names: dict[str, str | None] = {"expansion": wanted}
        for file in ("special_tokens_map.json", "tokenizer_config.json"):
            values = Values(read_json(folder / file, missing={}), file)
            for role in ("mask", "eos", "pad"):
                names[role] = values.token(f"{role}_token") or names.get(role)
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


@dataclass(frozen=True)
class _Content:
    """What a text was tokenized to, and what stands before it (BOS, prefix) and after."""

    lead: NDArray[np.int64]
    ids: NDArray[np.int64]
    spans: NDArray[np.int32]
    tail: NDArray[np.int64]

    def whole(self, length: int) -> Tokens:
        """One sequence of at most ``length`` positions."""
        room = self._room(length)
        return self._sequence(0, min(len(self.ids), room), cut=len(self.ids) > room)

    def windows(self, length: int, *, causal: bool) -> list[Tokens]:
        """Sequences of at most ``length`` positions that between them keep each token once."""
        found, at = [], len(self.lead)
        for window in windows(len(self.ids), self._room(length), causal=causal):
            first = at + window.first - window.start if window.first else 0
            last = at + window.last - window.start + (window.last == len(self.ids)) * len(self.tail)
            found.append(self._sequence(window.start, window.stop, kept=(first, last)))
        return found

    def _room(self, length: int) -> int:
        return max(1, length - len(self.lead) - len(self.tail))

    def _sequence(
        self, start: int, stop: int, *, cut: bool = False, kept: tuple[int, int] | None = None
    ) -> Tokens:
        ids = np.concatenate((self.lead, self.ids[start:stop], self.tail))
        spans = np.zeros((len(ids), 2), np.int32)
        spans[len(self.lead) : len(ids) - len(self.tail)] = self.spans[start:stop]
        return Tokens(ids=ids, spans=spans, real=len(ids), cut=cut, kept=kept)


class _Side:
    """A tokenizer with one prefix."""

    def __init__(self, tokenizer: Tokenizer, prefix: str, file: Path) -> None:
        self._tokenizer, self._file = tokenizer, file
        if len(prefix) > _MOST_AROUND:
            raise CheckpointError(f"a prefix of {len(prefix):,} characters leaves no room for text")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        prefix_id = self._tokenizer.token_to_id(prefix) if prefix else None
        # A prefix that is no single token stands as text in front of the text.
        self._prefix_text = "" if prefix_id is not None else prefix
        marker = self._prefix_text.split()[:1]
        if marker and self._tokenizer.token_to_id(marker[0]) is not None:
            self._tokenizer.add_special_tokens([AddedToken(marker[0], normalized=False)])
        encoding = self._tokenizer.encode("a")
        ids, specials = encoding.ids, encoding.special_tokens_mask
        ends = specials.index(0) if 0 in specials else len(specials)
        self._head = np.array([*ids[:ends], *([] if prefix_id is None else [prefix_id])], dtype=np.int64)
        self._tail = np.array(ids[ends + specials[ends:].count(0) :], dtype=np.int64)
        prefix_tokens = len(self._tokenizer.encode(self._prefix_text, add_special_tokens=False))
        self.least_length = len(self._head) + prefix_tokens + len(self._tail) + 1
        if self.least_length > _MOST_AROUND:
            raise CheckpointError(
                f"{file} puts {self.least_length:,} tokens around each text; fetch the model again"
            )

    def read(self, cleaned: list[tuple[str, int]], length: int | None = None) -> Iterator[_Content]:
        """Tokenize texts, given with how many characters were stripped; of longer ones what shows that."""
        parts = [pieces(self._prefix_text + text) for text, _ in cleaned]
        begun = ((next(part)[1], part, start) for part, (_, start) in zip(parts, cleaned, strict=True))
        for group in batched(begun, len(parts), lambda one: len(one[0])):
            encodings = self._encode([first for first, _, _ in group])
            for encoding, (_, more, start) in zip(encodings, group, strict=True):
                yield self._content(encoding, more, start, length)

    def count(self, texts: list[str]) -> list[int]:
        """How many tokens texts have by themselves."""
        counts = [0] * len(texts)
        parts = ((i, piece) for i, text in enumerate(texts) for _, piece in pieces(text))
        for group in batched(parts, len(texts) or 1, lambda one: len(one[1])):
            for (i, _), encoding in zip(group, self._encode([piece for _, piece in group]), strict=True):
                counts[i] += len(encoding)
        return counts

    def _encode(self, texts: list[str]) -> list[Encoding]:
        with understood(self._file):
            encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if len(encoding) > MOST_TIMES * (len(text) + 1):
                raise CheckpointError(
                    f"{self._file} makes {len(encoding):,} tokens of {len(text):,} characters, which no "
                    "model reads; fetch the model again"
                )
        return encodings

    def _content(
        self, encoding: Encoding, more: Iterator[tuple[int, str]], start: int, length: int | None
    ) -> _Content:
        ids, spans = _arrays(encoding)
        # Tokens wholly of the prefix lead; one that reaches into the text belongs to the text.
        before = len(self._prefix_text)
        led = int((np.cumsum(spans[:, 1] > before) == 0).sum()) if before else 0
        found = [(ids[led:], spans[led:])]
        count = len(ids)
        for at, piece in more:
            if length is not None and count > length:
                break
            [encoding] = self._encode([piece])
            ids_here, spans_here = _arrays(encoding)
            found.append((ids_here, spans_here + at))
            count += len(ids_here)
        spans = np.concatenate([one for _, one in found]) - before
        spans = np.where(spans[:, 1:] > np.maximum(spans[:, :1], 0), spans.clip(0) + start, 0)
        return _Content(
            lead=np.concatenate((self._head, ids[:led])),
            ids=np.concatenate([one for one, _ in found]),
            spans=spans.astype(np.int32),
            tail=self._tail,
        )


def _arrays(encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return np.array(encoding.ids, dtype=np.int64), np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)


def _tokenizer_json(folder: Path) -> str:
    """The tokenizer as the tokenizers library writes it; older forms are converted by transformers."""
    file = folder / "tokenizer.json"
    try:
        return read_file(file, _MOST_BYTES).decode()
    except FileNotFoundError:
        pass
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file} is not UTF-8: {error}; fetch the model again") from None
    for path in folder.iterdir():  # transformers opens whatever it finds
        if not path.is_dir() and (not is_regular(path, follow=True) or is_hollow(path.stat())):
            raise CheckpointError(f"{path} is no regular file; fetch the model again")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # of any of the libraries that read the many older forms
        raise CheckpointError(f"{folder} holds no tokenizer that can be loaded: {error}") from error


def _parse(text: str, folder: Path, *, lower: bool) -> Tokenizer:
    with understood(folder / "tokenizer.json", "is not a tokenizer"):
        tokenizer = Tokenizer.from_str(text)
    if lower:  # by the tokenizer, which leaves its special tokens alone and knows the characters behind each
        own = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def _ids(words: Iterable[str], vocabulary: Tokenizer) -> NDArray[np.int64]:
    """The ids of those words that the vocabulary has, in order."""
    found = {vocabulary.token_to_id(word) for word in words}
    return np.array(sorted(i for i in found if i is not None), dtype=np.int64)


def _without_surrogates(text: str) -> str:
    """``text`` with each lone surrogate, which is no character, as U+FFFD; the length stays."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
