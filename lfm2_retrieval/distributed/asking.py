"""A call of several shards that doesn't go as it should: asked of other replicas, and again of new actors."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ClusterError, IndexFormatError, IndexNotFoundError, RetrievalError
from .cluster import HeadWatch, told

if TYPE_CHECKING:
    from .actors import RayShards, Replicas

__all__ = ["Asking"]

_RETRIES = 3
"""So often a call is asked again whose actor died."""
_START_SECONDS = 120.0
"""So long a call waits for an actor, while none is there."""
_LOST_SECONDS = 5.0
"""Where shards may be missing, one is whose actors have given no sign of life for so long."""
_PAUSE_SECONDS = 0.1


@dataclass(eq=False)
class _Call:
    """The call of one shard.

    Parameters
    ----------
    number, replicas, args
        Of the shard, and what it is asked.
    place
        The replica that was asked last.
    begun, heard
        When it was asked; when there was a sign of life last.
    answers, pings
        What is awaited, and of which replica.
    deaths
        So many actors died of it.
    hedged
        Whether another replica was asked beside the first.
    """

    number: int
    replicas: Replicas
    args: tuple[Any, ...]
    place: int
    begun: float
    heard: float
    answers: dict[Any, int]
    pings: dict[Any, int] = field(default_factory=dict)
    deaths: int = 0
    hedged: bool = False
    pause: float = 0.0


class Asking:
    """A call of several shards, begun by `RayShards.ask`.

    Parameters
    ----------
    shards, method, args, lost
        See `RayShards.ask`.
    """

    def __init__(
        self, shards: RayShards, method: str, args: Mapping[int, tuple[Any, ...]], lost: set[int] | None
    ) -> None:
        from .actors import WRITING

        self._shards, self._ray, self._method, self._args, self._lost = shards, shards.ray, method, args, lost
        self._writes = method in WRITING
        self._calls: dict[int, _Call] = {}
        self._found: dict[int, Any] = {}

    def answers(self, places: Mapping[int, int], answers: Mapping[int, Any]) -> dict[int, Any]:
        """What the shards answer.

        Parameters
        ----------
        places, answers
            Which replica was asked, and what it owes, by number of the shard.
        """
        now = time.monotonic()
        for number, answer in answers.items():
            replicas = self._shards.replicas[number]
            call = _Call(
                number, replicas, self._args[number], places[number], now, now, {answer: places[number]}
            )
            self._calls[number] = call
            if self._ray.wait([answer], timeout=0)[0]:
                self._take(call, answer)
        head = HeadWatch(self._ray)
        while self._calls:
            head.check()
            for call in list(self._calls.values()):
                self._tend(call, time.monotonic())
            awaited = {ref: call for call in self._calls.values() for ref in (*call.answers, *call.pings)}
            if not awaited:
                time.sleep(_PAUSE_SECONDS / 2)
                continue
            with told(self._ray, "the cluster"):
                done, _ = self._ray.wait(list(awaited), num_returns=1, timeout=_PAUSE_SECONDS)
            for ref in done:
                self._take(awaited[ref], ref)
        return {number: self._found[number] for number in answers if number in self._found}

    def _take(self, call: _Call, ref: Any) -> None:
        """Take an answer, or what came in its place."""
        exceptions = self._ray.exceptions
        pinged = ref in call.pings
        place = call.pings.pop(ref) if pinged else call.answers.pop(ref)
        actor = call.replicas.actors[place]
        try:
            found = self._ray.get(ref)
        except exceptions.RayTaskError as error:
            self._fail(call, error)
        except exceptions.RayError as error:
            self._died(call, place, actor, error, pinged)
        else:
            call.heard, call.replicas.answered = time.monotonic(), True
            if not pinged:
                self._found[call.number] = pickle.loads(found)
                self._calls.pop(call.number, None)
            elif not call.answers:
                self._send(call, place)

    def _fail(self, call: _Call, error: BaseException) -> None:
        """Raise what a shard raised, unless it means that it is missing, and may be."""
        try:
            with told(self._ray, self._shards.named(call.number)):
                raise error
        except (ClusterError, RetrievalError, OSError) as known:
            if self._lost is None or not _is_loss(known):
                raise
            self._lose(call)

    def _lose(self, call: _Call) -> None:
        if self._lost is not None:
            self._lost.add(call.number)
        self._calls.pop(call.number, None)

    def _died(self, call: _Call, place: int, actor: Any, error: BaseException, pinged: bool) -> None:
        """Go on without an actor that died, or that Ray can't reach."""
        exceptions = self._ray.exceptions
        if isinstance(error, (exceptions.ActorDiedError, exceptions.ActorUnschedulableError)):  # for good
            self._shards.replace(call.number, place, actor)
        call.pause = time.monotonic() + _PAUSE_SECONDS
        if pinged:
            return
        call.replicas.overdue[place] = call.replicas.actors[place].ping.remote()
        if self._writes:
            call.args = again(self._method, call.args)
        if call.answers:
            return
        call.deaths += 1
        if call.deaths > _RETRIES:
            what = f"{self._shards.named(call.number)}, whose process died {call.deaths} times,"
            try:
                with told(self._ray, what):
                    raise error
            except ClusterError:
                if self._lost is None:
                    raise
                self._lose(call)

    def _tend(self, call: _Call, now: float) -> None:
        """Ask further replicas where it is time to, and give up where that is."""
        replicas, n = call.replicas, len(call.replicas.actors)
        if call.answers:
            if (
                not self._writes
                and not call.hedged
                and n > 1
                and now >= call.begun + self._shards.hedge_after
            ):
                call.hedged = True
                for ref, place in call.answers.items():
                    replicas.overdue.setdefault(place, ref)
                self._send(call, replicas.next(self._ray))
        elif not call.pings and now >= call.pause:  # whoever answers first is asked
            call.pings = {actor.ping.remote(): place for place, actor in enumerate(replicas.actors)}
        silent = now - call.heard
        if self._lost is not None and silent > _LOST_SECONDS:
            if call.answers and not call.pings:
                call.pings = {replicas.actors[place].ping.remote(): place for place in call.answers.values()}
            limit = 2 * _LOST_SECONDS if replicas.answered else _START_SECONDS
            if silent > limit:
                self._lose(call)
        elif not call.answers and silent > _START_SECONDS:
            raise ClusterError(
                f"{self._shards.named(call.number)}: no process for it could be started for "
                f"{_START_SECONDS:.0f} s: look at the nodes of the cluster (ray status), and open the "
                "collection again"
            )

    def _send(self, call: _Call, place: int) -> None:
        """Ask a replica."""
        asked = pickle.dumps((self._method, call.args), pickle.HIGHEST_PROTOCOL)
        call.place = place
        call.answers[call.replicas.actors[place].call.remote(asked)] = place


def again(method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
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
