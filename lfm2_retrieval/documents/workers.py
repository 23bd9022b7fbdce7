"""Processes that parse files, each in bounds of time and memory, begun anew when they die."""

from __future__ import annotations

import json
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from ..platform.processors import cpus
from .worker import read_frame, write_frame

__all__ = ["Job", "Limits", "Parsers"]

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lfm2_retrieval.documents.worker import main; "
    "main(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))"
)
_AHEAD = 4
_WAIT = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may take to be parsed.

    Parameters
    ----------
    seconds
        Of processor time; ten times as many pass at most.
    memory
        Bytes, beyond what the parser itself takes.
    """

    seconds: float = 60.0
    memory: int = 1 << 30


class Job:
    """A file on its way through a parser."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = request
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue(_AHEAD)
        self.cancelled = threading.Event()

    def answers(self) -> Iterator[dict[str, Any]]:
        """What comes of it; the last one may be ``{"refused": reason, "detail": …}``."""
        try:
            while (answer := self._answers.get()) is not None:
                yield answer
        finally:
            self.cancelled.set()

    def put(self, answer: dict[str, Any] | None) -> None:
        """Hand over an answer, once there is room; nothing, if nobody waits any more."""
        while not self.cancelled.is_set():
            try:
                self._answers.put(answer, timeout=_WAIT)
            except queue.Full:
                continue
            return


class _Worker:
    """A process, started when it is first needed."""

    def __init__(self, parser: str, limits: Limits) -> None:
        self._parser = parser
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0

    def serve(self, job: Job) -> None:
        """Do a job, whatever becomes of the process."""
        worn = self._served > 0
        died = self._attempt(job)
        if died is not None and worn and not job.cancelled.is_set() and died[1] is False:
            died = self._attempt(job)  # it may have been what came before
        if died is not None:
            job.put({"refused": died[0], "detail": ""})
        job.put(None)

    def _attempt(self, job: Job) -> tuple[str, bool] | None:
        """None if it was done; else how the process ended, and whether answers had come."""
        process = self._start()
        begun = False
        try:
            write_frame(cast(BinaryIO, process.stdin), job.request)
            while (answer := self._receive(process)) is not None:
                if answer.get("end"):
                    self._served += 1
                    if answer.get("leaving"):
                        self.stop()
                    return None
                begun = True
                job.put(answer)
                if job.cancelled.is_set():
                    self.stop()
                    return None
        except TimeoutError:
            self.stop()
            return f"took more than {10 * self._limits.seconds:g} seconds", True
        except (OSError, ValueError):
            pass
        return self._reason(process), begun

    def _receive(self, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        stream = cast(BinaryIO, process.stdout)
        ready, _, _ = select.select([stream], [], [], 10 * self._limits.seconds)
        if not ready:
            raise TimeoutError
        return read_frame(stream)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            # -I: no file in the working directory is taken for a module
            command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path), self._parser]
            command += [str(self._limits.seconds), str(self._limits.memory)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,  # what is buffered here, `select` doesn't see
                start_new_session=True,  # Ctrl-C is for us
            )
            self._served = 0
        return self._process

    def _reason(self, process: subprocess.Popen[bytes]) -> str:
        self.stop()
        if process.returncode == -signal.SIGPROF:
            return f"took more than {self._limits.seconds:g} seconds"
        return f"brought the parser down (it crashed, or took more than {self._limits.memory >> 20} MiB)"

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(0.5 if process.poll() is None and self._ending(process) else 0)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def kill(self) -> None:
        """End the process at once, from another thread than that which uses it."""
        if (process := self._process) is not None:
            process.kill()

    @staticmethod
    def _ending(process: subprocess.Popen[bytes]) -> bool:
        """Whether the process has closed its output, and so is about to end by itself."""
        ready, _, _ = select.select([cast(BinaryIO, process.stdout)], [], [], 0)
        return bool(ready)


class Parsers:
    """Some processes that parse files beside each other and beside us.

    Parameters
    ----------
    workers
        How many; by default one less than there are processors, four at most.
    limits
        Of each file.
    parser
        ``module:function``, which answers requests.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits | None = None,
        parser: str = "lfm2_retrieval.documents.parsing:parse",
    ) -> None:
        self.workers = workers or max(1, min(4, cpus() - 1))
        self._limits = limits or Limits()
        self._parser = parser
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._unfinished: set[Job] = set()

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Begin a job, once a process is free for it."""
        job = Job(request)
        with self._lock:
            self._unfinished.add(job)
            busy = len(self._unfinished)
            if len(self._threads) < min(self.workers, busy):
                worker = _Worker(self._parser, self._limits)
                thread = threading.Thread(target=self._run, args=(worker,), name="parsing", daemon=True)
                self._threads.append(thread)
                self._workers.append(worker)
                thread.start()
        self._jobs.put(job)
        return job

    def _run(self, worker: _Worker) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if not job.cancelled.is_set():
                    worker.serve(job)
                with self._lock:
                    self._unfinished.discard(job)
        finally:
            worker.stop()

    def close(self) -> None:
        """End all processes; what they were at is dropped."""
        with self._lock:
            for job in self._unfinished:
                job.cancelled.set()
        for _ in self._threads:
            self._jobs.put(None)
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join(1.0)

    def __enter__(self) -> Parsers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
