"""``lfm2-retrieve info``: what an index holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..printable import printable
from ._output import describe_min_score, format_bytes, print_json

_LAST_STEP = ("int8", "scales")
"""Files of which a search reads only the documents that it scores in full."""
_ON_DEMAND = ("token_ids", "checksums", "catalogue")
"""What a search doesn't read, or of which it reads the rows of its hits."""
_STALE = 1.5
"""An index that has grown by this factor should be measured anew."""


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(path: Path, json_: bool) -> None:
    """Show what the index PATH holds, its model, size and recall.

    The size is told by part, and by when searches read it. The recall is there once it was measured.
    """
    from ..indexes import FORMAT, Index

    with Index.open(path) as index:
        settings, sizes, tokens, documents, passages, codec, outgrown = index.at_once(
            lambda held: (
                held.settings,
                held.size_bytes(),
                held.n_tokens,
                held.sources.count(),
                len(held),
                held.codec_facts,
                held.outgrown,
            )
        )
    recorded = settings.get("encoder")
    model = recorded if isinstance(recorded, dict) else {}
    facts = {
        "path": str(path),
        "documents": documents,
        **({"passages": passages} if settings.get("passages") else {}),
        "tokens": tokens,
        "dim": settings["dim"],
        "tier": settings["tier"],
        "model": model.get("name"),
        "model_version": model.get("version"),
        "model_revision": model.get("revision"),
        "model_fingerprint": model.get("fingerprint"),
        "codec": codec,
        "errors": settings.get("errors"),
        "outgrown": outgrown,
        "recall": settings.get("recall"),
        "tuned": settings.get("tuned"),
        "min_score": settings.get("min_score"),
        "format": FORMAT,
        "created_by": settings["created_by"],
        **_sizes(sizes, tokens),
    }
    if json_:
        print_json(facts)
        return
    named = " ".join(filter(None, (model.get("name", "not recorded"), model.get("version"))))
    model_line = f"{named}  {model.get('fingerprint', '')}".rstrip()
    for name, value in (
        ("documents", f"{documents:,}"),
        *([("passages", f"{passages:,}")] if "passages" in facts else []),
        ("token vectors", f"{tokens:,} of {settings['dim']} dimensions"),
        ("tier", settings["tier"]),
        ("model", model_line),
        ("format", f"{FORMAT}, made by {settings['created_by']}"),
        *_size_lines(facts),
        *([("codec", _describe(codec, settings.get("errors"), outgrown))] if codec else []),
        *_recall_lines(settings, facts.get("passages", documents)),
    ):
        click.echo(f"{name:<16} {printable(str(value))}")


def _where(part: str, sizes: Mapping[str, int]) -> str:
    # Beside vectors in steps, float16 is read of what these find.
    if part in _LAST_STEP or (part == "vectors" and "steps" in sizes):
        return "last_step"
    return "on_demand" if part in _ON_DEMAND else "memory"


def _sizes(sizes: Mapping[str, int], tokens: int) -> dict[str, Any]:
    """Bytes by part, and by when a search reads them."""
    totals = {"memory": 0, "last_step": 0, "on_demand": 0}
    for part, size in sizes.items():
        totals[_where(part, sizes)] += size
    total = sum(sizes.values())
    return {
        "bytes": {**sizes, "total": total},
        "bytes_per_token": round(total / tokens, 1) if tokens else None,
        "bytes_by_use": totals,
        "bytes_per_token_by_use": {
            use: round(size / tokens, 1) if tokens else None for use, size in totals.items()
        },
    }


def _size_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The total, then each use with its parts, largest first."""
    tokens = facts["tokens"]

    def size(count: int) -> str:
        return format_bytes(count) + (f", {count / tokens:,.1f} bytes a token" if tokens else "")

    sizes = dict(facts["bytes"])
    lines = [("size", size(sizes.pop("total")))]
    for use, name, meaning in (
        ("memory", "in memory", "read by every search"),
        ("last_step", "on disk", "read for what is reranked"),
        ("on_demand", "on disk", "texts, ids and metadata, read for the hits"),
    ):
        parts = sorted((part for part in sizes if _where(part, sizes) == use), key=lambda part: -sizes[part])
        if not parts:
            continue
        lines.append((f"  {name}", f"{size(facts['bytes_by_use'][use])}: {meaning}"))
        lines += [(f"    {part}", size(sizes[part])) for part in parts]
    return lines


def _recall_lines(settings: Mapping[str, Any], documents: int) -> list[tuple[str, str]]:
    from ..indexes import MinScore, in_words

    lines = []
    if recall := settings.get("recall"):
        error = f" ± {recall['error']:.3f}" if "error" in recall else ""
        source = "made from documents" if recall["from_documents"] else "given"
        lines.append(
            (
                "recall",
                f"{recall['recall']:.3f}{error} of the exact top {recall['k']} in "
                f"{recall['milliseconds']:,.2f} ms ({recall['n_queries']} queries {source}; "
                f"{recall['n_documents']:,} documents then)",
            )
        )
    if tuned := settings.get("tuned"):
        lines.append(
            (
                "tuned",
                f"{in_words(tuned['nprobe'], tuned['candidates'], tuned['rerank'])}, "
                f"for recall {tuned['target_recall']:g} at k = {tuned['k']}",
            )
        )
    if learnt := settings.get("min_score"):
        lines.append(("min score auto", describe_min_score(MinScore(**learnt))))
    measured = recall["n_documents"] if recall else documents
    if not measured / _STALE <= documents <= measured * _STALE:
        lines.append(("", "the index has changed much since: lfm2-retrieve tune measures anew"))
    return lines


def _describe(codec: dict[str, Any], errors: dict[str, Any] | None, outgrown: bool) -> str:
    """A codec in a line: its size, and the mean squared errors of its sample and of what it encoded."""
    text = f"{codec['n_centroids']:,} centroids, {codec['n_codes']} bytes of code"
    if (sampled := codec.get("mean_square_error")) is not None:
        text += f"; mean squared error {sampled:.4f} on its sample"
        if errors:
            text += f", {errors['mean_square_error']:.4f} on what it encoded"
    if outgrown:
        text += "; made for an index a sixteenth of this size: lfm2-retrieve merge --retrain makes another"
    return text
