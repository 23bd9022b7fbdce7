"""OpenMP's number of threads is a value of each thread, which is set and put back."""

import os
import threading

import pytest
import torch

from lfm2_retrieval.platform import openmp
from lfm2_retrieval.platform.openmp import can_limit, limited

torch.get_num_threads()  # it is loaded


def in_another_thread():
    """What a new thread has, which may differ from this one's by whatever ran here before."""
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    return found[0]


def test_one_thread_here_and_all_elsewhere():
    before, elsewhere = torch.get_num_threads(), in_another_thread()
    with limited():
        if can_limit():
            assert torch.get_num_threads() == 1
        assert in_another_thread() == elsewhere
        with limited(3):
            assert not can_limit() or torch.get_num_threads() == 3
        assert not can_limit() or torch.get_num_threads() == 1
    assert (torch.get_num_threads(), in_another_thread()) == (before, elsewhere)


def test_an_error_puts_it_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), limited():
        raise KeyError
    assert torch.get_num_threads() == before


def test_mkls_own_number_is_put_back_too():
    _, mkl = openmp._loaded()
    if not mkl:
        pytest.skip("this torch has no MKL, or doesn't say so")
    (library, *_) = mkl
    before = library.MKL_Set_Num_Threads_Local(2)
    try:
        with limited():
            assert library.MKL_Set_Num_Threads_Local(1) == 1
        assert library.MKL_Set_Num_Threads_Local(2) == 2
    finally:
        library.MKL_Set_Num_Threads_Local(before)


def test_runtimes_that_come_later_are_found(monkeypatch):
    import faiss

    monkeypatch.setattr(openmp, "_libraries", (0, (), ()))
    before = faiss.omp_get_max_threads()
    with limited():
        assert not can_limit() or faiss.omp_get_max_threads() == 1
    assert faiss.omp_get_max_threads() == before


def test_without_a_list_of_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(openmp, "_libraries", (0, (), ()))
    monkeypatch.setattr(openmp, "_MAPS", tmp_path / "nothing")
    assert not can_limit()
    before = torch.get_num_threads()
    with limited():
        assert torch.get_num_threads() == before


def test_a_library_that_is_gone_or_another(monkeypatch, tmp_path):
    maps = tmp_path / "maps"
    (tmp_path / "libgomp.so.1").write_bytes(b"no library")
    maps.write_text(
        f"7f00-7f01 r-xp 0000 00:00 1 {tmp_path}/libgomp.so.1\n"
        f"7f00-7f01 r-xp 0000 00:00 1 {tmp_path}/libomp.so (deleted)\n7f00-7f01 r-xp 0000 00:00 0\n"
    )
    monkeypatch.setattr(openmp, "_libraries", (0, (), ()))
    monkeypatch.setattr(openmp, "_MAPS", maps)
    assert not can_limit()
    with limited():
        assert os.getpid()
