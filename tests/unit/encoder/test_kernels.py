"""Every kernel of linears held to F.linear, and the ways back to it."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder import fused, int8, linear, packed
from lfm2_retrieval.encoder.backbone import Backbone, PackedBatch
from lfm2_retrieval.encoder.config import BackboneConfig
from lfm2_retrieval.errors import InvalidInputError

Make = Callable[..., Path]
TEXTS = [
    "the quick brown fox",
    "",
    "猫は静かに眠る",
    "rain falls on hills (old towns); people sell bread. " * 9,
]
ONEDNN = linear._onednn_pays(torch.float32)
KERNELS = ["plain", *(["onednn"] if ONEDNN else [])]
DTYPES = [torch.float32, torch.bfloat16]


def works(dtype: str) -> bool:
    """Whether oneDNN has right products of this dtype on this processor."""
    try:
        if dtype == "int8":
            int8._choose(*int8._quantize_weight(torch.randn(64, 64)), "onednn")
        else:
            linear._choose(torch.randn(64, 64, dtype=getattr(torch, dtype)), None, "onednn")
    except InvalidInputError:
        return False
    return True


INT8 = ["plain", *(["onednn"] if ONEDNN and works("int8") else [])]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel was chosen before."""
    monkeypatch.setattr(linear, "_CHOSEN", {})


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 70), into=st.integers(1, 90), out=st.integers(1, 90), bias=st.booleans())
def test_kernels_equal_linear(
    kernel: str, dtype: torch.dtype, rows: int, into: int, out: int, bias: bool
) -> None:
    if kernel == "onednn" and dtype == torch.bfloat16 and not works("bfloat16"):
        pytest.skip("oneDNN has no bfloat16 here")
    torch.manual_seed(rows * 1000 + into)
    layer = nn.Linear(into, out, bias=bias)
    x = torch.randn(rows, into)
    with torch.inference_mode():
        packed, choice = linear.pack_linear(layer, dtype, kernel)
        got, gated = packed(x), packed.silu(x)
        expected = F.linear(x, layer.weight, layer.bias)
    assert choice.kernel == kernel
    assert got.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(gated.float(), F.silu(expected), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 210), into=st.integers(1, 1100), panels=st.integers(1, 5), bias=st.booleans())
def test_narrow_weights_equal_linear(
    kind: torch.dtype, rows: int, into: int, panels: int, bias: bool
) -> None:
    torch.manual_seed(rows * 1000 + into)
    layer = nn.Linear(into, 16 * panels, bias=bias)
    with torch.inference_mode():
        layer.weight.copy_(layer.weight.to(kind))
        x = torch.randn(rows, into)
        narrow, choice = linear.pack_linear(layer, torch.float32, "narrow")
        got, gated, expected = narrow(x), narrow.silu(x), layer(x)
        strided = narrow(torch.randn(into, rows).copy_(x.T).T)
        alone = torch.cat([narrow(row[None]) for row in x[:7]]) if rows else got[:7]
    assert choice.kernel == "narrow"
    assert narrow.weight.element_size() == 2
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gated, F.silu(expected), atol=1e-5, rtol=1e-5)
    assert torch.equal(strided, got)
    assert torch.equal(alone, got[:7])  # bit for bit, whatever rows are beside one


