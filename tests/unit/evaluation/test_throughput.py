"""The encoder's speed: what is counted, held to torch's own count."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder.engine import _Cache
from lfm2_retrieval.evaluation import throughput
from lfm2_retrieval.evaluation.environment import PeakMemory
from lfm2_retrieval.evaluation.throughput import count_flops, matmul_peak, measure_throughput

TINY = {"layers": ("conv",), "hidden": 8, "heads": 2, "kv_heads": 2, "ffn": 8, "dim": 8}
"""A model that is fast: what is counted doesn't depend on it."""


@pytest.mark.parametrize("lengths", [(20,), (7, 7, 7), (3, 40, 12)])
def test_the_flops_are_those_that_torch_counts(checkpoint, lengths):
    encoder = Encoder.load(checkpoint(bidirectional=True), kernels="plain")  # torch counts no other
    texts = [" ".join(["fox"] * length) for length in lengths]
    read = [sum(lengths) for lengths in encoder.sequences(texts)]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it misses the CPU's own
        encoder.encode_documents(texts)
    taps = sum(kind == "conv" for kind in encoder.config.layer_types)
    elementwise = 2 * sum(read) * taps * encoder.config.conv_kernel * encoder.config.hidden_size
    ours = count_flops(encoder.config, encoder.dim, read)
    assert ours - elementwise == counter.get_total_flops()


def test_causal_attention_counts_the_pairs_that_see_each_other(checkpoint):
    causal = Encoder.load(checkpoint()).config
    both = Encoder.load(checkpoint(bidirectional=True)).config
    layers = sum(kind == "full_attention" for kind in causal.layer_types)
    pair = 2 * layers * 2 * causal.num_heads * causal.head_dim
    assert count_flops(both, 8, [10]) - count_flops(causal, 8, [10]) == pair * 45


def test_skipped_tokens_are_read_too(checkpoint):
    encoder = Encoder.load(checkpoint())
    text = "fox , dog . rain !"
    ((read,),) = encoder.sequences([text])
    assert read >= len(encoder.encode_documents([text])[0])
    assert encoder.sequences(["fox", text], queries=True) == [[32], [32]]
    in_windows = encoder.with_options(long_documents="window", document_length=16)
    assert [len(windows) > 1 for windows in in_windows.sequences([text, text * 20])] == [False, True]
    assert max(in_windows.sequences([text * 20])[0]) == 16


def test_rows_have_batches_and_lengths(checkpoint):
    encoder = Encoder.load(checkpoint(**TINY))
    found = measure_throughput(encoder, ["fox dog", "", "rain " * 30], seconds=0.001)
    assert {(row["what"], row["batch"]) for row in found["rows"]} == {
        *((what, batch) for what in ("query, 32 tokens", "document, 256 tokens") for batch in (1, 8, 32)),
        *(("document, 512 tokens", batch) for batch in (1, 8, 32)),
        *(("real documents", batch) for batch in (1, 2)),
    }
    for row in found["rows"]:
        assert row["share_of_peak"] == pytest.approx(row["flops"] / found["peak_flops"])
        assert row["tokens_per_second"] == pytest.approx(row["texts_per_second"] * row["mean_tokens"])
        assert row["share_of_peak"] > 0


def test_nothing_measured_comes_from_the_cache(checkpoint, monkeypatch):
    found, get = [], _Cache.get
    monkeypatch.setattr(_Cache, "get", lambda self, key: found.append(get(self, key)) or found[-1])
    measure_throughput(Encoder.load(checkpoint(**TINY)), ["fox dog", "rain"], seconds=0.001)
    assert found
    assert all(one is None for one in found)


def test_the_peak_is_that_of_a_matrix_product(checkpoint, monkeypatch):
    encoder = Encoder.load(checkpoint(**TINY))
    clock = itertools.count()  # a second between any two looks at it
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: float(next(clock)))
    assert matmul_peak(encoder, 0.1) == 2 * 1024**3


def test_without_a_product_of_its_dtype_there_is_no_peak(checkpoint, monkeypatch):
    def fails(*_):
        raise RuntimeError("not implemented")

    encoder = Encoder.load(checkpoint(**TINY))
    monkeypatch.setattr(torch, "mm", fails)
    assert matmul_peak(encoder) is None
    found = measure_throughput(encoder, [], seconds=0.001)
    assert found["peak_flops"] is None
    assert {row["share_of_peak"] for row in found["rows"]} == {None}


def test_the_peak_of_memory_is_of_what_comes_after():
    before = np.ones(200_000_000 // 8)  # resident, then freed
    del before
    memory = PeakMemory()
    first = memory.used()
    if first["peak_memory_since"] != "here":
        pytest.skip("this system doesn't let a process forget its peak")
    assert first["peak_memory_bytes"] < first["memory_before_bytes"] + 50e6
    block = np.ones(120_000_000 // 8)
    used = memory.used()
    assert used["peak_memory_bytes"] >= first["memory_before_bytes"] + 0.9 * block.nbytes
