"""How a checkpoint turns text into vectors: prefixes, lengths, expansion, skiplist, projection.

Two layouts on disk are read, PyLate's and that of sentence-transformers' multi-vector encoder. They
write the same facts in different places; :class:`EncoderSettings` is what both come to. A value that
neither names takes the family's documented default, and the log says so.
"""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

__all__ = ["DenseSettings", "EncoderSettings", "read_json"]

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
        The most positions of a sequence, BOS and prefix counted; ``query_length`` is also what
        expansion pads to. ``query_length`` of None leaves queries to the backbone's limit.
    expand_queries
        Whether short queries are filled up to ``query_length`` with ``expansion_token``.
    truncate_queries
        Whether ``query_length`` is the most a query may have, as well as the least when expanded.
    attend_to_expansion
        Whether expansion positions are attention keys.
    expansion_token
        None: the tokenizer's mask token, else EOS, else pad.
    skiplist
        Tokens of a document whose vectors are dropped.
    skip_in_queries
        Whether the skiplist holds for queries too.
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
    expand_queries: bool
    truncate_queries: bool
    attend_to_expansion: bool
    expansion_token: str | None
    skiplist: tuple[str, ...]
    skip_in_queries: bool
    strip: bool
    lower: bool
    normalize: bool
    backbone: str
    dense: tuple[DenseSettings, ...]

    @classmethod
    def read(cls, folder: Path) -> EncoderSettings:
        """Read the settings of the checkpoint in ``folder``, whichever of the two layouts it has.

        Raises
        ------
        CheckpointError
            If a file is missing or a module is of a kind that this library does not run.
        """
        modules = _modules(folder)
        top = read_json(folder / "config_sentence_transformers.json", missing={})
        [backbone] = modules["Transformer"]
        text = read_json(folder / backbone / "sentence_bert_config.json", missing={})
        dense = tuple(_dense(folder, path) for path in modules.get("Dense", ()))
        if "MultiVectorMask" in modules:
            mask = read_json(folder / modules["MultiVectorMask"][0] / "config.json", missing={})
            normalize = "Normalize" in modules
            return _sentence_transformers(top, text, mask, backbone, dense, normalize=normalize)
        return _pylate(top, text, backbone, dense)


def _pylate(
    top: Mapping[str, Any], text: Mapping[str, Any], backbone: str, dense: tuple[DenseSettings, ...]
) -> EncoderSettings:
    names = [name for name in _DEFAULTS if top.get(name) is None]
    if "document_length" in names and text.get("max_seq_length"):
        names.remove("document_length")
        top = {**top, "document_length": text["max_seq_length"] + 1}
    if names:
        _LOG.info("the checkpoint does not name %s: taking the LFM2-ColBERT defaults", ", ".join(names))
    value = {**_DEFAULTS, **{name: top[name] for name in _DEFAULTS if top.get(name) is not None}}
    return EncoderSettings(
        query_prefix=value["query_prefix"],
        document_prefix=value["document_prefix"],
        query_length=value["query_length"],
        document_length=value["document_length"],
        expand_queries=value["do_query_expansion"],
        truncate_queries=True,
        attend_to_expansion=value["attend_to_expansion_tokens"],
        expansion_token=None,
        skiplist=tuple(value["skiplist_words"]),
        skip_in_queries=False,
        strip=True,
        lower=bool(text.get("do_lower_case", False)),
        normalize=True,
        backbone=backbone,
        dense=dense,
    )


def _sentence_transformers(
    top: Mapping[str, Any],
    text: Mapping[str, Any],
    mask: Mapping[str, Any],
    backbone: str,
    dense: tuple[DenseSettings, ...],
    *,
    normalize: bool,
) -> EncoderSettings:
    if mask.get("keep_only_token_ids"):
        raise CheckpointError(
            "the checkpoint keeps only chosen token ids (an image model); that is not supported"
        )
    prompts = top.get("prompts") or {}
    expansion = text.get("query_expansion") or {}
    tasks = mask.get("skiplist_tasks") or ["document"]
    fixed = expansion.get("strategy") == "fixed"
    return EncoderSettings(
        query_prefix=prompts.get("query") or "",
        document_prefix=prompts.get("document") or "",
        query_length=expansion.get("length") if expansion else text.get("query_length"),
        document_length=text.get("document_length")
        or text.get("max_seq_length")
        or _DEFAULTS["document_length"],
        expand_queries=bool(expansion),
        truncate_queries=fixed or not expansion,
        attend_to_expansion=bool(expansion.get("attend", False)),
        expansion_token=expansion.get("token"),
        skiplist=tuple(mask.get("skiplist_words") or ()) if "document" in tasks else (),
        skip_in_queries="query" in tasks,
        strip=False,
        lower=bool(text.get("do_lower_case", False)),
        normalize=normalize,
        backbone=backbone,
        dense=dense,
    )


def _modules(folder: Path) -> dict[str, list[str]]:
    """The folders of each kind of module, in order, from ``modules.json``."""
    kinds: dict[str, list[str]] = {}
    for entry in read_json(folder / "modules.json"):
        kind = str(entry["type"]).rsplit(".", 1)[-1]
        if kind not in ("Transformer", "Dense", "MultiVectorMask", "Normalize"):
            raise CheckpointError(
                f"modules.json lists a {entry['type']}, which a late-interaction LFM2 has not"
            )
        path = str(entry.get("path", ""))
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise CheckpointError(f"modules.json points outside the checkpoint: {path!r}")
        kinds.setdefault(kind, []).append(path)
    if len(kinds.get("Transformer", ())) != 1:
        raise CheckpointError("modules.json must list one Transformer: this is no encoder checkpoint")
    return kinds


def _dense(folder: Path, path: str) -> DenseSettings:
    raw = read_json(folder / path / "config.json")
    try:
        return DenseSettings(
            folder=path,
            in_features=raw["in_features"],
            out_features=raw["out_features"],
            bias=raw.get("bias", True),
            activation=str(raw.get("activation_function", "Identity")).rsplit(".", 1)[-1],
            residual=raw.get("use_residual", False),
        )
    except KeyError as error:
        raise CheckpointError(f"{path}/config.json lacks {error.args[0]!r}") from None


def read_json(path: Path, missing: Any = None) -> Any:
    """The contents of a JSON file; ``missing``, if given, where there is none.

    Raises
    ------
    CheckpointError
        If the file is missing with no substitute, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise CheckpointError(
            f"{path} is missing: a checkpoint in the PyLate or sentence-transformers layout is expected"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
