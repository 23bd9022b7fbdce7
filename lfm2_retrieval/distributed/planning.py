"""What a collection of a size takes: bytes, machines, hours and milliseconds, from measured speeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import InvalidInputError
from ..indexes import Tier, estimate_size
from .latency import BUSIEST, Shard, quantile_of_all

__all__ = ["Collection", "Machine", "Plan", "Speeds", "plan"]

_MOST_SHARDS, _MANY = 1 << 14, 64
_FULL, _BUSY = 0.7, 0.3
"""So much of a machine's memory and disk, and of a replica's time, is planned for."""


@dataclass(frozen=True)
class Collection:
    """What there is to be found, and how often.

    Parameters
    ----------
    documents, tokens
        How many passages, and how many vectors each has.
    dim
        The width of a vector.
    tier
        What indexes are compressed to.
    text_bytes
        Of a passage's text and metadata, with the words to search by; by default 8 a vector.
    qps
        Queries a second.

    Raises
    ------
    InvalidInputError
        If a number is not positive.
    """

    documents: float
    tokens: float
    dim: int = 128
    tier: str = "balanced"
    text_bytes: float | None = None
    qps: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, ("documents", "tokens", "dim", "qps"))
        if self.tier not in set(Tier):
            raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {self.tier!r}")


@dataclass(frozen=True)
class Machine:
    """One of those that are rented: cores, bytes of memory and disk, and what an hour costs."""

    cores: int = 16
    memory: float = 64e9
    disk: float = 2e12
    price: float | None = None

    def __post_init__(self) -> None:
        _check_positive(self, ("cores", "memory", "disk"))


@dataclass(frozen=True)
class Speeds:
    """What was measured, see `measure_speeds`, or is given.

    Parameters
    ----------
    encode
        Tokens of documents a second, encoded by one core.
    query_ms
        To encode a query.
    base_ms, root_ms, linear_ms
        A shard of m million vectors is searched in ``base_ms + root_ms · √m + linear_ms · m``: centroids and
        lists grow with the root, a scan of everything in proportion.
    sigma
        How much times of a shard differ: the standard deviation of their logarithm.
    merge_us
        To merge the list of one more shard.
    network_ms
        There and back, with what Ray adds. Not measured: an assumption.
    """

    encode: float
    query_ms: float
    base_ms: float
    root_ms: float
    linear_ms: float = 0.0
    sigma: float = 0.2
    merge_us: float = 10.0
    network_ms: float = 3.0

    def __post_init__(self) -> None:
        _check_positive(self, ("encode",))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Speeds:
        """From JSON values.

        Raises
        ------
        InvalidInputError
            If one is missing, unknown or no number.
        """
        names = [one.name for one in fields(cls)]
        try:
            return cls(**{name: float(value) for name, value in values.items()})
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"speeds are numbers under {', '.join(names)}: {error}") from error

    def shard(self, n_vectors: float) -> Shard:
        """How long a shard of so many vectors takes."""
        millions = n_vectors / 1e6
        median = self.base_ms + self.root_ms * math.sqrt(millions) + self.linear_ms * millions
        return Shard(max(median, 1e-3), self.sigma)


@dataclass(frozen=True)
class Plan:
    """What it takes.

    Parameters
    ----------
    vectors, disk_bytes, memory_bytes
        Of one copy: how many, on disk, and what should be in memory so that searches don't wait for disks.
    shards, replicas, machines
        How many, each shard on a core of its own.
    build_core_hours, build_hours, build_cost
        To encode and compress, by one core, and by all cores of these machines.
    hourly_cost
        Of serving.
    shard_ms, busy
        One shard's search, and which share of its time a replica works.
    p50_ms, p99_ms
        A search of all.
    """

    vectors: float
    disk_bytes: float
    memory_bytes: float
    shards: int
    replicas: int
    machines: int
    build_core_hours: float
    build_hours: float
    build_cost: float | None
    hourly_cost: float | None
    shard_ms: float
    busy: float
    p50_ms: float
    p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def plan(
    collection: Collection,
    speeds: Speeds,
    machine: Machine | None = None,
    *,
    shards: int | None = None,
    replicas: int | None = None,
    latency_ms: float = 100.0,
) -> Plan:
    """Plan shards, machines and hours.

    Parameters
    ----------
    collection, speeds, machine
        What there is, how fast it goes, and on what.
    shards
        How many; None: the fewest, of powers of two, whose p50 is at most ``latency_ms``, or if there are
        none is near the least.
    replicas
        How many copies of each; None: as many as are needed for the queries, two of more than 64 shards.

    Raises
    ------
    InvalidInputError
        If a number is not positive, or the replicas can't answer so many queries.
    """
    machine = machine or Machine()
    for name, value in (("shards", shards), ("replicas", replicas), ("latency_ms", latency_ms)):
        if value is not None and not value > 0:
            raise InvalidInputError(f"{name} must be positive, not {value!r}")
    vectors = collection.documents * collection.tokens
    if shards is None:
        shards = _fewest(collection, speeds, vectors, replicas, latency_ms)
    shard = speeds.shard(vectors / shards)
    copies = replicas or _copies(shard, shards, collection.qps)
    p50, p99 = (_whole(speeds, shard, shards, share, collection.qps, copies) for share in (0.5, 0.99))

    tier, dim = Tier(collection.tier), collection.dim
    a_shard = round(vectors / shards), round(collection.documents / shards), dim, tier
    text = collection.text_bytes if collection.text_bytes is not None else 8 * collection.tokens
    size = estimate_size(*a_shard)
    disk = shards * size.bytes + collection.documents * text
    memory = shards * size.bytes_searched
    machines = max(
        math.ceil(shards * copies / machine.cores),
        math.ceil(memory * copies / (_FULL * machine.memory)),
        math.ceil(disk * copies / (_FULL * machine.disk)),
    )
    core_hours = (vectors / speeds.encode + shards * size.seconds) / 3600
    hours = core_hours / (machines * machine.cores)
    price = machine.price
    return Plan(
        vectors,
        disk,
        memory,
        shards,
        copies,
        machines,
        core_hours,
        hours,
        None if price is None else hours * machines * price,
        None if price is None else machines * price,
        shard.median,
        shard.busy(collection.qps / copies),
        p50,
        p99,
    )


def _fewest(
    collection: Collection, speeds: Speeds, vectors: float, replicas: int | None, latency_ms: float
) -> int:
    """The fewest shards that are fast enough, or nearly the fastest."""
    times: dict[int, float] = {}
    shards = 1
    while shards <= min(_MOST_SHARDS, collection.documents):
        shard = speeds.shard(vectors / shards)
        copies = replicas or _copies(shard, shards, collection.qps)
        if shard.busy(collection.qps / copies * 1.05) <= BUSIEST:
            times[shards] = _whole(speeds, shard, shards, 0.5, collection.qps, copies)
            if times[shards] <= latency_ms:
                return shards
        shards *= 2
    if not times:
        raise InvalidInputError(
            f"{replicas} replicas can't answer {collection.qps:g} queries a second, in any number of shards: "
            "take more"
        )
    return min(one for one in times if times[one] <= 1.25 * min(times.values()))


def _copies(shard: Shard, shards: int, qps: float) -> int:
    """As many as the queries need; two of many shards, so that a stall of one doesn't hold up all."""
    return max(2 if shards > _MANY else 1, math.ceil(shard.busy(qps) / _BUSY))


def _whole(  # noqa: PLR0917
    speeds: Speeds, shard: Shard, shards: int, share: float, qps: float, copies: int
) -> float:
    """A search of all shards: encoding the query, the network, the slowest shard and merging."""
    slowest = quantile_of_all(shard, shards, share, qps=qps, replicas=copies)
    return speeds.query_ms + speeds.network_ms * (shards > 1) + slowest + speeds.merge_us * shards / 1e3


def _check_positive(values: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(values, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise InvalidInputError(f"{name} must be a positive number, not {value!r}")
