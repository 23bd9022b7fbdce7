"""From hidden states to late-interaction vectors: the checkpoint's Dense modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..printable import quoted
from .checkpoint import read_tensors
from .settings import DenseSettings

__all__ = ["Projection"]

_ACTIVATIONS = {
    "Identity": nn.Identity,
    "GELU": nn.GELU,
    "LeakyReLU": nn.LeakyReLU,
    "ReLU": nn.ReLU,
    "Sigmoid": nn.Sigmoid,
    "SiLU": nn.SiLU,
    "Tanh": nn.Tanh,
}


class Projection(nn.Sequential):
    """The Dense modules of a checkpoint, in order; ``[n_tokens, hidden]`` to ``[n_tokens, out_features]``."""

    def __init__(self, layers: list[_Dense], hidden_size: int) -> None:
        super().__init__(*layers)
        self.out_features = layers[-1].linear.out_features if layers else hidden_size

    @classmethod
    def load(cls, folder: Path, dense: tuple[DenseSettings, ...], hidden_size: int) -> Projection:
        """Read the weights of each Dense module.

        Raises
        ------
        CheckpointError
            If widths don't follow on each other, or weights don't fit their configuration.
        """
        layers = []
        width = hidden_size
        for settings in dense:
            if settings.in_features != width:
                raise CheckpointError(
                    f"{settings.folder}/config.json takes {settings.in_features} features; {width} come in"
                )
            width = settings.out_features
            tensors = read_tensors(folder / settings.folder)
            with torch.device("meta"):  # until it is known that the weights are as large
                shapes = {name: one.shape for name, one in _Dense(settings).state_dict().items()}
            found = {name: one.shape for name, one in tensors.items()}
            if found != shapes:
                wrong = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
                raise CheckpointError(
                    f"the weights in {quoted(settings.folder)} don't fit its config.json: {quoted(wrong)}"
                )
            layer = _Dense(settings)
            layer.load_state_dict(tensors)
            layers.append(layer)
        return cls(layers, hidden_size)


class _Dense(nn.Module):
    def __init__(self, settings: DenseSettings) -> None:
        super().__init__()
        if settings.activation not in _ACTIVATIONS:
            raise CheckpointError(
                f"{settings.folder}/config.json asks for the activation {settings.activation}; "
                f"known are {', '.join(_ACTIVATIONS)}"
            )
        self.linear = nn.Linear(settings.in_features, settings.out_features, bias=settings.bias)
        self.activation = _ACTIVATIONS[settings.activation]()
        self.is_residual = settings.residual
        if settings.residual and settings.in_features != settings.out_features:
            self.residual = nn.Linear(settings.in_features, settings.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.linear(x))
        if self.is_residual:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        return out
