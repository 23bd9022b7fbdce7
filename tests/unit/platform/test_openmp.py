"""One thread for what one thread begins, and the setting of all others as it was."""

import threading

import pytest

from lfm2_retrieval.platform import openmp
from lfm2_retrieval.platform.openmp import one_thread

torch = pytest.importorskip("torch")


def test_one_thread_here_and_all_elsewhere():
    before = torch.get_num_threads()
    elsewhere = []
    with one_thread():
        if openmp._loaded():
            assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert elsewhere == [before] == [torch.get_num_threads()]


def test_it_ends_with_an_error_too():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == before


def test_nothing_happens_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(openmp, "_runtimes", [])
    monkeypatch.setattr(openmp.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    with one_thread():
        assert torch.get_num_threads() >= 1
