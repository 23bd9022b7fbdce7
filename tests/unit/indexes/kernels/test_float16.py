"""float16 with the processor's instructions for it, and without any."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lfm2_retrieval.indexes.kernels import scan

_CONVERT = """
import numpy as np
from lfm2_retrieval.indexes.kernels.scan import score_rows
half = np.arange(1 << 16, dtype=np.uint16)
half = half[np.isfinite(half.view(np.float16))].reshape(-1, 1)
for dim in (1, 8):
    rows, at = np.repeat(half, dim, axis=1), np.arange(len(half))
    columns, scores = np.zeros((1, 8, 16), np.float32), np.empty((len(half), 1), np.float32)
    columns[0, dim - 1, 0] = 1
    score_rows(rows, at, at + 1, columns, np.array([0, 1]), scores)
    np.testing.assert_array_equal(scores, half.view(np.float16).astype(np.float32))
"""


@pytest.mark.parametrize("processor", [{}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}])
def test_every_finite_float16_is_read_right(processor, tmp_path):
    environment = {**os.environ, **processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _CONVERT], check=True, env=environment, timeout=300)


def test_lengths_up_to_the_largest():
    half = np.full((2, 4096), 65504, np.float16)
    assert scan.longest(half.view(np.uint16)) == pytest.approx(65504 * 64, rel=1e-5)
