"""How a checkpoint turns text into vectors: prefixes, lengths, expansion, skiplist, projection.

Two layouts on disk are read, PyLate's and that of sentence-transformers' multi-vector encoder. They
write the same facts in different places; :class:`EncoderSettings` is what both come to. A value that
neither names takes the family's documented default, and the log says so.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..printable import quoted
from .values import Values, read_json

__all__ = ["DenseSettings", "EncoderSettings"]

_LOG = logging.getLogger(__name__)
_DEFAULTS: Mapping[str, Any] = {
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": 32,
    "document_length": 512,
    "do_query_expansion": True,
    "attend_to_expansion_tokens": False,
    "skiplist_words": list(string.punctuation),
}
_MOST_EXPANDED = 1 << 13
"""Queries aren't filled up to more positions: each of them is computed for every query."""
_MOST_MODULES, _WIDEST = 32, 1 << 20
_NO_LENGTH = 1e29
"""What a tokenizer is saved with that has no greatest length is more than this."""


@dataclass(frozen=True)
class DenseSettings:
    """One projection: its folder in the checkpoint and its shape."""

    folder: str
    in_features: int
    out_features: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True)
class EncoderSettings:
    """Everything about encoding that the checkpoint decides.

    Parameters
    ----------
    query_prefix, document_prefix
        Put at position 1, after BOS; empty for none.
    query_length, document_length
        The most positions of a sequence, BOS and prefix counted. ``query_length`` of None leaves queries to
        the backbone's limit.
    expanded_length
        Short queries are filled up to this with ``expansion_token``; 0 without query expansion.
    attend_to_expansion
        Whether expansion positions are attention keys.
    expansion_token
        None: the tokenizer's mask token, else EOS, else pad.
    query_skiplist, document_skiplist
        Tokens whose vectors are dropped.
    strip
        Whether white space around a text is removed first: PyLate does, sentence-transformers does not.
    lower
        Whether texts are lower-cased before the tokenizer sees them.
    normalize
        Whether vectors are scaled to length 1.
    backbone
        The folder of backbone and tokenizer in the checkpoint; mostly empty, for the checkpoint's own.
    dense
        The projections, in order.
    """

    query_prefix: str
    document_prefix: str
    query_length: int | None
    document_length: int
    expanded_length: int
    attend_to_expansion: bool
    expansion_token: str | None
    query_skiplist: tuple[str, ...]
    document_skiplist: tuple[str, ...]
    strip: bool
    lower: bool
    normalize: bool
    backbone: str
    dense: tuple[DenseSettings, ...]

    @property
    def expand_queries(self) -> bool:
        """Whether short queries are filled up."""
        return self.expanded_length > 0

    @classmethod
    def read(cls, folder: Path) -> EncoderSettings:
        """Read the settings of the checkpoint in ``folder``, whichever of the two layouts it has.

        Raises
        ------
        CheckpointError
            If a file is missing, a value can't be used, or a module is of a kind that is not run here.
        """
        modules = _modules(folder)
        top = _read(folder / "config_sentence_transformers.json")
        [backbone] = modules["Transformer"]
        text = _read(folder / backbone / "sentence_bert_config.json")
        dense = tuple(_dense(folder, path) for path in modules.get("Dense", ()))
        masks = [_read(folder / path / "config.json") for path in modules.get("MultiVectorMask", ())]
        if masks or top.string("model_type", "") == "MultiVectorEncoder":
            tokenizer = _read(folder / backbone / "tokenizer_config.json")
            normalize = "Normalize" in modules
            return _sentence_transformers(
                top, text, masks, tokenizer, backbone=backbone, dense=dense, normalize=normalize
            )
        return _pylate(top, text, backbone, dense)


def _pylate(top: Values, text: Values, backbone: str, dense: tuple[DenseSettings, ...]) -> EncoderSettings:
    names = [name for name in _DEFAULTS if name not in top]
    document_length = _DEFAULTS["document_length"]
    if "document_length" in names and "max_seq_length" in text:
        names.remove("document_length")
        document_length = text.whole("max_seq_length") + 1
    if names:
        _LOG.info("the checkpoint does not name %s: taking the LFM2-ColBERT defaults", ", ".join(names))
    expands = top.flag("do_query_expansion", _DEFAULTS["do_query_expansion"])
    longest = {"most": _MOST_EXPANDED} if expands else {}
    query_length = top.whole("query_length", _DEFAULTS["query_length"], **longest)
    return EncoderSettings(
        query_prefix=top.string("query_prefix", _DEFAULTS["query_prefix"]),
        document_prefix=top.string("document_prefix", _DEFAULTS["document_prefix"]),
        query_length=query_length,
        document_length=top.whole("document_length", document_length),
        expanded_length=query_length * expands,
        attend_to_expansion=top.flag("attend_to_expansion_tokens", _DEFAULTS["attend_to_expansion_tokens"]),
        expansion_token=None,
        query_skiplist=(),
        document_skiplist=top.array("skiplist_words", str, _DEFAULTS["skiplist_words"]),
        strip=True,
        lower=text.flag("do_lower_case", default=False),
        normalize=True,
        backbone=backbone,
        dense=dense,
    )


