"""Texts to token vectors with an LFM2 late-interaction checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..errors import InvalidInputError, InvalidTypeError
from .backbone import Backbone
from .checkpoint import BUNDLED, find_checkpoint, fingerprint, read_tensors
from .config import BackboneConfig
from .engine import Engine
from .int8 import SAMPLE
from .linear import Kernels, resolve_kernels
from .projection import Projection
from .settings import EncoderSettings, read_json
from .tokenization import TextTokenizer, Tokens
from .weights import fuse_weights

__all__ = ["Encoder", "TruncationWarning"]

_LOG = logging.getLogger(__name__)
_QUERY_CACHE = 1024

Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads, and were cut."""


class Encoder:
    """An LFM2 late-interaction encoder. Made by :meth:`load`; may be used from several threads.

    A text's vectors depend on that text alone: not on its batch, the order of texts or the installed
    transformers (see :mod:`lfm2_retrieval.encoder.backbone`).

    Attributes
    ----------
    name, revision
        As given to :meth:`load`; a local folder's name is its absolute path.
    folder
        Where the checkpoint lies.
    settings, config
        What the checkpoint says of encoding, and of its backbone.
    device, dtype
        Where and in what precision the forward pass runs.
    kernels
        What computes each shape of linear, and what it was chosen by; empty on a GPU.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        revision: str | None,
        device: torch.device,
        dtype: torch.dtype,
        kernels: Kernels = "auto",
        query_cache: int = _QUERY_CACHE,
    ) -> None:
        self.folder, self.name, self.revision = folder, name, revision
        self.device, self.dtype = device, dtype
        self.settings = EncoderSettings.read(folder)
        home = folder / self.settings.backbone
        self.config = BackboneConfig.from_dict(read_json(home / "config.json"))
        self._tokenizer = TextTokenizer(home, self.settings, self.config.max_positions)
        with torch.device("meta"):
            backbone = Backbone(self.config)
        backbone.load_state_dict(fuse_weights(read_tensors(home), self.config), assign=True)
        projection = Projection.load(folder, self.settings.dense, self.config.hidden_size)
        self._engine = Engine(
            backbone,
            projection,
            device=device,
            dtype=dtype,
            normalize=self.settings.normalize,
            attend_to_expansion=self.settings.attend_to_expansion,
            kernels=kernels,
            sample=self._tokenizer.documents(SAMPLE),
            cached=query_cache,
        )
        self.kernels = tuple(self._engine.choices)
        self.dim = projection.out_features

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: Precision | torch.dtype = "auto",
        revision: str | None = None,
        kernels: Kernels = "auto",
        query_cache: int = _QUERY_CACHE,
    ) -> Encoder:
        """Load a checkpoint.

        Parameters
        ----------
        name_or_path
            ``"nano"``, a folder in the PyLate or the sentence-transformers multi-vector layout, or a
            name on the Hugging Face hub (``"LiquidAI/LFM2-ColBERT-350M"``).
        device
            ``"auto"`` takes a CUDA device when there is one.
        dtype
            ``"auto"``: float32 on a CPU, bfloat16 on a GPU. ``"int8"`` is for CPUs: products in int8, all
            else in float32; see :mod:`lfm2_retrieval.encoder.int8`.
        revision
            A branch, tag or commit of a model on the hub.
        kernels
            ``"auto"`` times the kernels for each shape of linear and takes the fastest that is right;
            ``"plain"`` and ``"onednn"`` name one. The variable ``LFM2_RETRIEVAL_KERNELS`` stands in for
            ``"auto"``. See :mod:`lfm2_retrieval.encoder.linear`.
        query_cache
            How many queries' vectors are kept, of those encoded alone and up to 128 tokens long: 16 KB each
            of 32 tokens. 0 for none.

        Raises
        ------
        ModelNotFoundError
            If there is no such model, or it can't be fetched.
        CheckpointError
            If its files are incomplete or describe something other than LFM2.
        InvalidInputError
            If the device, dtype or kernels are unknown or missing here, or ``query_cache`` is negative.
        """
        where = _device(device)
        chosen = resolve_kernels(kernels)
        if query_cache < 0:
            raise InvalidInputError(f"query_cache must be 0 or more, not {query_cache}")
        folder = find_checkpoint(name_or_path, revision)
        precision = _dtype(dtype, where)
        local = str(name_or_path) not in BUNDLED and Path(name_or_path).expanduser().is_dir()
        name = str(folder.resolve()) if local else str(name_or_path)
        return cls(
            folder,
            name=name,
            revision=revision,
            device=where,
            dtype=precision,
            kernels=chosen,
            query_cache=query_cache,
        )

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        output: Literal["float32", "float16"] = "float32",
        on_cut: Callable[[int], None] | None = None,
    ) -> TokenEmbeddings:
        """Encode documents.

        Parameters
        ----------
        texts
            Any strings. An empty one, or one of white space, has the vectors of BOS and the prefix.
        output
            The dtype of the vectors returned.
        on_cut
            Called once with the number of texts that were too long and cut. Without it, such a call
            warns once (:class:`TruncationWarning`).

        Returns
        -------
        TokenEmbeddings
            Vectors ``[n_tokens, dim]`` in the order of ``texts``, without those on the skiplist.

        Raises
        ------
        InvalidTypeError
            If ``texts`` is one string, or holds something that is none.
        """
        tokens = self._tokenizer.documents(_checked(texts))
        _report_cut(tokens, "document", self.settings.document_length, on_cut)
        return self._encode(tokens, skip=self._tokenizer.skiplist, output=output)

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        output: Literal["float32", "float16"] = "float32",
        on_cut: Callable[[int], None] | None = None,
    ) -> TokenEmbeddings:
        """Encode queries: as :meth:`encode_documents`, with the query's prefix, length and expansion."""
        tokens = self._tokenizer.queries(_checked(texts))
        _report_cut(tokens, "query", self.settings.query_length, on_cut)
        skip = self._tokenizer.skiplist if self.settings.skip_in_queries else None
        return self._encode(tokens, skip=skip, output=output)

    def forget_queries(self) -> None:
        """Empty the cache of queries, as a measurement of them needs."""
        self._engine.forget()

    def document_spans(self, text: str) -> NDArray[np.int32]:
        """The characters behind each vector that :meth:`encode_documents` gives a text, without encoding it.

        Returns
        -------
        ndarray
            int32 ``[n_tokens, 2]``, as ``TokenEmbeddings.spans``.
        """
        [tokens] = self._tokenizer.documents(_checked([text]))
        kept: NDArray[np.int32] = tokens.spans[~np.isin(tokens.ids, self._tokenizer.skiplist)]
        return kept

    @cached_property
    def fingerprint(self) -> str:
        """A digest of weights, tokenizer and settings: two encoders with one fingerprint give one result."""
        modules = (self.settings.backbone, *(dense.folder for dense in self.settings.dense))
        return fingerprint(self.folder, modules)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an index records of its encoder."""
        return {
            "name": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "query_prefix": self.settings.query_prefix,
            "document_prefix": self.settings.document_prefix,
            "query_length": self.settings.query_length,
            "document_length": self.settings.document_length,
        }

    def _encode(
        self, tokens: list[Tokens], *, skip: NDArray[np.int64] | None, output: str
    ) -> TokenEmbeddings:
        """Run the packed forward pass over texts sorted by length, and put the rows back in order."""
        lengths = np.array([len(one.ids) for one in tokens], dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        vectors = np.empty((offsets[-1], self.dim), dtype=output)
        order = sorted(range(len(tokens)), key=lambda i: (len(tokens[i].ids), tokens[i].real))
        steps = self._steps(order, lengths)
        for step, out in zip(
            steps, self._engine.run([tokens[i] for i in step] for step in steps), strict=True
        ):
            rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in step])
            vectors[rows] = out
        ids = np.concatenate([one.ids for one in tokens]) if tokens else np.empty(0, np.int64)
        spans = np.concatenate([one.spans for one in tokens]) if tokens else np.empty((0, 2), np.int32)
        if skip is not None and len(skip):
            keep = ~np.isin(ids, skip)
            offsets = np.concatenate(([0], np.cumsum(keep)))[offsets]
            vectors, ids, spans = vectors[keep], ids[keep], spans[keep]
        token_ids = ids.astype(np.int32)
        return TokenEmbeddings(embeddings=vectors, offsets=offsets, token_ids=token_ids, spans=spans)

    def _steps(self, order: list[int], lengths: NDArray[np.int64]) -> list[list[int]]:
        budget = self._engine.budget
        steps: list[list[int]] = []
        room = 0
        for i in order:
            if lengths[i] > room or not steps:
                steps.append([])
                room = budget
            steps[-1].append(i)
            room -= lengths[i]
        return steps

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim={self.dim}, device={self.device}, dtype={self.dtype})"


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InvalidTypeError("texts must be a list of strings; for one text give [text]")
    checked = list(texts)
    for i, text in enumerate(checked):
        if not isinstance(text, str):
            raise InvalidTypeError(f"texts[{i}] is a {type(text).__name__}, not a str")
    return checked


def _report_cut(
    tokens: list[Tokens], role: str, length: int | None, on_cut: Callable[[int], None] | None
) -> None:
    count = sum(one.cut for one in tokens)
    if count and on_cut is not None:
        on_cut(count)
    elif count:
        warnings.warn(
            f"{count} of {len(tokens)} {role} texts were longer than the {length} tokens this model reads "
            "and were cut; split long texts into passages to search all of them",
            TruncationWarning,
            stacklevel=3,
        )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(
            f"the device {str(device)!r} is not to be had here ({reason}); try 'cpu'"
        ) from error
    return where


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    known = {name: getattr(torch, name) for name in get_args(Precision) if name != "auto"}
    found: torch.dtype | None = known.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise InvalidInputError(f"dtype must be 'auto', {', '.join(map(repr, known))}, not {dtype!r}")
    if found == torch.int8 and device.type != "cpu":
        raise InvalidInputError("dtype 'int8' is for CPUs; on a GPU use 'bfloat16'")
    return found
