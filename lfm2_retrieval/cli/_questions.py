"""The option ``--queries``: what people ask, from a file, encoded by an index's own model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..datatypes import TokenEmbeddings

__all__ = ["encode_questions", "questions_option"]

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def questions_option() -> Decorator:
    """The option ``--queries``, as the parameter ``file``."""
    return click.option(
        "--queries",
        "file",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        help="What people ask: a text file, a query a line, or JSONL, CSV or TSV with a column text; .gz of "
        "any; - is the standard input. The index's own model encodes them.  "
        "[default: pieces of stored documents, which are easier]",
    )


def encode_questions(path: Path, file: Path, **model: Any) -> TokenEmbeddings:
    """The vectors of the queries in a file, by the model of the index at ``path``.

    Raises
    ------
    InvalidInputError
        If there is no query in it.
    """
    from ..documents import STDIN, DocumentFormat, read_documents
    from ..errors import InvalidInputError
    from ..retriever import Retriever

    plain = str(file) == STDIN or Path(file.name.lower().removesuffix(".gz")).suffix in ("", ".txt")
    rows = read_documents([file], DocumentFormat.LINES if plain else None)
    texts = [row["text"] for row in rows if row["text"].strip()]
    if not texts:
        raise InvalidInputError(f"{file}: there is no query in it")
    with Retriever.open(path, **model) as retriever:
        return retriever.encoder.encode_queries(texts)
