"""What a fork waits for, and what a child refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Index, TokenEmbeddings
from lfm2_retrieval.errors import ForkedProcessError
from lfm2_retrieval.indexes.catalogue.lock import WriterLock
from lfm2_retrieval.platform import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether some work is true in a forked child."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def inside() -> Iterator[threading.Event]:
    """A thread that is busy until the event is set."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with forks.busy, forks.busy:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    yield leave
    leave.set()
    thread.join()


def can_enter() -> bool:
    try:
        with forks.busy:
            return True
    except ForkedProcessError:
        return False


def is_locked(path: Path) -> bool:
    try:
        with WriterLock(path, 0):
            return False
    except TimeoutError:
        return True


def embeddings(n: int) -> TokenEmbeddings:
    vectors = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
    return TokenEmbeddings(vectors, np.arange(n + 1))


def test_a_fork_waits_for_who_is_inside(inside: threading.Event) -> None:
    threading.Timer(0.05, inside.set).start()
    assert in_child(can_enter)
    assert inside.is_set()


def test_a_child_refuses_what_the_fork_did_not_wait_for(
    inside: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_PATIENCE_SECONDS", 0.01)

    assert in_child(lambda: not can_enter() and in_child(lambda: not can_enter()))
    assert can_enter()


def test_a_fork_from_inside_goes_on_inside() -> None:
    with forks.busy:
        assert in_child(can_enter)
        with forks.busy:
            assert in_child(can_enter)
    assert in_child(can_enter)


def test_two_threads_fork_from_inside_at_once() -> None:
    both = threading.Barrier(2)
    done = []

    def work() -> None:
        with forks.busy:
            both.wait()
            done.append(in_child(can_enter))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True, True]


def test_locks_are_free_in_a_child() -> None:
    lock = forks.Lock()

    def take() -> bool:
        with lock:
            return True

    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    assert in_child(take)
    leave.set()
    thread.join()
    with lock:
        assert in_child(take)


def test_cached_properties_have_no_lock_in_common() -> None:
    class Slow:
        def __init__(self, wait: threading.Event) -> None:
            self.wait = wait

        @forks.cached_property
        def value(self) -> int:
            self.wait.wait()
            return 1

    never, at_once = threading.Event(), threading.Event()
    at_once.set()
    thread = threading.Thread(target=lambda: Slow(never).value)
    thread.start()
    assert Slow(at_once).value == 1
    never.set()
    thread.join()


def test_a_transaction_stays_the_parents(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", 8, tier="exact")
    index.add(["before"], embeddings(1))

    def refuses() -> bool:
        with pytest.raises(ForkedProcessError, match="begin another"):
            writer.add(["b"], embeddings(1))
        return True

    def unwinds() -> bool:
        """As where an exception ends the child inside the block."""
        writer.__exit__(ValueError, ValueError(), None)
        return True

    with index.writer() as writer:
        writer.add(["a"], embeddings(1))
        assert in_child(refuses)
        assert in_child(unwinds)
        assert in_child(lambda: is_locked(index.path / "lock"))
        writer.add(["c"], embeddings(1))
    assert index.ids() == ["before", "a", "c"]
    index.verify()
    assert in_child(lambda: index.add(["d"], embeddings(1)) == 1 and index.ids()[-1] == "d")
    index.refresh()
    assert len(index) == 4


def test_a_child_leaves_the_parents_temporary_index(tmp_path: Path) -> None:
    program = """
import os, sys
import numpy as np
from lfm2_retrieval import Index, TokenEmbeddings
index = Index.create(None, 4)
index.add(["a"], TokenEmbeddings(np.ones((1, 4), np.float32), np.array([0, 1])))
child = os.fork()
if not child:
    if sys.argv[1] == "close":
        index.close()
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert index.path.exists()
index.verify()
print(index.path)
"""
    for how in ("close", "exit"):
        done = subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert not Path(done.stdout.strip()).exists()


@pytest.mark.parametrize(("order", "expected"), [("torch first", 1), ("library first", 2), ("no fork", 2)])
def test_one_thread_only_where_openmp_may_be_the_parents(order: str, expected: int) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("elsewhere OpenMP survives a fork")
    program = """
import json, os, sys
def use():
    import torch
    torch.set_num_threads(2)
    from lfm2_retrieval.encoder.devices import settle_torch
    settle_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    settle_torch()  # once: a choice that follows stays
    print(json.dumps([before, torch.get_num_threads()]), flush=True)
order = sys.argv[1]
if order == "torch first":
    import torch
if order == "library first":
    import lfm2_retrieval
if order == "no fork":
    import torch
    use()
elif not os.fork():
    use()
else:
    os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, order], capture_output=True, text=True, check=True, timeout=240
    )
    assert json.loads(done.stdout) == [expected, 3]