def test_weights_that_need_more_bits_are_not_narrow() -> None:
    wide, odd, named = nn.Linear(32, 32), nn.Linear(32, 33), nn.Linear(32, 32)
    for layer in (odd, named):
        layer.weight.data = layer.weight.data.half().float()
    assert linear.pack_linear(wide, torch.float32, "auto")[1].kernel in KERNELS
    assert "narrow" in linear.pack_linear(odd, torch.float32, "auto")[1].refused
    assert linear.pack_linear(named, torch.bfloat16, "auto")[1].kernel in KERNELS
    for layer, dtype, why in (
        (wide, torch.float32, "16 bits"),
        (odd, torch.float32, "multiple of 16"),
        (named, torch.bfloat16, "16 bits"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            linear.pack_linear(layer, dtype, "narrow")


@pytest.mark.usefixtures("fresh")
def test_a_shape_with_one_wide_weight_has_one_kernel_that_takes_all() -> None:
    model = nn.Sequential(nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False))
    model[0].weight.data = model[0].weight.data.half().float()
    model.requires_grad_(False)
    choices = linear.pack(model, torch.float32, "auto")
    assert [choice.kernel in KERNELS for choice in choices] == [True]
    assert type(model[0]) is type(model[1])


@pytest.mark.usefixtures("fresh")
def test_narrow_takes_the_few_rows_of_which_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors where another kernel is faster of many."""

    def times(calls: dict, rounds: int = 7) -> dict[str, float]:
        few = len(calls["narrow"].args[0]) < packed.FEW
        return {name: 1.0 if name != "narrow" else (0.5 if few else 2.0) for name in calls}

    monkeypatch.setattr(linear, "time_layers", times)
    layer = nn.Linear(48, 64)
    layer.weight.data = layer.weight.data.bfloat16().float()
    both, choice = linear.pack_linear(layer, torch.float32, "auto")
    assert choice.kernel == "narrow+plain"
    for rows in (0, 3, packed.FEW, packed.FEW + 1):
        x = torch.randn(rows, 48)
        torch.testing.assert_close(both(x), layer(x))
        torch.testing.assert_close(both.silu(x), F.silu(layer(x)))
    monkeypatch.setattr(linear, "_FIXED", {})
    linear.fix_kernels([(*choice.shape, choice.dtype, choice.kernel)])
    monkeypatch.undo()
    monkeypatch.setattr(linear, "_FIXED", {(64, 48, "float32"): "narrow+plain"})
    assert linear.pack_linear(layer, torch.float32, "auto")[1].kernel == "narrow+plain"


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("conv_bias", [True, False])
def test_one_pass_between_products_of_float32_changes_nothing(causal: bool, conv_bias: bool) -> None:
    torch.manual_seed(3)
    config = BackboneConfig(
        vocab_size=50,
        hidden_size=48,
        layer_types=("conv", "full_attention", "conv"),
        num_heads=6,
        num_kv_heads=3,
        ffn_size=64,
        head_dim=8,
        conv_kernel=3,
        bidirectional=not causal,
        conv_bias=conv_bias,
    )
    backbone = Backbone(config).requires_grad_(False)
    for parameter in backbone.parameters():
        parameter.normal_(std=0.3)
    lengths = (1, 2, 2, 9, 30)
    batch = PackedBatch(torch.randint(0, 50, (sum(lengths),)), lengths, (1, 2, 2, 6, 30))
    with torch.inference_mode():
        before = backbone(batch)
        fused.fuse(backbone)
        torch.testing.assert_close(backbone(batch), before, atol=1e-4, rtol=1e-4)
    kinds = {type(module).__name__ for module in backbone.modules()}
    assert {"FusedNorm", "FusedAttention"} <= kinds
    assert ("FusedShortConv" in kinds) is not conv_bias


@pytest.mark.parametrize("kernel", INT8)
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 70), into=st.integers(1, 90), out=st.integers(1, 90), scale=st.floats(1e-6, 1e6))
def test_int8_kernels_are_exact_in_what_was_rounded(
    kernel: str, rows: int, into: int, out: int, scale: float
) -> None:
    torch.manual_seed(rows * 1000 + into)
    weight, scales = int8._quantize_weight(torch.randn(out, into))
    x = torch.randn(rows, into) * scale
    if rows > 1:
        x[0], x[1] = 0, x[1].sign() * scale
    with torch.inference_mode():
        got = int8._KERNELS[kernel](weight, scales, None)(x)
    rounded, row_scales = int8._quantize_rows(x)
    exact = ((rounded.double() - 128) @ weight.double().T) * scales.double() * row_scales.double()
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5 * scale)
    off = ((rounded.double() - 128) * row_scales - x).abs()
    assert (off <= 0.501 * row_scales).all()


@pytest.mark.parametrize(
    "broken",
    [
        lambda *a: (_ for _ in ()).throw(RuntimeError("no such operator")),
        lambda x, w, *a: torch.zeros(len(x), 7),
        lambda x, w, *a: torch.full((len(x), 64), float("nan")),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_a_kernel_that_fails_or_is_wrong_is_out(monkeypatch: pytest.MonkeyPatch, broken: Callable) -> None:
    monkeypatch.setattr(packed.OneDNN, "_run", lambda self, x, activation: broken(x, self.weight))
    monkeypatch.setattr(linear, "_onednn_pays", lambda dtype: True)
    layer = nn.Linear(32, 64)
    chosen, choice = linear.pack_linear(layer, torch.float32, "auto")
    assert choice.kernel == "plain"
    assert choice.refused["onednn"]
    x = torch.randn(5, 32)
    torch.testing.assert_close(chosen(x), layer(x))
    with pytest.raises(InvalidInputError, match="'plain'"):
        linear.pack_linear(layer, torch.float32, "onednn")


@pytest.mark.usefixtures("fresh")
def test_int8_falls_back_where_products_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As oneDNN's do on processors without dot products of int8."""
    product = int8._PlainInt8.product

    def saturate(self, rows: torch.Tensor) -> torch.Tensor:
        return product(self, rows).clamp(-20, 20)

    monkeypatch.setattr(int8, "_KERNELS", {"plain": int8._PlainInt8, "onednn": int8._PlainInt8})
    clamped = type("Clamped", (int8._PlainInt8,), {"product": saturate})
    monkeypatch.setitem(int8._KERNELS, "onednn", clamped)
    weight, scale = int8._quantize_weight(torch.randn(64, 512))
    choice = int8._choose(weight, scale, "auto")
    assert choice.kernel == "plain"
    assert "off by" in choice.refused["onednn"]


@pytest.mark.usefixtures("fresh")
def test_without_the_operators_all_dtypes_still_work(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {d: Encoder.load(checkpoint(), dtype=d).encode_documents(TEXTS) for d in ("float32", "int8")}
    monkeypatch.setattr(linear, "_CHOSEN", {})

    def missing(self, *args: object) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(packed.OneDNN, "__init__", missing)
    monkeypatch.setattr(int8._OneDNNInt8, "__init__", missing)
    for dtype, before in expected.items():
        encoder = Encoder.load(checkpoint(), dtype=dtype)
        assert {choice.kernel for choice in encoder.kernels} == {"plain"}
        np.testing.assert_allclose(encoder.encode_documents(TEXTS).embeddings, before.embeddings, atol=1e-4)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_encoders_loaded_at_once_have_the_same_kernels(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Two threads choose for one shape at the same time, and their clocks don't agree."""
    folder, chosen, together = checkpoint(), threading.local(), threading.Barrier(2)

    def select(makers: dict, x: torch.Tensor, **given: object) -> linear.Choice:
        if not getattr(chosen, "waited", False):
            chosen.waited = True
            together.wait(60)
        kernel = names.setdefault(threading.get_ident(), f"of thread {len(names)}")
        return linear.Choice(given["shape"], "float32", kernel)

    names: dict[int, str] = {}
    plain = {(linear, "KERNELS"): packed.Plain, (int8, "_KERNELS"): int8._PlainInt8}
    for (module, table), kernel in plain.items():
        monkeypatch.setattr(module, "select", select)
        monkeypatch.setattr(module, table, {f"of thread {i}": kernel for i in range(2)})
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: Encoder.load(folder, dtype=dtype, kernels="auto"), range(2))
    assert one.kernels == two.kernels  # by identity: each was chosen once


def test_the_environment_stands_in_for_auto(checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFM2_RETRIEVAL_KERNELS", "plain")
    assert {choice.kernel for choice in Encoder.load(checkpoint()).kernels} == {"plain"}
    for named in KERNELS:
        assert {c.kernel for c in Encoder.load(checkpoint(), kernels=named).kernels} == {named}
    monkeypatch.setenv("LFM2_RETRIEVAL_KERNELS", "quick")
    with pytest.raises(InvalidInputError, match="'quick'"):
        Encoder.load(checkpoint())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_weights_are_held_once(checkpoint: Make, dtype: str) -> None:
    backbone = Encoder.load(checkpoint(conv_bias=True, kernel=4), dtype=dtype)._engine._model[0]
    assert not any(isinstance(module, nn.Linear) for module in backbone.modules())
    for module in backbone.modules():
        if isinstance(module, packed.Packed):
            tensors = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
            assert sum(tensor.ndim >= 2 for tensor in tensors) == 1


SHAPES = [
    {},
    {"conv_bias": True, "kv_heads": 1, "kernel": 5},
    {"bidirectional": True, "dense_bias": True, "kv_heads": 4},
    {"layers": ("full_attention", "conv"), "hidden": 48, "heads": 6, "kv_heads": 3, "ffn": 80},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.997), ("float16", 0.9999), ("int8", 0.97)])
def test_other_dtypes_are_near_float32(checkpoint: Make, shape: dict, dtype: str, least: float) -> None:
    folder = checkpoint(**shape)
    full, other = Encoder.load(folder), Encoder.load(folder, dtype=dtype)
    for encode in ("encode_documents", "encode_queries"):
        ours, theirs = (getattr(e, encode)(TEXTS, on_cut=lambda n: None).embeddings for e in (full, other))
        cosines = (ours * theirs).sum(axis=1)
        assert cosines.min() >= least
        assert theirs.dtype == np.float32


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.9995), ("int8", 0.995)])
def test_alone_is_near_in_a_batch(checkpoint: Make, dtype: str, least: float) -> None:
    encoder = Encoder.load(checkpoint(bidirectional=True), dtype=dtype)
    texts = [*TEXTS, *(f"{text} {i}" for i in range(30) for text in TEXTS)]
    for encode in (encoder.encode_documents, encoder.encode_queries):
        together = encode(texts, on_cut=lambda n: None)
        for i, text in enumerate(texts[:12]):
            alone = encode([text], on_cut=lambda n: None)[0]
            assert (together[i] * alone).sum(axis=1).min() >= least


