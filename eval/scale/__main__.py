"""``python -m eval.scale``: the model of latency beside a simulation, from 1 to 10,000 shards."""

from __future__ import annotations

import click
import numpy as np

from lfm2_retrieval.cli._group import SETTINGS, Group
from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.distributed.latency import Shard, quantile_of_all

from .simulation import simulate

__all__ = ["command"]


@click.group(cls=Group, context_settings=SETTINGS, invoke_without_command=True)
@click.option("--shards", type=click.IntRange(min=1), multiple=True, default=(1, 10, 100, 1000, 10_000))
@click.option("--replicas", type=click.IntRange(min=1), multiple=True, default=(1, 2))
@click.option(
    "--busy", type=float, multiple=True, default=(0.05, 0.3, 0.6), help="Share of a replica's time."
)
@click.option("--median", type=float, default=20.0, show_default=True, help="A shard's, in ms.")
@click.option("--sigma", type=float, default=0.2, show_default=True, help="Of the logarithm of its times.")
@click.option("--queries", type=click.IntRange(min=100), default=4000, show_default=True)
@click.option("--json", "json_", is_flag=True, help="Print the rows as a JSON object.")
def command(  # noqa: PLR0917  (click passes names)
    shards: tuple[int, ...],
    replicas: tuple[int, ...],
    busy: tuple[float, ...],
    median: float,
    sigma: float,
    queries: int,
    json_: bool,
) -> None:
    """Hold the model of plans to a simulation: p50 and p99 of searches over many shards, in milliseconds."""
    shard = Shard(median, sigma)
    rows = []
    for copies in replicas:
        for share in busy:
            qps = share / shard.busy(1.0) * copies
            for count in shards:
                drawn = simulate(shard, count, queries, qps=qps, replicas=copies)
                row = {"replicas": copies, "busy": share, "shards": count}
                for name, part in (("p50", 0.5), ("p99", 0.99)):
                    row[name] = round(float(np.quantile(drawn, part)), 1)
                    told = quantile_of_all(shard, count, part, qps=qps, replicas=copies)
                    row[f"model_{name}"] = round(told, 1)
                rows.append(row)
    if json_:
        print_json({"median": median, "sigma": sigma, "queries": queries, "rows": rows})
        return
    click.echo("| replicas | busy | shards | p50 | model | p99 | model |\n|---|---|---|---|---|---|---|")
    for row in rows:
        click.echo(
            f"| {row['replicas']} | {row['busy']} | {row['shards']:,} | {row['p50']} | {row['model_p50']} "
            f"| {row['p99']} | {row['model_p99']} |"
        )


if __name__ == "__main__":
    command(prog_name="python -m eval.scale")
