"""Encoders to measure: this library's and others, with one checkpoint or, where that can't be, one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from lfm2_retrieval.encoder import Encoder, Precision

__all__ = ["PEERS", "Loaded", "load_ours", "load_peer"]

Vectors = list[NDArray[np.float32]]
_MODERNBERT_DIM = 128


@dataclass(frozen=True)
class Loaded:
    """An encoder in one dtype.

    ``documents`` and ``query`` give vectors, or nothing where they could not be compared.
    """

    name: str
    dtype: str
    version: str
    documents: Callable[[Sequence[str]], Vectors | None]
    query: Callable[[str], Vectors | None] | None
    parameters: int | None = None

    @property
    def label(self) -> str:
        """Name and dtype."""
        return f"{self.name} {self.dtype}"


def load_ours(folder: Path, dtype: str) -> tuple[Loaded, Encoder]:
    """This library's encoder, without its cache of queries."""
    from lfm2_retrieval import __version__
    from lfm2_retrieval.encoder import Encoder

    encoder = Encoder.load(folder, device="cpu", dtype=cast("Precision", dtype), query_cache=0)
    loaded = Loaded(
        "lfm2-retrieval",
        dtype,
        __version__,
        lambda texts: list(encoder.encode_documents(texts, on_cut=lambda count: None)),
        lambda text: list(encoder.encode_queries([text], on_cut=lambda count: None)),
    )
    return loaded, encoder


def load_peer(kind: str, folder: Path, dtype: str, batch_size: int, encoder: Encoder) -> Loaded:
    """Another system, in ``"float32"`` or ``"bfloat16"``.

    Raises
    ------
    MissingExtraError
        If its package is not installed.
    InvalidInputError
        If it can't load the checkpoint.
    """
    try:
        return PEERS[kind](folder, dtype, batch_size, encoder)
    except ImportError as error:
        raise MissingExtraError(f"measuring {kind}", "pylate" if kind == "pylate" else "bench") from error
    except Exception as error:
        raise InvalidInputError(
            f"{kind} can't load {folder.name}: {error or type(error).__name__}; leave it out"
        ) from error


def _sentence_transformers(folder: Path, dtype: str, batch_size: int, encoder: Encoder) -> Loaded:
    import torch
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "convert_to_numpy": True,
        "show_progress_bar": False,
    }
    return Loaded(
        "sentence-transformers",
        dtype,
        version("sentence-transformers"),
        lambda texts: list(model.encode_document(list(texts), **options)),
        lambda text: list(model.encode_query([text], **options)),
    )


def _pylate(folder: Path, dtype: str, batch_size: int, encoder: Encoder) -> Loaded:
    import torch
    from pylate.models import ColBERT

    model = ColBERT(str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": False}
    return Loaded(
        "pylate",
        dtype,
        version("pylate"),
        lambda texts: list(model.encode(list(texts), is_query=False, **options)),
        lambda text: list(model.encode([text], is_query=True, **options)),
    )


def _modernbert(folder: Path, dtype: str, batch_size: int, encoder: Encoder) -> Loaded:
    """ModernBERT-base with random weights and a projection to 128, on as many tokens as ours."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(0)
    config = ModernBertConfig()
    body: Any = ModernBertModel._from_config(  # type: ignore[no-untyped-call]
        config, attn_implementation="sdpa"
    )
    body = body.eval().to(getattr(torch, dtype))
    head = torch.nn.Linear(config.hidden_size, _MODERNBERT_DIM, bias=False).to(getattr(torch, dtype))

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> None:
        lengths = sorted((len(encoder.document_spans(text)) for text in texts), reverse=True)
        for start in range(0, len(lengths), batch_size):
            step = torch.tensor(lengths[start : start + batch_size])
            mask = torch.arange(int(step.max())) < step[:, None]
            ids = torch.randint(100, 50_000, mask.shape)
            hidden = body(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            torch.nn.functional.normalize(head(hidden).float(), dim=-1).numpy()

    parameters = sum(one.numel() for one in body.parameters())
    return Loaded(
        "ModernBERT-base shape", dtype, version("transformers"), run, lambda text: run([text]), parameters
    )


PEERS: dict[str, Callable[[Path, str, int, Encoder], Loaded]] = {
    "sentence-transformers": _sentence_transformers,
    "pylate": _pylate,
    "modernbert": _modernbert,
}