def _sentence_transformers(
    top: Values,
    text: Values,
    masks: list[Values],
    tokenizer: Values,
    *,
    backbone: str,
    dense: tuple[DenseSettings, ...],
    normalize: bool,
) -> EncoderSettings:
    if any(mask.array("keep_only_token_ids", int, ()) for mask in masks):
        raise CheckpointError(
            "the checkpoint keeps only chosen token ids (an image model); that is not supported"
        )
    prompts, expansion = top.object("prompts"), text.object("query_expansion")
    # The most positions where no length of its own is given.
    general = text.number("max_seq_length", tokenizer.number("model_max_length", _NO_LENGTH))
    most = None if general >= _NO_LENGTH else int(general)
    if most is None and "document_length" not in text:
        _LOG.info("the checkpoint does not name document_length: taking the LFM2-ColBERT default")
    query_length = text.whole("query_length") if "query_length" in text else most
    expanded_length = 0
    if "query_expansion" in text:
        strategy = expansion.string("strategy")
        expanded_length = expansion.whole("length", most=_MOST_EXPANDED)
        if strategy not in ("fixed", "min"):
            raise CheckpointError(
                f"query_expansion has the strategy {strategy!r}; known are 'fixed' and 'min'"
            )
        if strategy == "fixed":
            query_length = expanded_length
        elif "query_length" in text:
            query_length = max(text.whole("query_length"), expanded_length)
    return EncoderSettings(
        query_prefix=prompts.string("query", ""),
        document_prefix=prompts.string("document", ""),
        query_length=query_length,
        document_length=text.whole("document_length", most or _DEFAULTS["document_length"]),
        expanded_length=expanded_length,
        attend_to_expansion=expansion.flag("attend", default=False),
        expansion_token=expansion.string("token", "") or None,
        query_skiplist=_skiplist(masks, "query"),
        document_skiplist=_skiplist(masks, "document"),
        strip=False,
        lower=text.flag("do_lower_case", default=False),
        normalize=normalize,
        backbone=backbone,
        dense=dense,
    )


def _skiplist(masks: list[Values], task: str) -> tuple[str, ...]:
    """The words that any of the masks drops for a task."""
    chosen = [mask for mask in masks if task in mask.array("skiplist_tasks", str, ("document",))]
    return tuple(word for mask in chosen for word in mask.array("skiplist_words", str, ()))


def _modules(folder: Path) -> dict[str, list[str]]:
    """The folders of each kind of module, in order, from ``modules.json``."""
    kinds: dict[str, list[str]] = {}
    listed = Values({"modules": read_json(folder / "modules.json")}, "modules.json")
    entries = listed.array("modules", dict)
    if len(entries) > _MOST_MODULES:
        raise CheckpointError(f"modules.json lists {len(entries):,} modules; at most {_MOST_MODULES} are run")
    for entry in entries:
        module = Values(entry, "modules.json")
        kind = module.string("type").rsplit(".", 1)[-1]
        if kind not in ("Transformer", "Dense", "MultiVectorMask", "Normalize"):
            raise CheckpointError(
                f"modules.json lists a {quoted(module.string('type'))}, which a late-interaction LFM2 has not"
            )
        path = module.string("path", "")
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise CheckpointError(f"modules.json points outside the checkpoint: {path!r}")
        kinds.setdefault(kind, []).append(path)
    if len(kinds.get("Transformer", ())) != 1:
        raise CheckpointError("modules.json must list one Transformer: this is no encoder checkpoint")
    return kinds


def _dense(folder: Path, path: str) -> DenseSettings:
    values = Values(read_json(folder / path / "config.json"), f"{path}/config.json")
    return DenseSettings(
        folder=path,
        in_features=values.whole("in_features", most=_WIDEST),
        out_features=values.whole("out_features", most=_WIDEST),
        bias=values.flag("bias", default=True),
        activation=values.string("activation_function", "Identity").rsplit(".", 1)[-1],
        residual=values.flag("use_residual", default=False),
    )


def _read(path: Path) -> Values:
    """The values of a file that may be missing."""
    return Values(read_json(path, missing={}), path.name)
