"""The student: a bidirectional LFM2 backbone and a projection to 128 dimensions."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from teacher import BFLOAT16, Teacher
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from lfm2_retrieval.encoder.backbone import Backbone, PackedBatch
from lfm2_retrieval.encoder.config import BackboneConfig
from lfm2_retrieval.encoder.weights import fuse_weights

PAD, BOS, EOS, QUERY, DOCUMENT = range(5)
PUNCTUATION = set(string.punctuation)
SHAPE = BackboneConfig(
    vocab_size=24_000,
    hidden_size=256,
    ffn_size=768,
    layer_types=("conv", "conv", "full_attention", "conv", "conv", "full_attention"),
    num_heads=8,
    num_kv_heads=4,
    head_dim=32,
    bidirectional=True,
)
LARGER = replace(SHAPE, vocab_size=20_480, layer_types=(*SHAPE.layer_types, "conv", "full_attention"))
"""More layers in the place of words, in 25 MB, too."""


def sequences(encodings: Iterable[Encoding], prefixes: Iterable[int], limit: int) -> list[list[int]]:
    """The tokens that are read of each text: BOS, its prefix and what the ``limit`` leaves room for."""
    return [[BOS, prefix, *e.ids[1 : limit - 1]] for e, prefix in zip(encodings, prefixes, strict=True)]


class Student(nn.Module):
    """Of the shape that has as many words as WORK's tokenizer."""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
        size = self.tokenizer.get_vocab_size()
        self.shape = SHAPE if size == SHAPE.vocab_size else replace(LARGER, vocab_size=size)
        self.backbone = Backbone(self.shape)
        self.dense = nn.Linear(self.shape.hidden_size, 128, bias=False)
        vocabulary = self.tokenizer.get_vocab()
        skipped = [i for token, i in vocabulary.items() if token.removeprefix("Ġ") in PUNCTUATION | {""}]
        self.skipped = torch.tensor(skipped)

    def initialise(self, teacher: Teacher) -> None:
        """Small random matrices; word vectors from the teacher's, by what each token spells."""
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        for layer in self.backbone.layers:
            if hasattr(layer.operator, "conv_weight"):
                nn.init.normal_(layer.operator.conv_weight, std=0.3)
        nn.init.normal_(self.dense.weight, std=0.06)
        table = teacher.model.get_input_embeddings().weight.detach()
        centred = table - table.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov(centred.T))
        words = centred @ vectors.flip(1)[:, : self.shape.hidden_size]
        words = words / words.pow(2).mean().sqrt()
        unknown = teacher.tokenizer.token_to_id("[UNK]")
        weight = self.backbone.embed_tokens.weight
        with torch.no_grad():
            weight.mul_(25)
            for token in range(5, self.shape.vocab_size):
                text = self.tokenizer.decode([token])
                pieces = teacher.tokenizer.encode(text.strip(), add_special_tokens=False).ids
                pieces = [piece for piece in pieces if piece != unknown]
                if pieces and "\ufffd" not in text:
                    weight[token] = words[pieces].mean(0)
            weight.mul_(0.5)

    def load(self, folder: Path) -> None:
        """Take the weights of an exported checkpoint, which may have fewer layers and other words.

        Words are found by their spelling; those that it lacks keep their vectors. Layers that it lacks add
        nothing at first.
        """
        config = json.loads((folder / "config.json").read_text())
        kinds = tuple(config["layer_types"])
        shape = replace(self.shape, vocab_size=config["vocab_size"], layer_types=kinds)
        if kinds != self.shape.layer_types[: len(kinds)]:
            raise ValueError(
                f"{folder} has the layers {kinds}, which {self.shape.layer_types} do not begin with"
            )
        weights = fuse_weights(load_file(folder / "model.safetensors"), shape)
        theirs = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
        table = self.backbone.embed_tokens.weight.detach().clone()
        known = [(i, theirs[word]) for word, i in self.tokenizer.get_vocab().items() if word in theirs]
        table[[i for i, _ in known]] = weights["embed_tokens.weight"][[i for _, i in known]].float()
        weights["embed_tokens.weight"] = table
        missing, _ = self.backbone.load_state_dict(weights, strict=False)
        with torch.no_grad():
            for name in missing:
                parameter = self.backbone.get_parameter(name)
                if parameter.ndim == 1:
                    nn.init.ones_(parameter)
                elif name.endswith(("out_proj.weight", "down.weight")):
                    nn.init.zeros_(parameter)
                else:
                    nn.init.normal_(parameter, std=0.3 if name.endswith("conv_weight") else 0.04)
        self.dense.load_state_dict(
            {"weight": load_file(folder / "1_Dense/model.safetensors")["linear.weight"]}
        )

    def encode(
        self, encodings: Iterable[Encoding], prefixes: Iterable[int], limit: int = 512
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Normalised vectors [n_tokens, 128] and the number of tokens of each text."""
        ids = sequences(encodings, prefixes, limit)
        lengths = tuple(map(len, ids))
        batch = PackedBatch(torch.tensor([token for row in ids for token in row]), lengths)
        with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
            vectors = self.dense(self.backbone(batch))
        return F.normalize(vectors.float(), dim=-1), lengths

    def read(
        self, texts: list[str], prefixes: list[int], limit: int = 512
    ) -> tuple[list[Tensor], list[Encoding]]:
        """``encode`` of texts, the shortest first: vectors and encodings of each, in the texts' order."""
        encodings = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        vectors, lengths = self.encode([encodings[i] for i in order], [prefixes[i] for i in order], limit)
        parts = sorted(zip(order, vectors.split(lengths), strict=True), key=lambda pair: pair[0])
        return [part for _, part in parts], encodings

    def content(self, vectors: Tensor, encodings: Iterable[Encoding], limit: int = 512) -> tuple[Tensor, ...]:
        """Documents' vectors without punctuation, of the ``vectors`` that ``encode`` gave for them."""
        ids = [torch.tensor([BOS, DOCUMENT, *e.ids[1 : limit - 1]]) for e in encodings]
        parts = vectors.split([len(row) for row in ids])
        return tuple(part[~torch.isin(row, self.skipped)] for part, row in zip(parts, ids, strict=True))
