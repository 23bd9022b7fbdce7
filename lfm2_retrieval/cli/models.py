"""``lfm2-retrieve models``: which models there are, and which of them are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ._output import print_json

_MODELS = {
    "nano": "bundled with the library, a few million parameters; for trying out, tests and offline use",
    "LiquidAI/LFM2-ColBERT-350M": "353 M parameters, 8 languages (en ar zh fr de ja ko es); the default",
    "LiquidAI/LFM2.5-ColBERT-350M": "353 M parameters, bidirectional, 11 languages "
    "(en es de fr it pt ar sv no ja ko)",
}


@click.command()
@click.option("--json", "json_", is_flag=True, help="Print a JSON array.")
def command(json_: bool) -> None:
    """List the models known to work, and where each is found.

    Any local folder with an LFM2 late-interaction checkpoint works as well.
    """
    entries = [_describe(name, what) for name, what in _MODELS.items()]
    if json_:
        print_json(entries)
        return
    for entry in entries:
        click.echo(f"{click.style(entry['name'], bold=True)}: {entry['description']}")
        click.echo(f"  {entry['found']}" + (f" at {entry['folder']}" if entry["folder"] else ""))
        if entry["settings"]:
            click.echo("  " + ", ".join(f"{name} {value!r}" for name, value in entry["settings"].items()))


def _describe(name: str, what: str) -> dict[str, Any]:
    found, folder = _find(name)
    settings = {} if folder is None else _settings(folder)
    return {
        "name": name,
        "description": what,
        "found": found,
        "folder": None if folder is None else str(folder),
        "settings": settings,
    }


def _find(name: str) -> tuple[str, Path | None]:
    if "/" not in name:
        folder = Path(__file__).parent.parent / "models" / name
        return ("bundled", folder) if (folder / "modules.json").is_file() else ("missing", None)
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "modules.json")
    return ("cached", Path(file).parent) if isinstance(file, str) else ("needs download", None)


def _settings(folder: Path) -> dict[str, Any]:
    """What the checkpoint's own files say, read without the encoder, which would load torch."""
    values: dict[str, Any] = {}
    for file, names in (
        ("config.json", ("hidden_size", "num_hidden_layers", "vocab_size")),
        ("1_Dense/config.json", ("out_features",)),
        (
            "config_sentence_transformers.json",
            ("query_prefix", "document_prefix", "query_length", "document_length"),
        ),
    ):
        try:
            raw = json.loads((folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        values |= {name: raw[name] for name in names if name in raw}
    return values
