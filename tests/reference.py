"""An LFM2 forward pass written for the tests alone, simple and slow, on published weight names.

One sequence at a time, explicit softmax and masks, PyTorch's own convolution: nothing is shared with
the library's packed backbone.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def forward(folder: Path, ids: list[int], real: int, attend: bool = False) -> torch.Tensor:
    """Normalised vectors [len(ids), dim]; positions from ``real`` on are expansion."""
    config = json.loads((folder / "config.json").read_text())
    weights = {
        k: v.float() for file in sorted(folder.glob("model*.safetensors")) for k, v in load_file(file).items()
    }
    dense = {k: v.float() for k, v in load_file(folder / "1_Dense/model.safetensors").items()}
    both = config["architectures"] == ["Lfm2BidirectionalModel"]
    eps = config["norm_eps"]
    n = len(ids)

    def rms(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weights[name]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        out = x @ weights[f"{name}.weight"].T
        return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out

    def conv(x: torch.Tensor, at: str) -> torch.Tensor:
        b, c, v = linear(x, at + "in_proj").chunk(3, -1)
        taps = config["conv_L_cache"]
        left = taps // 2 if both else taps - 1
        padded = F.pad((b * v).T[None], (left, taps - 1 - left))
        y = F.conv1d(padded, weights[at + "conv.weight"], weights.get(at + "conv.bias"), groups=x.shape[1])
        return linear(c * y[0].T, at + "out_proj")

    def attention(x: torch.Tensor, at: str) -> torch.Tensor:
        heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
        d = config.get("head_dim") or x.shape[1] // heads
        q = rms(linear(x, at + "q_proj").view(n, heads, d), at + "q_layernorm.weight")
        k = rms(linear(x, at + "k_proj").view(n, kv, d), at + "k_layernorm.weight")
        v = linear(x, at + "v_proj").view(n, kv, d)
        rope = config["rope_parameters"]["rope_theta"]
        angle = torch.arange(n)[:, None] / rope ** (torch.arange(0, d, 2) / d)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]

        def turn(t: torch.Tensor) -> torch.Tensor:
            one, two = t[..., : d // 2], t[..., d // 2 :]
            return torch.cat((one * cos - two * sin, two * cos + one * sin), -1)

        q, k = turn(q), turn(k)
        seen = torch.ones(n, n, dtype=torch.bool) if both else torch.ones(n, n, dtype=torch.bool).tril()
        if not attend:
            seen[:, real:] = False
        out = torch.empty(n, heads, d)
        for h in range(heads):
            s = (q[:, h] @ k[:, h * kv // heads].T / d**0.5).masked_fill(~seen, float("-inf"))
            out[:, h] = s.softmax(-1) @ v[:, h * kv // heads]
        return linear(out.flatten(1), at + "out_proj")

    x = weights["embed_tokens.weight"][torch.tensor(ids)]
    for i, kind in enumerate(config["layer_types"]):
        at = f"layers.{i}."
        y = rms(x, at + "operator_norm.weight")
        x = x + (attention(y, at + "self_attn.") if kind == "full_attention" else conv(y, at + "conv."))
        y = rms(x, at + "ffn_norm.weight")
        ffn = at + "feed_forward."
        x = x + linear(F.silu(linear(y, ffn + "w1")) * linear(y, ffn + "w3"), ffn + "w2")
    x = rms(x, "embedding_norm.weight") @ dense["linear.weight"].T + dense.get("linear.bias", 0)
    return F.normalize(x, dim=-1)
