"""LFM2 as a bidirectional encoder, for transformers and sentence-transformers (``trust_remote_code=True``).

transformers has the causal LFM2 alone, which would give plausible and wrong vectors. The library
lfm2-retrieval doesn't run this file: its backbone is its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Lfm2Config, Lfm2Model
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

__all__ = ["Lfm2BidirectionalConfig", "Lfm2BidirectionalModel"]


class Lfm2BidirectionalConfig(Lfm2Config):
    """The settings of LFM2, under a name that transformers can't take for its causal model."""

    model_type = "lfm2_bidirectional"


class CentredShortConv(Lfm2ShortConv):
    """The short convolution with a kernel centred on each token; beyond a text's borders stand zeros."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """``hidden_states`` ``[n_texts, n_tokens, hidden]``, ``attention_mask`` ``[n_texts, n_tokens]``."""
        before, after, values = self.in_proj(hidden_states).chunk(3, dim=-1)
        gated = (before * values * attention_mask[:, :, None]).transpose(1, 2)
        left = self.conv_kernel_size // 2
        padded = F.pad(gated, (left, self.conv_kernel_size - 1 - left))
        mixed = F.conv1d(padded, self.conv.weight, self.conv.bias, groups=gated.shape[1])
        out: Tensor = self.out_proj(after * mixed.transpose(1, 2))
        return out


class Lfm2BidirectionalModel(Lfm2Model):
    """Every token sees all tokens of its text, on both sides."""

    config_class = Lfm2BidirectionalConfig

    def __init__(self, config: Lfm2BidirectionalConfig) -> None:
        super().__init__(config)
        for number, layer in enumerate(self.layers):
            if layer.is_attention_layer:
                layer.self_attn.is_causal = False
            else:
                layer.conv = CentredShortConv(config, number)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """As `Lfm2Model`; texts are padded on the right, and what is masked is seen by no token."""
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        if position_ids is None:
            position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
        rotations = self.rotary_emb(hidden, position_ids=position_ids)
        seen = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=attention_mask
        )
        for layer in self.layers:
            normed = layer.operator_norm(hidden)
            if layer.is_attention_layer:
                mixed, _ = layer.self_attn(normed, position_embeddings=rotations, attention_mask=seen)
            else:
                mixed = layer.conv(normed, attention_mask.to(normed.dtype))
            hidden = hidden + mixed
            hidden = hidden + layer.feed_forward(layer.ffn_norm(hidden))
        return BaseModelOutputWithPast(last_hidden_state=self.embedding_norm(hidden))
