"""Runs the model over packed batches: memory, threads, forks, the GPU, and the queries asked again."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CheckpointError, ForkedProcessError
from ..platform.concurrency import in_turn
from ..platform.forks import Lock, busy
from ..platform.openmp import can_limit
from .backbone import Backbone, PackedBatch
from .devices import settle_torch
from .fused import fuse
from .int8 import quantize
from .linear import Choice, Kernels, pack
from .projection import Projection
from .shares import one_thread, sharing
from .tokenization import Tokens

__all__ = ["Engine"]

_CPU_BUDGET = 1024  # tokens a step; 300 to 2,400 are as fast within some percent
_GPU_BUDGET = 65_536
_CACHED_LENGTH = 128
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")

Vectors = NDArray[np.float32]


class Engine:
    """A backbone and its projection, ready to run. Safe to use from several threads, and after a fork.

    Parameters
    ----------
    backbone, projection
        With weights, on the CPU; taken over and changed.
    dtype
        That of the matrix products. On a CPU the residual stream, norms and projection stay float32.
    normalize
        Whether vectors get length 1.
    attend_to_expansion
        Whether expansion positions are attention keys.
    kernels
        See :mod:`lfm2_retrieval.encoder.linear`; of a CPU alone.
    sample
        A few sentences, by which int8 is fitted.
    cached
        Of how many short texts encoded alone, which is what queries are, the vectors are kept; 0 for none.

    Attributes
    ----------
    choices
        The kernels of the linears on a CPU.
    budget
        Tokens a step that fit in memory and run well.
    """

    def __init__(
        self,
        backbone: Backbone,
        projection: Projection,
        *,
        device: torch.device,
        dtype: torch.dtype,
        normalize: bool,
        attend_to_expansion: bool,
        kernels: Kernels,
        sample: Sequence[Tokens],
        cached: int,
    ) -> None:
        self._device, self._normalize, self._attend = device, normalize, attend_to_expansion
        self._dtype = str(dtype).removeprefix("torch.")
        self._vocabulary = backbone.config.vocab_size
        self._cache, self._cached = _Cache(cached), cached
        self._process = os.getpid()
        model = nn.Sequential(backbone, projection).requires_grad_(False).eval()
        self.choices: list[Choice] = []
        if device.type == "cpu":
            with one_thread():
                model.float()
                if dtype == torch.int8:
                    self.choices = quantize(backbone, self._batch(sample), kernels)
                    dtype = torch.bfloat16  # of the embeddings; the products are in int8 now
                else:
                    self.choices = pack(backbone, dtype, kernels)
                    if dtype == torch.float32:
                        fuse(backbone)
                backbone.embed_tokens.to(dtype)
        else:
            model.to(device, dtype)
        self._model = model
        self.budget = _CPU_BUDGET if device.type == "cpu" else _gpu_budget(backbone, device)

    def run(self, steps: Sequence[Sequence[Tokens]], threads: int = 1) -> Generator[Vectors, None, None]:
        """The vectors of each step, float32 ``[n_tokens, dim]``, not to be changed.

        On a CPU each thread takes a step, or all take a large one together; vectors have the same bits,
        however many there are. A GPU computes the next step before one is given.

        Parameters
        ----------
        steps
            By the length of their texts.
        threads
            How many may work.

        Raises
        ------
        MemoryError
            If a single text does not fit in memory.
        CheckpointError
            If vectors come out that are no numbers, as where float16 overflows.
        """
        if self._device.type != "cpu":
            yield from self._ahead(steps)
            return
        if not can_limit():  # OpenMP's own threads can't be kept out of a step, and are all that work
            threads = 1
        # Of a text longer than a step should be, memory is not needed several times.
        first = next((i for i, step in enumerate(steps) if _length(step) > _CPU_BUDGET), len(steps))
        if first > 1:
            yield from in_turn(lambda step: self._begin(step)(), steps[:first], min(threads, first))
        for step in steps[first if first > 1 else 0 :]:
            with sharing(threads):
                vectors = self._begin(step)()
            yield vectors

    def _ahead(self, steps: Sequence[Sequence[Tokens]]) -> Iterator[Vectors]:
        waiting: Callable[[], Vectors] | None = None
        for step in steps:
            begun = self._begin(step)
            if waiting is not None:
                yield waiting()
            waiting = begun
        if waiting is not None:
            yield waiting()

    def forget(self) -> None:
        """Empty the cache."""
        self._cache = _Cache(self._cached)

    @busy
    def _begin(self, step: Sequence[Tokens]) -> Callable[[], Vectors]:
        """Begin a step; what comes back waits for it. A short text alone may be in the cache."""
        if self._device.type != "cpu" and self._process != os.getpid():
            raise ForkedProcessError(
                f"a {self._device.type.upper()} device can't be used after a fork: begin processes by "
                '"spawn" or "forkserver", or load the encoder with device="cpu" in this one'
            )
        settle_torch()
        if len(step) != 1 or len(step[0].ids) > _CACHED_LENGTH or not self._cached:
            vectors = self._start(step)
            return lambda: self._fetch(vectors)
        key = (step[0].ids.tobytes(), step[0].real)
        found = self._cache.get(key)
        if found is None:
            found = self._fetch(self._start(step))
            self._cache.put(key, found)
        return lambda: found

    @torch.inference_mode()
    def _start(self, step: Sequence[Tokens]) -> Tensor:
        """Vectors, on a GPU not yet computed. A step that doesn't fit is halved, as are later ones."""
        try:
            return self._compute(step)
        except (MemoryError, RuntimeError) as error:
            if not _is_memory(error):
                raise
            lack = error.with_traceback(None)  # which would keep what was computed
        total = _length(step)
        if len(step) == 1:
            raise MemoryError(
                f"a text of {total:,} tokens does not fit in memory beside the model; "
                "read less of it with a smaller document_length, or in windows"
            ) from lack
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.budget = max(1, min(self.budget, total // 2))
        half = len(step) // 2
        return torch.cat([self._start(step[:half]), self._start(step[half:])])

    def _compute(self, step: Sequence[Tokens]) -> Tensor:
        with one_thread() if self._device.type == "cpu" else nullcontext():
            vectors: Tensor = self._model(self._batch(step)).float()
            return nn.functional.normalize(vectors, dim=-1) if self._normalize else vectors

    @busy
    def _fetch(self, vectors: Tensor) -> Vectors:
        out: Vectors = vectors.cpu().numpy()
        if not np.isfinite(out).all():
            raise CheckpointError(
                f"the model's vectors hold NaN or infinity in {self._dtype}: load it with dtype='float32', "
                "and if it is the same there, fetch the model again"
            )
        return out

    def _batch(self, step: Sequence[Tokens]) -> PackedBatch:
        ids = np.concatenate([one.ids for one in step])
        if ids.max() >= self._vocabulary:
            raise CheckpointError(
                f"the tokenizer gives the id {ids.max()}, the model has {self._vocabulary} embeddings: "
                "tokenizer and weights do not belong together"
            )
        lengths = tuple(len(one.ids) for one in step)
        keys = lengths if self._attend else tuple(one.real for one in step)
        tensor = torch.from_numpy(ids)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return PackedBatch(tensor.to(self._device, non_blocking=True), lengths, keys)


class _Cache:
    """The vectors of the texts used last, by token ids."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[tuple[bytes, int], Vectors] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[bytes, int]) -> Vectors | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: tuple[bytes, int], vectors: Vectors) -> None:
        vectors.setflags(write=False)
        with self._lock:
            self._held[key] = vectors
            while len(self._held) > self._size:
                self._held.popitem(last=False)


def _length(step: Sequence[Tokens]) -> int:
    return sum(len(one.ids) for one in step)


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in _NO_MEMORY
    )


def _gpu_budget(backbone: Backbone, device: torch.device) -> int:
    """Tokens a step by what is free: half of it, at the width where the feed-forward layer is widest."""
    if device.type != "cuda":
        return _GPU_BUDGET // 4
    free, _ = torch.cuda.mem_get_info(device)
    config = backbone.config
    widest = 3 * config.ffn_size + 6 * config.hidden_size
    itemsize = backbone.embed_tokens.weight.element_size()
    return int(max(512, min(_GPU_BUDGET, free // 2 // (widest * itemsize))))
