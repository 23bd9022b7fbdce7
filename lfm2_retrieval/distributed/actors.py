"""Shards that actors of Ray have open, to be searched where they are."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..encoder import Encoder
from ..errors import StoredIndexError
from ..platform.forks import Lock
from ..retriever.own_encoder import ModelChoice
from .calls import named
from .cluster import connect, has_head, living_nodes, probe
from .manifest import Manifest
from .shard import OpenShard

__all__ = ["RayShards", "Replicas"]

WRITING = ("add", "update", "delete", "tend")
"""What one replica is asked alone, the first: it is never asked of two at once."""
_HEDGE_SECONDS = 1.0
_LOOK_SECONDS = 2.0


class _Shard:
    """A shard in a process of its own; the model is loaded when it is first needed."""

    def __init__(self, number: int, path: str, choice: ModelChoice, recorded: Mapping[str, Any]) -> None:
        self._number, self._path, self._choice, self._recorded = number, Path(path), choice, recorded
        self._opening, self._loading = Lock(), Lock()
        self._encoder: Encoder | None = None
        self._shard: OpenShard | None = None

    def _load(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = self._choice.of(self._path, self._recorded)
            return self._encoder

    def ping(self) -> int:
        """The id of the process, told whatever it is at."""
        return os.getpid()

    def call(self, asked: bytes) -> bytes:
        """Call a method of the shard, in bytes: what is pickled here passes Ray's own pickler as it is."""
        method, args = pickle.loads(asked)
        with self._opening:
            if self._shard is None:
                try:
                    self._shard = OpenShard(self._path, self._load)
                except StoredIndexError as error:
                    raise named(error, self._number, self._path) from error
            shard = self._shard
        return pickle.dumps(getattr(shard, method)(*args), pickle.HIGHEST_PROTOCOL)


@dataclass(eq=False)
class Replicas:
    """The actors of a shard: which was asked last, and which owes an answer for longer than it should.

    Parameters
    ----------
    actors, nodes
        The actors, and the node of each.
    turn
        Which was asked last.
    overdue
        What some of them owe, by place: those aren't asked until they answer.
    answered
        Whether any of them has ever answered.
    """

    actors: list[Any]
    nodes: list[str]
    turn: int = 0
    overdue: dict[int, Any] = field(default_factory=dict)
    answered: bool = False
    guard: Lock = field(default_factory=Lock)

    def next(self, ray: Any) -> int:
        """The one whose turn it is, of those that answer if there are any."""
        with self.guard:
            first = self.turn + 1
            for place in range(first, first + len(self.actors)):
                self.turn = place % len(self.actors)
                if self._answers(ray, self.turn):
                    break
            return self.turn

    def writer(self, ray: Any) -> int:
        """The one that makes changes: the first of those that answer."""
        with self.guard:
            return next((place for place in range(len(self.actors)) if self._answers(ray, place)), 0)

    def _answers(self, ray: Any, place: int) -> bool:
        owed = self.overdue.get(place)
        if owed is None:
            return True
        if not ray.wait([owed], timeout=0)[0]:
            return False
        try:
            ray.get(owed)
        except ray.exceptions.RayTaskError:
            pass  # an answer all the same
        except ray.exceptions.RayError:
            self.overdue[place] = self.actors[place].ping.remote()
            return False
        del self.overdue[place]
        return True


class RayShards:
    """Shards that actors of a Ray cluster have open; see `Shards`.

    The replicas of a shard lie on different nodes, where there are as many. An actor that dies is replaced,
    by Ray or here, and what it was asked is asked again; searches go to another replica meanwhile, where
    there is one.

    Parameters
    ----------
    folder, manifest, choice
        Of the collection.
    address
        Of the cluster.
    replicas
        How many actors a shard has.
    hedge_after
        Seconds after which another replica is asked, too; by default 1.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        choice: ModelChoice,
        address: str,
        *,
        replicas: int = 1,
        hedge_after: float | None = None,
    ) -> None:
        self._folder, self._manifest, self._choice = folder, manifest, choice
        self.hedge_after = _HEDGE_SECONDS if hedge_after is None else hedge_after
        self.ray = ray = connect(address)
        probe(ray, folder, "manifest.json")
        self._n_replicas = replicas
        self.replicas = [Replicas([], []) for _ in manifest.shards]
        nodes = _usable(living_nodes(ray))
        for number, one in enumerate(self.replicas):
            for place in range(replicas):
                node = nodes[(number * replicas + place) % len(nodes)]
                one.nodes.append(node)
                one.actors.append(self._start(number, node))

    def _start(self, number: int, node: str) -> Any:
        """A new actor on a node, there and nowhere else: where that dies, `replace` chooses another one."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        path = self._folder / self._manifest.shards[number].path
        actor = self.ray.remote(_Shard).options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=8,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        return actor.remote(number, str(path), self._choice, dict(self._manifest.encoder))

    def ask(
        self, method: str, args: Mapping[int, tuple[Any, ...]], lost: set[int] | None = None
    ) -> dict[int, Any]:
        """See `Shards.ask`."""
        from .asking import Asking

        known: dict[int, bytes] = {}  # many are asked the same
        for some in args.values():
            if id(some) not in known:
                known[id(some)] = pickle.dumps((method, some), pickle.HIGHEST_PROTOCOL)
        places, answers = {}, {}
        for number, some in args.items():
            replicas = self.replicas[number]
            place = replicas.writer(self.ray) if method in WRITING else replicas.next(self.ray)
            places[number] = place
            answers[number] = replicas.actors[place].call.remote(known[id(some)])
        patience = self.hedge_after if self._n_replicas > 1 else _LOOK_SECONDS
        with suppress(Exception):  # whatever it is, each shard is asked about it below
            found = self.ray.get(list(answers.values()), timeout=max(patience, 0.001))
            return {number: pickle.loads(one) for number, one in zip(answers, found, strict=True)}
        return Asking(self, method, args, lost).answers(places, answers)

    def replace(self, number: int, place: int, dead: Any) -> None:
        """Start an actor in the place of one that Ray doesn't start again, unless that was done."""
        replicas = self.replicas[number]
        nodes = _usable(living_nodes(self.ray))
        with replicas.guard:
            if replicas.actors[place] is not dead or not nodes:
                return
            turn = number * self._n_replicas + place
            others = {node for i, node in enumerate(replicas.nodes) if i != place}
            # Its own node, if that lives; else one without a replica of the shard, if there is any.
            order = [replicas.nodes[place], *nodes[turn % len(nodes) :], *nodes[: turn % len(nodes)]]
            living = [node for node in order if node in nodes]
            chosen = next((node for node in living if node not in others), living[0])
            replicas.nodes[place], replicas.actors[place] = chosen, self._start(number, chosen)

    def named(self, number: int) -> str:
        """A shard, for whoever reads an error."""
        return f"shard {number} ({self._folder / self._manifest.shards[number].path})"

    def close(self) -> None:
        """Stop the actors."""
        there = self.ray.is_initialized() and has_head(self.ray)
        for replicas in self.replicas:
            for actor in replicas.actors if there else []:
                self.ray.kill(actor)
            replicas.actors = []


def _usable(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The nodes for shards: those with processors, since a head may be meant to be nothing else."""
    return [one["NodeID"] for one in nodes if one["Resources"].get("CPU")] or [one["NodeID"] for one in nodes]
