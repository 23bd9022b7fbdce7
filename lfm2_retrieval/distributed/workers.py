"""Workers of a build on a Ray cluster: actors that do its steps, replaced where they die."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..encoder import DocumentOptions, Encoder, fix_kernels
from ..errors import ClusterError, ModelMismatchError, RetrievalError
from .cluster import HeadWatch, connect, has_head, host, living_nodes, probe, told
from .parts import Part
from .pools import Done
from .stages import BUILDING, Plan, Worker

__all__ = ["RayPool"]

_RETRIES = 3
"""So often a step is done again whose worker died, and a worker is started again that died at its start."""
_LOOK_SECONDS = 2.0
_ROOM_SECONDS = 900.0
"""So long a build waits for a worker while it has none."""


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
        self._folder, self._plan, self._load = Path(folder), plan, load
        self._threads, self._memory = threads, memory
        self._worker: Worker | None = None

    def start(self) -> int:
        """Load the model, and tell the id of the process.

        This isn't done when the actor is made, since Ray hides what is raised there.
        """
        recorded = self._plan.encoder
        fix_kernels(self._plan.kernels)
        try:
            encoder = self._load().reading(DocumentOptions.recorded(recorded))
        except RetrievalError as error:
            raise type(error)(f"on the node {host()} of the Ray cluster: {error}") from error
        if encoder.fingerprint != recorded["fingerprint"]:
            raise ModelMismatchError(
                f"the model {recorded['name']} is another one on the node {host()} of the Ray cluster "
                f"(fingerprint {encoder.fingerprint}, not {recorded['fingerprint']}): have all nodes load "
                "the same, by a path that they share or a revision"
            )
        self._worker = Worker(self._folder, self._plan, encoder, self._threads, self._memory)
        return os.getpid()

    def do(self, method: str, *args: Any) -> Any:
        """Do a step."""
        return getattr(self._worker, method)(*args)


class _Step(NamedTuple):
    """A step of a build, and how many workers died of it."""

    name: object
    method: str
    args: tuple[Any, ...]
    deaths: int = 0

    def described(self) -> str:
        """What it is, for whoever reads an error."""
        if self.method == "encode":
            part: Part = self.args[0]
            first, last = part.documents[0].id, part.documents[-1].id
            return f"encoding part {part.number} of the source (documents {first[:80]!r} to {last[:80]!r})"
        return {
            "append": f"adding documents to shard {self.args[0] if self.args else ''}",
            "compress": f"compressing shard {self.args[0] if self.args else ''}",
            "train": "training the codec",
        }.get(self.method, self.method)


@dataclass(eq=False)
class _Member:
    """An actor, what it is at, whether that is its start, and the id of its process after that."""

    actor: Any
    answer: Any
    step: _Step | None = None
    starting: bool = True
    process: int | None = None
    deaths: int = 0


class RayPool:
    """Workers of a Ray cluster; see `Pool`.

    Each has one step at a time. Where one dies, alone or with its node, its step is given to the next that is
    free, and another worker is started as soon as the cluster has room for it: so a build goes on with those
    that are left.

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
        room = _room(living_nodes(ray), num_cpus, num_gpus)
        if workers is None:
            workers = max(room, 1)
        if room < workers:
            raise ClusterError(
                f"the cluster has room for {room} workers of {num_cpus} CPUs and {num_gpus} GPUs each, not "
                f"{workers}: ask for fewer workers, or for less of each"
            )
        self.n_workers = workers
        # What died is done again here, and not by Ray: that would wait for room for the worker that died.
        actor = ray.remote(_Worker).options(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._start: Callable[[], Any] = lambda: actor.remote(str(folder), plan, load, threads, memory)
        self._waiting: deque[_Step] = deque()
        self._members = [self._member() for _ in range(workers)]

    def submit(self, name: object, method: str, *args: Any) -> None:
        """See `Pool`."""
        self._waiting.append(_Step(name, method, args))

    def wait(self) -> list[Done]:
        """See `Pool`."""
        alone_since = time.monotonic()
        head = HeadWatch(self._ray)
        done: list[Done] = []
        while not done:
            head.check()
            self._hand_out()
            answers = [member.answer for member in self._members if member.answer is not None]
            with told(self._ray, "the build"):
                finished, _ = self._ray.wait(answers, num_returns=1, timeout=_LOOK_SECONDS)
            for member in [one for one in self._members if one.answer in finished]:
                done += self._take(member)
            if any(not member.starting for member in self._members):
                alone_since = time.monotonic()
            elif time.monotonic() > alone_since + _ROOM_SECONDS:
                raise ClusterError(
                    f"no worker of the build could be started for {_ROOM_SECONDS:.0f} s: the nodes of the "
                    "cluster are gone, or busy with other work (ray status tells); what is done is kept: "
                    "repeat the call, and it goes on"
                )
        return done

    def close(self) -> None:
        """See `Pool`."""
        if has_head(self._ray):
            for member in self._members:
                self._ray.kill(member.actor)
        self._members = []

    def _member(self, deaths: int = 0) -> _Member:
        """A new worker, which starts as soon as there is room for it."""
        actor = self._start()
        return _Member(actor, actor.start.remote(), deaths=deaths)

    def _hand_out(self) -> None:
        """Give steps that wait to workers that have none."""
        for member in self._members:
            if member.answer is None and self._waiting:
                member.step = self._waiting.popleft()
                member.answer = member.actor.do.remote(member.step.method, *member.step.args)

    def _take(self, member: _Member) -> list[Done]:
        """What a worker answers; it is replaced if it died."""
        exceptions = self._ray.exceptions
        try:
            result = self._ray.get(member.answer)
        except exceptions.RayTaskError as error:
            with told(self._ray, "a worker of the build"):
                raise error
        except exceptions.RayError as error:
            self._replace(member, error)
            return []
        step, member.step, member.answer = member.step, None, None
        if member.starting:
            member.starting, member.process = False, result
        return [] if step is None else [Done(step.name, result)]

    def _replace(self, member: _Member, error: BaseException) -> None:
        """Start a worker in the place of one that died, and have its step done by the next that is free."""
        step, deaths = member.step, member.deaths + 1 if member.starting else 0
        if step is not None:
            step = step._replace(deaths=step.deaths + 1)
            if step.deaths > _RETRIES:
                raise ClusterError(
                    f"{step.described()} ended {step.deaths} workers, one after the other, most likely for "
                    "want of memory (the node's log tells): start fewer workers a node (num_cpus=), or make "
                    "the documents smaller, and repeat the call: what is done is kept. "
                    f"Ray says: {_first_line(error)}"
                ) from error
            self._waiting.appendleft(step)
        elif deaths > _RETRIES:
            raise ClusterError(
                f"a worker of the build died {deaths} times while it loaded the model, most likely for want "
                f"of memory: start fewer workers on a node (num_cpus=). Ray says: {_first_line(error)}"
            ) from error
        self._ray.kill(member.actor)  # whom Ray only lost sight of must not go on
        self._members[self._members.index(member)] = self._member(deaths)


def _room(nodes: Sequence[Mapping[str, Any]], num_cpus: float, num_gpus: float) -> int:
    """How many workers the nodes have room for; each lies on one node."""
    if not num_cpus and not num_gpus:
        return len(nodes)
    room = 0
    for node in nodes:
        resources = node["Resources"]
        wants = [(resources.get("CPU", 0), num_cpus), (resources.get("GPU", 0), num_gpus)]
        room += min(int(there // wanted) for there, wanted in wants if wanted)
    return room


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
