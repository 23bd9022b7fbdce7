"""Texts to token vectors with an LFM2 late-interaction checkpoint."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..errors import CheckpointError, InvalidInputError
from ..keywords import check_keywords
from ..platform.forks import busy, cached_property
from ..platform.threads import check_threads, thread_count
from .backbone import Backbone
from .checkpoint import BUNDLED, find_checkpoint, fingerprint, is_hub_name, read_tensors
from .config import BackboneConfig
from .devices import Precision, find_device, find_dtype, settle_torch
from .engine import Engine
from .int8 import SAMPLE
from .linear import Kernels, resolve_kernels
from .options import CONTEXT, OPTIONS, DocumentKeywords, DocumentOptions, check_whole
from .packing import embed
from .projection import Projection
from .reading import DocumentEncoder
from .settings import EncoderSettings
from .streams import batched
from .texts import check_output, checked, count_cut, each_checked, report_cut
from .tokenization import TextTokenizer
from .values import read_json
from .weights import fuse_weights

__all__ = ["Encoder"]

_LOG = logging.getLogger(__name__)
_QUERY_CACHE = 1024


class Encoder:
    """An LFM2 late-interaction encoder. Made by :meth:`load`; may be used from several threads.

    A text's vectors depend on that text alone: not on its batch, the order of texts or the installed
    transformers (see :mod:`lfm2_retrieval.encoder.backbone`).

    Attributes
    ----------
    name, revision
        As given to :meth:`load`; a local folder's name is its absolute path, and the revision of a model
        from the hub is the commit that was loaded.
    folder
        Where the checkpoint lies.
    settings, config
        What the checkpoint says of encoding, and of its backbone.
    options
        How documents are read: long ones, and how many vectors are kept.
    device, dtype
        Where and in what precision the forward pass runs.
    kernels
        What computes each shape of linear, and what it was chosen by; empty on a GPU.
    threads
        As given to :meth:`load`.
    """

    @busy
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
        threads: int | None = None,
    ) -> None:
        settle_torch()
        self.threads = check_threads(threads)
        self._given: dict[str, Any] = {"kernels": kernels, "query_cache": query_cache, "threads": threads}
        self.folder, self.name, self.revision = folder, name, revision
        self.device, self.dtype = device, dtype
        self.settings = EncoderSettings.read(folder)
        home = folder / self.settings.backbone
        self.config = BackboneConfig.from_dict(read_json(home / "config.json"))
        self._tokenizer = TextTokenizer(home, self.settings, self.config.max_positions)
        if self._tokenizer.highest_id >= self.config.vocab_size:
            raise CheckpointError(
                f"{folder}: the tokenizer has the token {self._tokenizer.highest_id}, config.json only "
                f"{self.config.vocab_size} of them: they do not belong together"
            )
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
        self.options = DocumentOptions()

    @classmethod
    @check_keywords("Encoder.load", *OPTIONS)
    def load(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: Precision | torch.dtype = "auto",
        revision: str | None = None,
        kernels: Kernels = "auto",
        query_cache: int = _QUERY_CACHE,
        threads: int | None = None,
        **options: Unpack[DocumentKeywords],
    ) -> Encoder:
        """Load a checkpoint.

        Parameters
        ----------
        name_or_path
            ``"nano"``, a folder in the PyLate or the sentence-transformers multi-vector layout, or a
            name on the Hugging Face hub (``"LiquidAI/LFM2-ColBERT-350M"``). A string ``OWNER/NAME`` is always
            one on the hub; a folder of that name is ``"./OWNER/NAME"``, or a `Path`.
        device
            ``"auto"`` takes a CUDA device when there is one.
        dtype
            ``"auto"``: float32 on a CPU, bfloat16 on a GPU. ``"int8"`` is for CPUs: products in int8, all
            else in float32; see :mod:`lfm2_retrieval.encoder.int8`.
        revision
            A branch, tag or commit of a model on the hub.
        kernels
            ``"auto"`` times the kernels for each shape of linear and takes the fastest that is right;
            ``"plain"``, ``"onednn"`` and ``"narrow"`` name one. The variable ``LFM2_RETRIEVAL_KERNELS``
            stands in for ``"auto"``. See :mod:`lfm2_retrieval.encoder.linear`.
        query_cache
            How many queries' vectors are kept, of those encoded alone and up to 128 tokens long: 16 KB each
            of 32 tokens. 0 for none.
        threads
            How many threads may work on a call, on a CPU; vectors don't depend on it. None: what the
            retriever, or the variable ``LFM2_RETRIEVAL_THREADS``, says; else one for a single query, and for
            all else as many as there are processors to use, ``OMP_NUM_THREADS`` and
            ``torch.set_num_threads`` allow.
        **options
            How documents are read unless a call says otherwise: ``long_documents``, ``document_length``,
            ``pool_factor`` and ``protected_tokens``, see :class:`DocumentOptions`.

        Raises
        ------
        ModelNotFoundError
            If there is no such model, or it can't be fetched.
        CheckpointError
            If its files are incomplete or describe something other than LFM2.
        InvalidInputError
            If the device, dtype or kernels are unknown or missing here, ``query_cache`` is negative,
            ``threads`` is not from 1 to 1,024, or an option has a value it can't have.
        """
        DocumentOptions().changed(options)  # a wrong one shows before any work
        where = find_device(device)
        chosen = resolve_kernels(kernels)
        check_whole("query_cache", query_cache, 0)
        check_threads(threads)
        folder = find_checkpoint(name_or_path, revision)
        precision = find_dtype(dtype, where)
        bundled = str(name_or_path) in BUNDLED
        local = not bundled and not is_hub_name(name_or_path)
        name = str(folder.resolve()) if local else str(name_or_path)
        encoder = cls(
            folder,
            name=name,
            revision=revision if bundled or local else folder.name,
            device=where,
            dtype=precision,
            kernels=chosen,
            query_cache=query_cache,
            threads=threads,
        )
        return encoder.with_options(**options)

    @check_keywords("Encoder.with_options", *OPTIONS)
    def with_options(self, **options: Unpack[DocumentKeywords]) -> Encoder:
        """An encoder with the same weights, and caches, that reads documents in another way.

        Parameters
        ----------
        **options
            What differs, see :class:`DocumentOptions`.

        Raises
        ------
        InvalidInputError
            If a value can't be had, or not of this checkpoint.
        """
        return self.reading(self.options.changed(options))

    def reading(self, options: DocumentOptions) -> Encoder:
        """As :meth:`with_options`, with all options given."""
        if options == self.options:
            return self
        length = options.length(self.settings.document_length, self._limit)
        if length < self._tokenizer.least_length:
            raise InvalidInputError(
                f"document_length must be at least {self._tokenizer.least_length}, not {length}: BOS and the "
                "prefix take the rest"
            )
        encoder = copy.copy(self)
        encoder.options = options
        return encoder

    @property
    def document_length(self) -> int:
        """The most positions of a document's sequence: of the document, or of a window of it."""
        return self.options.length(self.settings.document_length, self._limit)

    @check_keywords("Encoder.encode_documents", *OPTIONS)
    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        output: Literal["float32", "float16"] = "float32",
        on_cut: Callable[[int], None] | None = None,
        **options: Unpack[DocumentKeywords],
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
        **options
            How to read them, where it is not as the encoder's ``options`` say; see :class:`DocumentOptions`.

        Returns
        -------
        TokenEmbeddings
            Vectors ``[n_tokens, dim]`` in the order of ``texts``, without those on the skiplist. Of pooled
            vectors, token id and span are those of the member that is nearest to their mean.

        Raises
        ------
        InvalidTypeError
            If ``texts`` is one string, or holds something that is none.
        InvalidInputError
            If an option has a value it can't have.
        """
        return self.with_options(**options)._documents.encode(texts, output, on_cut)

    @check_keywords("Encoder.iter_documents", *OPTIONS)
    def iter_documents(
        self,
        texts: Iterable[str],
        *,
        output: Literal["float32", "float16"] = "float32",
        on_cut: Callable[[int], None] | None = None,
        batch_size: int = 256,
        **options: Unpack[DocumentKeywords],
    ) -> Iterator[TokenEmbeddings]:
        """Encode a stream of documents: one :class:`TokenEmbeddings` for each, in order, in bounded memory.

        Texts are read a few batches ahead, in the thread that asks, and sorted by length within a batch;
        tokenizer and forward pass run meanwhile in threads of their own. Whatever ``texts`` raises comes
        after the vectors of all that it gave before, with a note that says at which document.

        Parameters
        ----------
        texts
            Any iterable of strings.
        output
            See :meth:`encode_documents`.
        on_cut
            Called with the number of texts that were cut, once a batch that has any. Without it, the end of
            the stream warns once (:class:`TruncationWarning`).
        batch_size
            How many documents are encoded together at most; fewer where they are long.
        **options
            See :meth:`encode_documents`.

        Raises
        ------
        InvalidTypeError
            If ``texts`` is one string, or gives something that is none.
        InvalidInputError
            If an option has a value it can't have.
        """
        check_whole("batch_size", batch_size, 1)
        reader = self.with_options(**options)._documents
        return reader.stream(batched(each_checked(texts), batch_size, len), output, on_cut)

    def iter_batches(
        self,
        batches: Iterable[Sequence[str]],
        *,
        output: Literal["float32", "float16"] = "float32",
    ) -> Generator[tuple[TokenEmbeddings, int], None, None]:
        """As :meth:`iter_documents`, for batches made by the caller: each with how many texts were cut."""
        return self._documents.batches(batches, output)

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        output: Literal["float32", "float16"] = "float32",
        on_cut: Callable[[int], None] | None = None,
    ) -> TokenEmbeddings:
        """Encode queries: as :meth:`encode_documents`, with the query's prefix, length and expansion."""
        check_output(output)
        tokens = [[one] for one in self._tokenizer.queries(checked(texts))]
        report_cut(count_cut(tokens), len(tokens), "query", self._tokenizer.query_length, on_cut)
        skip, threads = self._tokenizer.query_skiplist, self.n_threads
        return embed(self._engine, tokens, self.dim, output, skip, threads=threads)

    def sequences(self, texts: Sequence[str], *, queries: bool = False) -> list[list[int]]:
        """How long the sequences are that the model reads of each text: one, or one for each window.

        Prefix, expansion and what the skiplist drops count, so these are more than the vectors that come out.
        """
        given = checked(texts)
        read = (
            [[one] for one in self._tokenizer.queries(given)] if queries else self._documents.sequences(given)
        )
        return [[len(one.ids) for one in sequences] for sequences in read]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens documents have, cut or not; BOS, prefix and the like don't count."""
        return self._tokenizer.count(checked(texts))

    @property
    def document_room(self) -> int:
        """How many tokens of a document are read, or of a window of it: what `count_tokens` counts."""
        return self.document_length - self._tokenizer.least_length + 1

    def forget_queries(self) -> None:
        """Empty the cache of queries, as a measurement of them needs."""
        self._engine.forget()

    def document_spans(self, text: str) -> NDArray[np.int32]:
        """The characters behind each vector that :meth:`encode_documents` gives a text.

        Without encoding it, unless vectors are pooled.

        Returns
        -------
        ndarray
            int32 ``[n_tokens, 2]``, as ``TokenEmbeddings.spans``.
        """
        return np.array([spans[0] for spans in self.document_members(text)], np.int32).reshape(-1, 2)

    def document_members(
        self, text: str, stored: NDArray[np.floating] | None = None
    ) -> list[NDArray[np.int32]]:
        """The characters behind every token of each vector that :meth:`encode_documents` gives a text.

        Parameters
        ----------
        text
            The document.
        stored
            ``[n_vectors, dim]``, its pooled vectors as they were made elsewhere, with other rounding and so
            perhaps other clusters: each then gets the members of the cluster that it is most like.

        Returns
        -------
        list of ndarray
            int32 ``[n_members, 2]`` for each vector, first the member nearest to the mean, whose span
            ``TokenEmbeddings.spans`` has; one member where vectors are not pooled.
        """
        return self._documents.members(text, stored)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of weights, tokenizer and settings: two encoders with one fingerprint give one result."""
        modules = (self.settings.backbone, *(dense.folder for dense in self.settings.dense))
        return fingerprint(self.folder, modules)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an index records of its encoder."""
        version = self.config.version
        return {
            "name": self.name,
            **({"version": version} if version else {}),
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "query_prefix": self.settings.query_prefix,
            "document_prefix": self.settings.document_prefix,
            "query_length": self.settings.query_length,
            "document_length": self.document_length,
            "long_documents": self.options.long_documents,
            "pool_factor": int(self.options.pool_factor),
            "protected_tokens": int(self.options.protected_tokens),
        }

    @property
    def _limit(self) -> int:
        return min(self.config.max_positions, CONTEXT)

    @property
    def _documents(self) -> DocumentEncoder:
        return DocumentEncoder(
            self._tokenizer,
            self._engine,
            self.options,
            self.document_length,
            self.dim,
            causal=not self.config.bidirectional,
            normalize=self.settings.normalize,
            threads=self.n_threads,
        )

    @property
    def n_threads(self) -> int:
        """How many threads may work on a call, a single query excepted, which one thread encodes."""
        return thread_count(self.threads, most=torch.get_num_threads())

    @property
    def loader(self) -> Callable[[], Encoder]:
        """What loads this encoder anew, as in another process: by name or path, and settings."""
        return partial(
            type(self).load,
            self.name,
            device=str(self.device),
            dtype=self.dtype,
            revision=self.revision,
            **self._given,
            **self.options.chosen,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return self.loader, ()

    def __copy__(self) -> Encoder:
        """Weights and caches are shared: nothing changes them."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Encoder:
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim={self.dim}, device={self.device}, dtype={self.dtype})"