def test_int8_stands_channels_far_larger_than_the_rest(checkpoint: Make, tmp_path: Path) -> None:
    """Norm weights of a few channels are 200 times the others, whose next weights are as much smaller."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoint(), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith(("operator_norm.weight", "ffn_norm.weight")):
            tensor[::11] *= 200
        elif re.search(r"(in|q|k|v)_proj\.weight|w[13]\.weight", name):
            tensor[:, ::11] /= 200
    save_file(tensors, folder / "model.safetensors")
    full, small = Encoder.load(folder), Encoder.load(folder, dtype="int8")
    cosines = (full.encode_documents(TEXTS).embeddings * small.encode_documents(TEXTS).embeddings).sum(1)
    assert cosines.min() >= 0.97
    assert cosines.mean() >= 0.995


def test_layers_that_int8_harms_keep_bfloat16(checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "_ERROR_LIMIT", 0.0)
    encoder = Encoder.load(checkpoint(), dtype="int8")
    assert {choice.dtype for choice in encoder.kernels} == {"bfloat16"}
    assert Encoder.load(checkpoint(), dtype="bfloat16").encode_documents(TEXTS).embeddings.shape == (
        encoder.encode_documents(TEXTS).embeddings.shape
    )


def _rounded_back(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (rows.float() - 128) * scale


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 5, 200])
def test_fused_rounding_equals_torchs(monkeypatch: pytest.MonkeyPatch, n: int, threads: int) -> None:
    monkeypatch.setattr(fused, "_LEAST", 1)
    monkeypatch.setattr(fused, "n_sharing", lambda: threads)
    x = torch.randn(n, 77) * torch.logspace(-20, 20, n)[:, None]
    x[: n // 5] = 0
    rows, scale = fused.round_rows(x)
    expected, expected_scale = int8._quantize_rows(x)
    torch.testing.assert_close(scale, expected_scale)
    assert ((rows.int() - expected.int()).abs() <= 1).all()


@pytest.mark.parametrize("n", [0, 1, 130])
def test_fused_norm_equals_torchs(n: int) -> None:
    norm = torch.nn.RMSNorm(77, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(n, 77) * torch.logspace(-6, 6, n)[:, None]
    rows, scale = fused._Rounding(norm)(x)
    exact = norm(x)
    assert ((_rounded_back(rows, scale) - exact).abs() <= 0.501 * scale + 1e-6 * exact.abs()).all()


@pytest.mark.parametrize("width", [6, 32, 64])
def test_fused_rotation_equals_torchs(width: int) -> None:
    torch.manual_seed(width)
    heads, factors, weights = torch.randn(70, 5, width), torch.rand(70) + 0.1, torch.randn(4, width)
    angles = torch.rand(70, width // 2) * 9
    cosines, sines = (f(torch.cat((angles, angles), 1)) for f in (torch.cos, torch.sin))
    scaled = heads * factors[:, None, None]
    normed = F.rms_norm(scaled[:, :4], (width,), eps=1e-5) * weights
    turned = torch.cat((-normed[..., width // 2 :], normed[..., : width // 2]), -1)
    expected = normed * cosines[:, None] + turned * sines[:, None]
    eps = torch.tensor([1e-5])
    fused._each_row(fused._kernels().rotate, heads, factors, weights, cosines, sines, eps)
    torch.testing.assert_close(heads, torch.cat((expected, scaled[:, 4:]), 1), rtol=1e-5, atol=1e-5)


def test_rows_that_are_no_numbers_stay_none() -> None:
    x = torch.randn(4, 9)
    x[1, 3], x[2, 0] = float("nan"), float("inf")
    _, scale = fused.round_rows(x)
    assert scale.isfinite()[:, 0].tolist() == [True, False, False, True]


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 600), width=st.integers(1, 70), spread=st.floats(1e-3, 300))
def test_fused_gates_equal_silu(n: int, width: int, spread: float) -> None:
    torch.manual_seed(n + width)
    gates, values, factors = torch.randn(n, width) * spread, torch.randn(n, width), torch.rand(n) + 0.1
    rows, scale = fused._rounded(fused._kernels().gate, gates.shape, gates, values, factors)
    exact = F.silu(gates * factors[:, None]) * (values * factors[:, None])
    assert ((_rounded_back(rows, scale) - exact).abs() <= 0.501 * scale + 1e-6 * exact.abs()).all()


@pytest.mark.skipif("onednn" not in INT8, reason="oneDNN's products of int8 are not right here")
@pytest.mark.parametrize("causal", [True, False])
def test_fused_layers_are_near_float32(checkpoint: Make, causal: bool) -> None:
    folder = checkpoint(bidirectional=not causal)
    whole, halved = Encoder.load(folder), Encoder.load(folder, dtype="int8", kernels="onednn")
    kinds = {type(module).__name__ for module in halved._engine._model.modules()}
    assert {"Int8Attention", "Int8SwiGLU", "Int8ShortConv"} <= kinds
    a, b = (e.encode_documents(TEXTS, on_cut=lambda n: None) for e in (whole, halved))
    assert (a.embeddings * b.embeddings).sum(1).min() > 0.95
    alone = [halved.encode_documents([text], on_cut=lambda n: None).embeddings for text in TEXTS]
    assert (np.concatenate(alone) * b.embeddings).sum(1).min() > 0.995
