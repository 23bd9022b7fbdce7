"""Actors of Ray: workers of a build, and shards that are searched where they are."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..encoder import DocumentOptions, Encoder, fix_kernels
from ..errors import (
    ClusterError,
    IndexFormatError,
    IndexNotFoundError,
    ModelMismatchError,
    RetrievalError,
    StoredIndexError,
)
from ..platform.forks import Lock
from ..retriever.own_encoder import ModelChoice
from .calls import named
from .cluster import connect, probe, told
from .manifest import Manifest
from .pools import Done
from .shard import OpenShard
from .stages import BUILDING, Plan, Worker

__all__ = ["RayPool", "RayShards"]

_RETRIES = 3
"""So often a step is done again whose worker died, and a call whose actor did."""
_START_SECONDS = 120.0


class _Worker:
    """A worker of a build, in a process of its own."""

    def __init__(
        self,
        folder: str,
        plan: Plan,
        load: Callable[[], Encoder],
        threads: int | None,
        memory: str | int,
    ) -> None:
        fix_kernels(plan.kernels)
        encoder = load().reading(DocumentOptions.recorded(plan.encoder))
        if encoder.fingerprint != plan.encoder["fingerprint"]:
            raise ModelMismatchError(
                f"the model {plan.encoder['name']} is another one on this node (fingerprint "
                f"{encoder.fingerprint}, not {plan.encoder['fingerprint']}): have all nodes load the same, "
                "by a path that they share or a revision"
            )
        self._worker = Worker(Path(folder), plan, encoder, threads, memory)

    def do(self, method: str, *args: Any) -> Any:
        """Do a step."""
        return getattr(self._worker, method)(*args)

    def process(self) -> int:
        """The id of the process."""
        return os.getpid()


class RayPool:
    """Workers of a Ray cluster; see `Pool`.

    A worker that dies is replaced, on another node if need be, and what it was at is done again.

    Parameters
    ----------
    folder, plan, load
        Of the build; what loads its model.
    address
        Of the cluster.
    workers
        How many; None for as many as there is room for.
    num_cpus, num_gpus
        What each takes.
    threads, memory
        See `Worker`.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        load: Callable[[], Encoder],
        address: str | None,
        *,
        workers: int | None,
        num_cpus: float,
        num_gpus: float,
        threads: int | None,
        memory: str | int,
    ) -> None:
        self._ray = ray = connect(address)
        probe(ray, folder, BUILDING)
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0) // num_cpus) if num_cpus else 1
        if num_gpus:
            room = min(room, int(there.get("GPU", 0) // num_gpus))
        if workers is None:
            workers = max(room, 1)
        if room < workers:
            raise ClusterError(
                f"the cluster has room for {room} workers of {num_cpus} CPUs and {num_gpus} GPUs each, not "
                f"{workers}: ask for fewer workers, or for less of each"
            )
        self.n_workers = workers
        actor = ray.remote(_Worker).options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1, max_task_retries=_RETRIES
        )
        self._actors = [actor.remote(str(folder), plan, load, threads, memory) for _ in range(self.n_workers)]
        self._busy: dict[Any, tuple[object, int]] = {}
        self._load = [0] * self.n_workers

    def submit(self, name: object, method: str, *args: Any) -> None:
        """See `Pool`."""
        number = self._load.index(min(self._load))
        self._load[number] += 1
        self._busy[self._actors[number].do.remote(method, *args)] = name, number

    def wait(self) -> list[Done]:
        """See `Pool`."""
        done: list[Done] = []
        finished, _ = self._ray.wait(list(self._busy), num_returns=1)
        for one in finished:
            name, number = self._busy.pop(one)
            self._load[number] -= 1
            with told(self._ray, "a worker of the build"):
                done.append(Done(name, self._ray.get(one)))
        return done

    def close(self) -> None:
        """See `Pool`."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []


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

    def call(self, asked: bytes) -> bytes:
        """The same, in bytes: what is pickled here passes Ray's own pickler, which is slower, as it is."""
        method, args = pickle.loads(asked)
        return pickle.dumps(self.do(method, *args), pickle.HIGHEST_PROTOCOL)

    def do(self, method: str, *args: Any) -> Any:
        """Call a method of the shard."""
        with self._opening:
            if self._shard is None:
                try:
                    self._shard = OpenShard(self._path, self._load)
                except StoredIndexError as error:
                    raise named(error, self._number, self._path) from error
            shard = self._shard
        return getattr(shard, method)(*args)


_WRITING = ("add", "update", "delete", "tend", "state")
"""What one replica alone does: the first."""


@dataclass
class _Replicas:
    """The actors of a shard, and which was asked last."""

    actors: list[Any]
    turn: int = 0
    guard: Lock = field(default_factory=Lock)

    def next(self) -> int:
        """The one whose turn it is."""
        with self.guard:
            self.turn = (self.turn + 1) % len(self.actors)
            return self.turn


class RayShards:
    """Shards that actors of a Ray cluster have open; see `Shards`.

    An actor that dies is replaced, by Ray or here, and what it was asked is asked again; searches go to
    another replica meanwhile, where there is one.

    Parameters
    ----------
    folder, manifest, choice
        Of the collection.
    address
        Of the cluster.
    replicas
        How many actors a shard has.
    hedge_after
        Seconds after which another replica is asked, too.
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
        self._hedge_after = hedge_after
        self._ray = connect(address)
        probe(self._ray, folder, "manifest.json")
        self._shards = [
            _Replicas([self._start(number) for _ in range(replicas)])
            for number in range(len(manifest.shards))
        ]

    def _start(self, number: int) -> Any:
        path = self._folder / self._manifest.shards[number].path
        actor = self._ray.remote(_Shard).options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=8, scheduling_strategy="SPREAD"
        )
        return actor.remote(number, str(path), self._choice, dict(self._manifest.encoder))

    def ask(
        self, method: str, args: Mapping[int, tuple[Any, ...]], lost: set[int] | None = None
    ) -> dict[int, Any]:
        """See `Shards.ask`."""
        writes = method in _WRITING
        places = {number: 0 if writes else self._shards[number].next() for number in args}
        known: dict[int, bytes] = {}  # many are asked the same
        for some in args.values():
            if id(some) not in known:
                known[id(some)] = pickle.dumps((method, some), pickle.HIGHEST_PROTOCOL)
        asked = {
            number: self._shards[number].actors[places[number]].call.remote(known[id(some)])
            for number, some in args.items()
        }
        answers: dict[int, Any] = {}
        if self._hedge_after is None:
            with suppress(Exception):  # whatever it is, each shard is asked about it below
                found = self._ray.get(list(asked.values()))
                return {number: pickle.loads(one) for number, one in zip(asked, found, strict=True)}
        for number, answer in asked.items():
            try:
                found = self._answer(number, places[number], answer, method, args[number])
                answers[number] = pickle.loads(found)
            except (ClusterError, RetrievalError, OSError) as error:
                if lost is None or not _is_loss(error):
                    raise
                lost.add(number)
        return answers

    def _answer(self, number: int, place: int, answer: Any, method: str, args: tuple[Any, ...]) -> Any:
        """What a shard answers; asked again where its actor died."""
        ray, replicas = self._ray, self._shards[number]
        what = f"shard {number} ({self._folder / self._manifest.shards[number].path})"
        waiting = [answer]
        if self._hedge_after is not None and len(replicas.actors) > 1 and method not in _WRITING:
            done, _ = ray.wait([answer], timeout=self._hedge_after)
            if not done:
                place = (place + 1) % len(replicas.actors)
                waiting.append(replicas.actors[place].call.remote(pickle.dumps((method, args))))
        for attempt in range(_RETRIES + 1):
            try:
                done, rest = ray.wait(waiting, num_returns=1)
                return ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                with told(ray, what):
                    raise error
            except ray.exceptions.RayActorError as error:
                waiting = rest
                if waiting:
                    continue
                if attempt == _RETRIES:
                    with told(ray, f"{what}, whose process died {_RETRIES + 1} times,"):
                        raise error
                place = self._replaced(number, place, method)
                args = _again(method, args)
                waiting = [replicas.actors[place].call.remote(pickle.dumps((method, args)))]
        raise ClusterError(f"{what} doesn't answer")

    def _replaced(self, number: int, place: int, method: str) -> int:
        """The replica to ask instead of one that died; that one is started anew if Ray doesn't."""
        replicas, ray = self._shards[number], self._ray
        if method not in _WRITING and len(replicas.actors) > 1:
            place = (place + 1) % len(replicas.actors)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                ray.get(replicas.actors[place].do.remote("ping"), timeout=_START_SECONDS)
                return place
            except ray.exceptions.ActorUnavailableError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            except ray.exceptions.ActorDiedError:  # killed for good, or its start failed
                replicas.actors[place] = self._start(number)
                with told(ray, f"shard {number} ({self._folder / self._manifest.shards[number].path})"):
                    ray.get(replicas.actors[place].do.remote("ping"), timeout=_START_SECONDS)
                return place

    def close(self) -> None:
        """Stop the actors."""
        for replicas in self._shards:
            for actor in replicas.actors:
                self._ray.kill(actor)
            replicas.actors = []


def _again(method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is asked again of a shard whose process died meanwhile: it may have committed the change or not.

    That is one commit, and what would be refused was looked for before; so doing it again must do no harm.
    """
    if method == "add":
        documents, numbers, _, on_conflict, timeout = args
        return documents, numbers, (), "replace" if on_conflict == "error" else on_conflict, timeout
    if method == "delete":
        ids, where, all, _, timeout = args
        return ids, where, all, True, timeout
    return args


def _is_loss(error: BaseException) -> bool:
    """Whether an error means that a shard isn't there, rather than that the call was wrong."""
    return isinstance(error, (ClusterError, IndexNotFoundError, IndexFormatError, OSError))
