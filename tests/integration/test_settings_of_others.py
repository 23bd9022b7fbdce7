"""What other users of torch, FAISS, numba and OpenMP in the process have set stays as it is."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys, threading
import numpy as np
import torch, faiss, numba
numba.get_num_threads()  # which starts numba's threads, and so changes OpenMP's number
torch.set_num_threads(3)
faiss.omp_set_num_threads(3)
environment = dict(os.environ)

def settings():
    torch.get_num_threads()  # a new thread takes over torch's number when it first asks
    mkl = [one.MKL_Set_Num_Threads_Local(0) for one in openmp._loaded()[1]]
    for library, n in zip(openmp._loaded()[1], mkl):
        library.MKL_Set_Num_Threads_Local(n)
    omp = [one.omp_get_max_threads() for one in openmp._loaded()[0]]
    return [torch.get_num_threads(), torch.get_num_interop_threads(), faiss.omp_get_max_threads(),
            numba.get_num_threads(), omp, mkl, dict(os.environ) == environment]

from lfm2_retrieval import Retriever
from lfm2_retrieval.platform import openmp

def elsewhere():
    found = []
    thread = threading.Thread(target=lambda: found.append(settings()))
    thread.start()
    thread.join()
    return found[0]

rng = np.random.default_rng(0)
words = "rain falls on hills and rivers carry boats past old towns where people sell bread".split()
texts = [" ".join(rng.choice(words, 20)) for _ in range(40)]

def work():
    retriever = Retriever.index(texts, model="nano", threads=2, batch_size=16)
    retriever.store.build(force=True)
    asked = [retriever.search("boats on rivers"), retriever.search(texts[:3], threads=2, mode="hybrid")]
    retriever.rerank("bread", texts[:5])
    retriever.encoder.encode_documents(texts[:9] + ["hills " * 1100], long_documents="full")
    retriever.close()
    return asked

before = settings(), elsewhere()
work()
after = settings(), elsewhere()
inside = []

def within():
    mine = settings()
    work()
    inside.append([mine, settings()])

threads = [threading.Thread(target=within) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
child = os.fork()
if not child:
    work()
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
last = settings(), elsewhere()
print(json.dumps({"before": before, "after": after, "last": last, "inside": inside, "status": status}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_settings_stay_in_threads_and_after_a_fork():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == 0
    assert found["before"] == found["after"] == found["last"]
    assert found["before"][0][-1]
    for before, after in found["inside"]:
        assert before == after
