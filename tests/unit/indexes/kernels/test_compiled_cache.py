"""Compiled code is kept on disk, and only that of this version and these options is taken up."""

import shutil

from support import ROOT, start

CALL = """
import sys
from lfm2_retrieval.indexes.kernels import gather
import numpy as np
kernel = gather.select
kernel(np.zeros(3, np.int64), np.zeros(3, np.int32), np.ones(3, bool), np.zeros(4, np.int64), 1)
print(kernel.__module__, sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def outcome(folder):
    process = start(f"import sys; sys.path.insert(0, {str(folder)!r})" + CALL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.split()[1:]


def test_a_change_of_another_module_compiles_anew(tmp_path):
    shutil.copytree(
        ROOT / "lfm2_retrieval",
        tmp_path / "lfm2_retrieval",
        ignore=shutil.ignore_patterns("__pycache__", "models", "collections"),
    )
    assert outcome(tmp_path) == ["0", "1"]
    assert outcome(tmp_path) == ["1", "0"]
    lanes = tmp_path / "lfm2_retrieval" / "platform" / "simd.py"
    lanes.write_text(lanes.read_text() + "\n# a change\n")
    assert outcome(tmp_path) == ["0", "1"]
    kernels = tmp_path / "lfm2_retrieval" / "platform" / "compiling.py"
    kernels.write_text(kernels.read_text().replace('"nogil": True', '"nogil": True, "boundscheck": False'))
    assert outcome(tmp_path) == ["0", "1"]
