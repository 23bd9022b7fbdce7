"""The encoder of an open index: the one that made its vectors, loaded when it is first needed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoder import DocumentOptions, Encoder, Precision
from ..errors import InvalidInputError, ModelMismatchError, remedy
from ..indexes import Index
from ..platform.forks import Lock
from .recorded import check_recorded, recorded_model, recorded_options

__all__ = ["ModelChoice", "OwnEncoder", "given_encoder", "load_encoder", "recorded_of", "says_no_model"]


@dataclass(frozen=True)
class ModelChoice:
    """Which model a caller wants, and where it shall run; see :meth:`Retriever.open`."""

    model: str | Path | Encoder | None = None
    trust: bool = False
    device: str = "auto"
    dtype: Precision = "auto"

    def load(self, default: str) -> Encoder:
        """The model chosen, or the default."""
        return load_encoder(default if self.model is None else self.model, self.device, self.dtype)

    def of(self, path: Path, recorded: Mapping[str, Any]) -> Encoder:
        """The encoder that an index was made with, which its settings tell, reading documents as it did.

        Parameters
        ----------
        path, recorded
            The index's folder, and what it says of the model.

        Raises
        ------
        ModelMismatchError
            If the model chosen is another one.
        UntrustedModelError
            If the index names a model that isn't loaded unasked.
        InvalidInputError
            If the index names none, and none is chosen.
        """
        options = recorded_options(path, recorded)
        if self.model is not None:
            encoder = load_encoder(self.model, self.device, self.dtype)
        elif recorded:
            name, revision = recorded_model(path, recorded, trust=self.trust)
            encoder = load_encoder(name, self.device, self.dtype, revision)
        else:
            raise InvalidInputError(says_no_model(path))
        if recorded and encoder.fingerprint != recorded["fingerprint"]:
            again = remedy(
                f"Retriever.reindex({str(path)!r})", f"lfm2-retrieve reindex {shlex.quote(str(path))}"
            )
            place = remedy("model= names", "--model names")
            raise ModelMismatchError(
                f"{path} was made with {_version(recorded)}, and this is {_version(encoder.identity)}: "
                f"{again} encodes its documents anew with a model of today, or {place} the folder of the "
                "former"
            )
        return encoder.reading(options) if recorded else encoder

    def of_index(self, index: Index) -> Encoder:
        """The encoder that an open index was made with; errors as of `of`."""
        return self.of(index.path, recorded_of(index))


class OwnEncoder:
    """An index's own encoder, loaded at first use, and anew where the index was encoded anew or replaced.

    Parameters
    ----------
    load
        Loads it.
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self.load = load
        self.loaded: Encoder | None = None
        self._recorded: dict[str, Any] | None = None
        self._loading = Lock()

    def of(self, path: Path, settings: Mapping[str, Any]) -> Encoder:
        """The encoder of an index with these settings.

        Raises
        ------
        ModelMismatchError
            If another model made that index, as it was overwritten or another was put in its place.
        """
        recorded: dict[str, Any] = settings.get("encoder") or {}
        with self._loading:
            if self.loaded is None or self._recorded != recorded:
                encoder = self.loaded
                if encoder is None or encoder.fingerprint != recorded.get("fingerprint"):
                    encoder = self.load()
                if recorded or self._recorded:
                    _refuse_other(path, recorded, encoder)
                if self._recorded:  # and so the encoder reads documents as that said
                    encoder = encoder.reading(DocumentOptions.recorded(recorded))
                self.loaded, self._recorded = encoder, recorded
            return self.loaded

    def shared_with(self, other: OwnEncoder) -> None:
        """Let a copy have what was loaded."""
        other.loaded, other._recorded = self.loaded, self._recorded


def given_encoder(index: Index, encoder: Encoder) -> Encoder:
    """The encoder that made an index, unless the index was made anew since."""
    same = recorded_of(index) == dict(encoder.identity)
    return encoder if same else ModelChoice(encoder).of_index(index)


def recorded_of(index: Index) -> dict[str, Any]:
    """What an index says of the encoder that made its vectors."""
    return check_recorded(index.path, index.settings.get("encoder"))


def load_encoder(
    model: str | Path | Encoder, device: str, dtype: Precision, revision: str | None = None
) -> Encoder:
    """The encoder given, or the one of a name or a path; see :meth:`Encoder.load`."""
    if isinstance(model, Encoder):
        return model
    return Encoder.load(model, device=device, dtype=dtype, revision=revision)


def says_no_model(path: Path) -> str:
    """That an index doesn't tell its model, and what to do."""
    return f"{path} does not say which model made its vectors: give {remedy('model=', '--model')}"


def _refuse_other(path: Path, recorded: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse an encoder for an index that was overwritten, or put in the place of the one that was opened."""
    if recorded.get("fingerprint") != encoder.fingerprint:
        other = _version(recorded) if recorded else "a model that it doesn't name"
        raise ModelMismatchError(
            f"{path} holds another index by now, made with {other}, and this is "
            f"{_version(encoder.identity)}: open it again"
        )


def _version(identity: Mapping[str, Any]) -> str:
    """Which model, and which version of it: what its makers call that, its commit, and its fingerprint."""
    version, revision = identity.get("version"), identity.get("revision")
    named = f"{identity['name']} {version}" if version else str(identity["name"])
    commit = f"revision {revision}, " if revision else ""
    return f"{named} ({commit}fingerprint {identity['fingerprint']})"
