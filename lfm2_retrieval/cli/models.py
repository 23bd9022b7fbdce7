"""``lfm2-retrieve models``: which models there are, and which of them are at hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ._output import print_json

if TYPE_CHECKING:
    from ..encoder import Precision

_DTYPES = ("float32", "bfloat16", "int8")
_MODELS = {
    "nano": "bundled with the library, a few million parameters; for trying out, tests and offline use",
    "LiquidAI/LFM2-ColBERT-350M": "353 M parameters, 8 languages (en ar zh fr de ja ko es); the default",
    "LiquidAI/LFM2.5-ColBERT-350M": "353 M parameters, bidirectional, 11 languages "
    "(en es de fr it pt ar sv no ja ko)",
}


@click.command()
@click.option(
    "--explain",
    is_flag=True,
    help="Load the models at hand, and show which kernel each shape of linear gets on this machine, and why.",
)
@click.option("--model", help="For --explain: this one alone, a name or a folder.")
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(_DTYPES),
    multiple=True,
    help="For --explain. Repeatable.  [default: all]",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON array.")
def command(explain: bool, model: str | None, dtypes: tuple[str, ...], json_: bool) -> None:
    """List the models known to work, and where each is found.

    Any local folder with an LFM2 late-interaction checkpoint works as well.
    """
    if (model or dtypes) and not explain:
        raise click.UsageError("--model and --dtype go with --explain")
    if explain:
        _explain([model] if model else [name for name in _MODELS if _find(name)[1]], dtypes or _DTYPES, json_)
        return
    entries = [_describe(name, what) for name, what in _MODELS.items()]
    if json_:
        print_json(entries)
        return
    for entry in entries:
        click.echo(f"{click.style(entry['name'], bold=True)}: {entry['description']}")
        click.echo(f"  {entry['found']}" + (f" at {entry['folder']}" if entry["folder"] else ""))
        if entry["settings"]:
            click.echo("  " + ", ".join(f"{name} {value!r}" for name, value in entry["settings"].items()))


def _explain(names: Iterable[str], dtypes: Iterable[str], json_: bool) -> None:
    import torch

    from ..encoder import Encoder
    from ..platform.threads import thread_count

    threads = thread_count(most=torch.get_num_threads())
    capability = torch.backends.cpu.get_cpu_capability()
    entries: list[dict[str, Any]] = []
    for name in names:
        for dtype in dtypes:
            chosen = Encoder.load(name, device="cpu", dtype=cast("Precision", dtype)).kernels
            linears = [dataclasses.asdict(choice) for choice in chosen]
            entries.append({"name": name, "dtype": dtype, "threads": threads, "linears": linears})
    if json_:
        print_json(entries)
        return
    click.echo(f"torch {torch.__version__}, {capability}, {threads} thread{'s' if threads > 1 else ''}")
    for entry in entries:
        click.echo(f"{click.style(entry['name'], bold=True)} in {entry['dtype']}")
        for one in entry["linears"]:
            why = [f"{kernel} {spent:.3f} ms" for kernel, spent in one["milliseconds"].items()]
            why += [f"not {kernel}: {fault}" for kernel, fault in one["refused"].items()]
            rows, columns = one["shape"]
            size = f"{rows} × {columns}"
            click.echo(f"  {size:>12}  {one['dtype']:<9} {one['kernel']:<13} {'; '.join(why)}".rstrip())


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
        ("config.json", ("version", "hidden_size", "num_hidden_layers", "vocab_size")),
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
