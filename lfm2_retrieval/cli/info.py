"""``lfm2-retrieve info``: what an index holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._output import format_bytes, print_json


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(path: Path, json_: bool) -> None:
    """Show what the index PATH holds, its model and its size."""
    from ..indexes import CompressedIndex
    from ..indexes.catalogue import FORMAT

    with CompressedIndex.open(path) as index:
        settings, sizes = index.settings, index.size_bytes()
        tokens, documents = index.n_tokens, len(index)
        codec, outgrown = index.codec_facts, index.outgrown
    model = settings.get("encoder") or {}
    total = sum(sizes.values())
    facts = {
        "path": str(path),
        "documents": documents,
        "tokens": tokens,
        "dim": settings["dim"],
        "tier": settings["tier"],
        "model": model.get("name"),
        "model_revision": model.get("revision"),
        "model_fingerprint": model.get("fingerprint"),
        "codec": codec,
        "errors": settings.get("errors"),
        "outgrown": outgrown,
        "recall": settings.get("recall"),
        "tuned": settings.get("tuned"),
        "format": FORMAT,
        "created_by": settings["created_by"],
        "bytes": {**sizes, "total": total},
        "bytes_per_token": round(total / tokens, 1) if tokens else None,
    }
    if json_:
        print_json(facts)
        return
    shown = {
        "documents": f"{documents:,}",
        "token vectors": f"{tokens:,} of {settings['dim']} dimensions",
        "tier": settings["tier"],
        "model": f"{model.get('name', 'not recorded')}  {model.get('fingerprint', '')}".rstrip(),
        "format": f"{FORMAT}, made by {settings['created_by']}",
        "size": format_bytes(total) + (f", {total / tokens:,.1f} bytes a token" if tokens else ""),
        **{f"  {name}": format_bytes(size) for name, size in sizes.items()},
    }
    if codec:
        shown["codec"] = _describe(codec, settings.get("errors"), outgrown)
    if recall := settings.get("recall"):
        shown["recall"] = (
            f"{recall['recall']:.3f} of the exact top {recall['k']} ({recall['n_queries']} queries)"
        )
    for name, value in shown.items():
        click.echo(f"{name:<14} {value}")


def _describe(codec: dict[str, Any], errors: dict[str, Any] | None, outgrown: bool) -> str:
    """A codec in a line: its size, and the mean squared errors of its sample and of what it encoded."""
    text = f"{codec['n_centroids']:,} centroids, {codec['n_codes']} bytes of code"
    if (sampled := codec.get("mean_square_error")) is not None:
        text += f"; mean squared error {sampled:.4f} on its sample"
        if errors:
            text += f", {errors['mean_square_error']:.4f} on what it encoded"
    if outgrown:
        text += "; made for an index a sixteenth of this size: build(retrain=True) makes another"
    return text
