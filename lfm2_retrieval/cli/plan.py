"""``lfm2-retrieve plan``: what a collection of a size takes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._output import format_bytes, print_json

if TYPE_CHECKING:
    from ..distributed.planning import Plan, Speeds

__all__ = ["command"]


@click.command("plan")
@click.option("--documents", type=float, required=True, help="How many passages, such as 1e9.")
@click.option("--tokens", type=float, default=140, show_default=True, help="Vectors of a passage.")
@click.option("--dim", type=int, default=128, show_default=True, help="The width of a vector.")
@click.option(
    "--tier",
    type=click.Choice(["compact", "balanced", "accurate", "exact"]),
    default="balanced",
    show_default=True,
    help="What indexes are compressed to.",
)
@click.option("--text-bytes", type=float, help="Of a passage's text and metadata.  [default: 8 a token]")
@click.option("--qps", type=float, default=1, show_default=True, help="Queries a second.")
@click.option("--latency", type=float, default=100, show_default=True, help="Milliseconds at p50 to aim at.")
@click.option("--shards", type=click.IntRange(min=1), help="How many.  [default: the fewest fast enough]")
@click.option("--replicas", type=click.IntRange(min=1), help="Of each shard.  [default: as --qps needs]")
@click.option("--cores", type=int, default=16, show_default=True, help="Of a machine.")
@click.option("--memory", type=float, default=64, show_default=True, help="Of a machine, in GB.")
@click.option("--disk", type=float, default=2000, show_default=True, help="Of a machine, in GB.")
@click.option("--price", type=float, help="Of a machine for an hour.")
@click.option("--model", default="nano", show_default=True, help="Whose speed is measured here.")
@click.option(
    "--speeds",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What --json printed under speeds, or your own figures, instead of measuring.",
)
@click.option("--encode-speed", type=float, help="Tokens a second and core, instead of what was measured.")
@click.option("--json", "json_", is_flag=True, help="Print plan and speeds as a JSON object.")
def command(**given: Any) -> None:
    """Plan a collection before it is built.

    It tells bytes, machines, hours and milliseconds. Speeds of encoding and searching are measured on this
    machine, in half a minute; how they add up over shards is a model, which the docs describe.
    """
    from ..distributed.planning import Collection, Machine, plan

    names = ("documents", "tokens", "dim", "tier", "text_bytes", "qps")
    collection = Collection(**{name: given[name] for name in names})
    machine = Machine(given["cores"], given["memory"] * 1e9, given["disk"] * 1e9, given["price"])
    speeds = _speeds(given)
    found = plan(
        collection,
        speeds,
        machine,
        shards=given["shards"],
        replicas=given["replicas"],
        latency_ms=given["latency"],
    )
    if given["json_"]:
        print_json({"plan": found.to_dict(), "speeds": asdict(speeds), "collection": asdict(collection)})
        return
    _show(found, speeds)


def _speeds(given: dict[str, Any]) -> Speeds:
    from dataclasses import replace

    from ..distributed.planning import Speeds
    from ..errors import InvalidInputError

    if given["speeds"] is not None:
        try:
            values = json.loads(given["speeds"].read_text("utf-8"))
        except ValueError as error:
            raise InvalidInputError(f"{given['speeds']} is no JSON: {error}") from error
        values = values.get("speeds", values) if isinstance(values, dict) else values
        if not isinstance(values, dict):
            raise InvalidInputError(f"{given['speeds']} must hold a JSON object")
        speeds = Speeds.of(values)
    else:
        from ..distributed.speeds import measure_speeds
        from ..encoder import Encoder

        click.echo("Measuring this machine …", err=True)
        speeds = measure_speeds(Encoder.load(given["model"]), given["tier"], tokens=int(given["tokens"]))
    if given["encode_speed"] is not None:
        speeds = replace(speeds, encode=given["encode_speed"])
    return speeds


def _show(found: Plan, speeds: Speeds) -> None:
    rows = [
        ("vectors", f"{found.vectors:,.0f}"),
        ("on disk", f"{format_bytes(round(found.disk_bytes))} a copy, texts included"),
        ("in memory", f"{format_bytes(round(found.memory_bytes))} a copy"),
        ("shards", f"{found.shards:,}, {found.replicas} of each"),
        ("machines", f"{found.machines:,}"),
        ("to build", f"{found.build_hours:,.1f} hours on these; {found.build_core_hours:,.0f} core hours"),
        ("a shard", f"{found.shard_ms:.1f} ms; a replica is busy for {found.busy:.0%} of its time"),
        ("a search", f"{found.p50_ms:.0f} ms at p50, {found.p99_ms:.0f} ms at p99"),
    ]
    if found.hourly_cost is not None:
        rows.append(("costs", f"{found.build_cost:,.0f} to build, {found.hourly_cost:,.2f} an hour to serve"))
    for name, value in rows:
        click.echo(f"{name:>10}  {value}")
    told = f"{speeds.encode:,.0f} tokens/s and core, {speeds.query_ms:.1f} ms a query"
    click.echo(f"\nFrom: {told}; network {speeds.network_ms:g} ms, assumed", err=True)
