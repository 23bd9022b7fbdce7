"""How the model is run: memory, threads, forks, the cache of queries, damaged weights."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder import attention, fused, shares
from lfm2_retrieval.encoder.attention import Sequences, attend
from lfm2_retrieval.encoder.devices import find_dtype
from lfm2_retrieval.errors import CheckpointError, InvalidInputError
from lfm2_retrieval.platform import openmp

Make = Callable[..., Path]
TEXTS = [f"{text} {i}" for i in range(12) for text in ("fox", "the quick brown fox jumps", "猫は静かに")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_several_threads_at_once_give_what_one_gives(checkpoint: Make, dtype: str) -> None:
    encoder = Encoder.load(checkpoint(), dtype=dtype)
    documents = encoder.encode_documents(TEXTS).embeddings
    queries = [encoder.encode_queries([text]).embeddings for text in TEXTS]

    def check(found: np.ndarray, expected: np.ndarray) -> None:
        # Not bit by bit: the libraries share a product among as many threads as they find free.
        if dtype == "float32":
            np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found * expected).sum(axis=1).min() >= 0.9995

    def work(number: int) -> None:
        for at in range(number, number + 6):
            check(encoder.encode_documents(TEXTS).embeddings, documents)
            check(encoder.encode_queries([TEXTS[at]]).embeddings, queries[at])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_step_that_does_not_fit_is_halved(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    encoder = Encoder.load(checkpoint())
    expected = encoder.encode_documents(TEXTS).embeddings
    compute, sizes = encoder._engine._compute, []

    def small(step: list) -> torch.Tensor:
        sizes.append(sum(len(one.ids) for one in step))
        if sizes[-1] > 150:
            raise error
        return compute(step)

    monkeypatch.setattr(encoder._engine, "_compute", small)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).embeddings, expected, atol=1e-5)
    failed = sum(size > 150 for size in sizes)
    assert failed >= 1
    assert encoder._engine.budget <= 512
    sizes.clear()
    encoder.encode_documents(TEXTS)
    assert sum(size > 150 for size in sizes) < max(sizes) + failed  # it goes on with smaller steps
    with pytest.raises(MemoryError, match="document_length"):
        encoder.encode_documents(["fox " * 400])


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint())

    def fails(step: list) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(encoder._engine, "_compute", fails)
    with pytest.raises(RuntimeError, match="mat1"):
        encoder.encode_documents(TEXTS)


def test_queries_asked_again_are_not_computed_again(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint(), query_cache=2)
    without = Encoder.load(checkpoint(), query_cache=0)
    compute, calls = encoder._engine._compute, []
    monkeypatch.setattr(encoder._engine, "_compute", lambda step: calls.append(1) or compute(step))
    for text, computed in (
        ("fox", 1),
        ("fox", 1),
        ("hills", 2),
        ("fox", 2),
        ("towns", 3),
        ("hills", 4),
        ("towns", 4),
    ):
        ours, theirs = encoder.encode_queries([text]), without.encode_queries([text])
        np.testing.assert_array_equal(ours.embeddings, theirs.embeddings)
        np.testing.assert_array_equal(ours.spans, theirs.spans)
        assert len(calls) == computed
        ours.embeddings[:] = 0  # the caller's own
    encoder.encode_documents(["fox"])
    assert len(calls) == 5  # another prefix, another text
    encoder.encode_queries(["fox", "towns"])
    assert len(calls) == 6  # only what is asked alone


_FORK = """
import os, sys
import torch
torch.set_num_threads(2)
from lfm2_retrieval import Encoder
encoder = Encoder.load(sys.argv[1], dtype=sys.argv[2])
texts = ["rain falls on hills " * 60] * 8
before = encoder.encode_documents(texts).embeddings
child = os.fork()
if not child:
    after = encoder.encode_documents(texts).embeddings
    encoder.encode_queries(["fox"])
    os._exit(0 if abs(after - before).max() < 0.02 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_an_encoder_works_after_a_fork(checkpoint: Make, dtype: str) -> None:
    command = [sys.executable, "-c", _FORK, str(checkpoint(hidden=128, ffn=512)), dtype]
    done = subprocess.run(command, timeout=300, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_encoding_and_the_encoder_lives(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint())
    expected = encoder.encode_documents(["fox"]).embeddings
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    def go_on() -> None:
        while time.monotonic():
            encoder.encode_documents(TEXTS)

    with pytest.raises(KeyboardInterrupt):
        go_on()
    timer.join()
    np.testing.assert_array_equal(encoder.encode_documents(["fox"]).embeddings, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model.safetensors", "layers.1.self_attn.k_proj.weight"),
        ("1_Dense/model.safetensors", "linear.weight"),
    ],
)
def test_weights_that_are_no_numbers_are_named(
    checkpoint: Make, tmp_path: Path, value: float, file: str, name: str
) -> None:
    folder = shutil.copytree(checkpoint(), tmp_path / "model")
    tensors = load_file(folder / file)
    tensors[name][1, 2] = value
    save_file(tensors, folder / file)
    with pytest.raises(CheckpointError, match=name):
        Encoder.load(folder)


def test_vectors_that_are_no_numbers_name_the_dtype(checkpoint: Make, tmp_path: Path) -> None:
    """Weights that float16 holds may give products that it doesn't."""
    folder = shutil.copytree(checkpoint(), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    large = {name: weight * 1e6 for name, weight in weights.items() if "feed_forward.w3" in name}
    save_file(weights | large, folder / "model.safetensors")
    assert np.isfinite(Encoder.load(folder).encode_documents(["the quick fox"]).embeddings).all()
    encoder = Encoder.load(folder, dtype="float16")
    for encode in (encoder.encode_documents, encoder.encode_queries):
        with pytest.raises(CheckpointError, match=r"float16.*dtype='float32'"):
            encode(["the quick fox"])


def test_int8_is_for_cpus() -> None:
    with pytest.raises(InvalidInputError, match="for CPUs"):
        find_dtype("int8", torch.device("cuda"))


@pytest.mark.parametrize("causal", [True, False])
def test_attention_run_by_run_equals_attention_one_by_one(causal: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    lengths, keys = (3, 3, 5, 1, 7, 7), (3, 3, 2, 1, 7, 4)
    q, k, v = (torch.randn(sum(lengths), heads, 8, generator=draw) for heads in (6, 2, 2))
    got = attend(q, k, v, Sequences.of(lengths, keys, q), causal=causal)
    start = 0
    for length, count in zip(lengths, keys, strict=True):
        rows = slice(start, start + length)
        for head in range(6):
            scores = q[rows, head] @ k[rows, head // 3][:count].T / 8**0.5
            if causal:
                scores = scores.masked_fill(torch.ones(length, count).triu(1).bool(), -torch.inf)
            expected = scores.softmax(-1) @ v[rows, head // 3][:count]
            torch.testing.assert_close(got[rows, head], expected, atol=1e-5, rtol=1e-4)
        start += length


def test_a_step_is_one_threads_and_the_caller_keeps_its_setting(checkpoint: Make, monkeypatch) -> None:
    encoder = Encoder.load(checkpoint(), dtype="float32", query_cache=0)
    before, used = torch.get_num_threads(), []
    compute = encoder._engine._model.forward
    monkeypatch.setattr(
        encoder._engine._model,
        "forward",
        lambda batch: used.append(torch.get_num_threads()) or compute(batch),
    )
    encoder.encode_queries(["fox"])
    encoder.encode_documents(["fox", "hills"])
    assert used == [1, 1] or not openmp.can_limit()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("dtype", ["float32", "int8", "bfloat16"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_threads_change_no_bit(checkpoint: Make, monkeypatch, dtype: str, bidirectional: bool) -> None:
    """Of steps side by side, of a text longer than a step, and of one that is encoded alone."""
    monkeypatch.setattr("lfm2_retrieval.encoder.engine._CPU_BUDGET", 100)
    monkeypatch.setattr(shares, "_FEWEST", 16)
    monkeypatch.setattr(shares, "_WORK", 1)
    monkeypatch.setattr(attention, "_TOGETHER", 20)
    monkeypatch.setattr(fused, "_LEAST", 8)
    encoder = Encoder.load(checkpoint(bidirectional=bidirectional), dtype=dtype, query_cache=0)
    texts = [("rain falls on hills " * (1 + 7 * i % 23)) + str(i) for i in range(40)] + ["the fox " * 300]
    expected: Any = None
    cut: list[int] = []
    for threads in (1, 2, 3, 8):
        one = copy.copy(encoder)
        one.threads = threads
        before = torch.get_num_threads()
        many = one.encode_documents(texts, document_length=400, on_cut=cut.append)
        alone = one.encode_documents(texts[-1:], document_length=400, on_cut=cut.append)
        queries = one.encode_queries(texts[:5], on_cut=cut.append)
        assert torch.get_num_threads() == before
        found = many, alone, queries
        expected = expected or found
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(got.embeddings, wanted.embeddings)
            np.testing.assert_array_equal(got.offsets, wanted.offsets)


def test_threads_are_checked_before_the_model_is_loaded(tmp_path) -> None:
    for wrong in (0, -2, True, 4096, 1.5):
        with pytest.raises(InvalidInputError, match="threads must be"):
            Encoder.load(tmp_path / "nothing", threads=wrong)


def test_threads_of_an_encoder(checkpoint: Make, monkeypatch) -> None:
    monkeypatch.setenv("LFM2_RETRIEVAL_THREADS", "5")
    folder = checkpoint()
    assert Encoder.load(folder).n_threads == 5
    named = Encoder.load(folder, threads=3)
    assert (
        named.n_threads == named.with_options(pool_factor=2).n_threads == copy.deepcopy(named).n_threads == 3
    )
    assert pickle.loads(pickle.dumps(named)).threads == 3
