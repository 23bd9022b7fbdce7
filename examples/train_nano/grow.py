"""Today's nano with the wider vocabulary: word vectors of the new words from the teacher's.

    python examples/train_nano/grow.py WORK NANO_FOLDER

A linear map from the teacher's word vectors to nano's is fitted by least squares to the words that nano
had, and says what those of the new words are, made as long as nano's. Writes WORK/start.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from e5 import E5
from student import DOCUMENT, Student
from torch import Tensor

RIDGE = 0.1


def spelt(teacher: E5, student: Student) -> Tensor:
    """The teacher's vector of what each token of the student spells, nan if that is no text."""
    table = teacher.model.get_input_embeddings().weight.detach()
    found = torch.full((student.shape.vocab_size, table.shape[1]), torch.nan)
    for token in range(DOCUMENT + 1, student.shape.vocab_size):
        text = student.tokenizer.decode([token])
        if "\ufffd" in text or not text.strip():
            continue
        piece = teacher.tokenizer.token_to_id(text.replace(" ", "▁"))
        pieces = [piece] if piece is not None else teacher.tokenizer.encode(text.strip()).ids
        found[token] = table[pieces].mean(0)
    return found


@torch.no_grad()
def grow(work: Path, nano: Path) -> None:
    torch.manual_seed(0)
    student, teacher = Student(work), E5(work)
    weight = student.backbone.embed_tokens.weight
    weight.fill_(torch.nan)
    student.load(nano)
    new = weight.isnan().any(1)
    theirs = spelt(teacher, student)
    known = ~new & ~theirs.isnan().any(1)
    mean, middle = theirs[known].mean(0), weight[known].mean(0)
    x, y = theirs[known] - mean, weight[known] - middle
    gram = x.T @ x
    solved = torch.linalg.solve(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ y)
    made = x @ solved
    print(f"{int(known.sum())} words fitted, cosine {torch.cosine_similarity(made, y).mean():.3f}")
    fitted = (theirs[new] - mean) @ solved
    drawn = fitted.isnan().any(1)
    fitted[drawn] = torch.randn(int(drawn.sum()), fitted.shape[1])
    weight[new] = middle + fitted * (y.norm(dim=1).mean() / fitted.norm(dim=1, keepdim=True))
    print(f"{int(new.sum())} new words, {int(drawn.sum())} of them drawn at random")
    torch.save(student.state_dict(), work / "start.pt")


if __name__ == "__main__":
    grow(Path(sys.argv[1]), Path(sys.argv[2]))
