"""Vectors in steps: the kernels against whole numbers in NumPy, by every way to multiply, at their limits."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval.indexes.kernels import reference, steps
from lfm2_retrieval.indexes.search.by_steps import ask

DIMS = [1, 3, 48, 127, 128, 300]


def numbers(kind, n, dim, seed=0):
    """float16 vectors that are hard on something, as float32."""
    rng = np.random.default_rng([seed, dim])
    given = rng.standard_normal((n, dim))
    if kind == "unit":
        given /= np.linalg.norm(given, axis=1, keepdims=True)
    elif kind == "largest":
        given = 65504 * np.sign(given)
    elif kind == "subnormal":
        given *= 2.0**-23
    elif kind == "peaks":  # one dimension has nearly all
        given *= np.where(np.arange(dim) == rng.integers(0, dim, (n, 1)), 1, 1e-3)
    elif kind == "constant":
        given = np.ones((n, dim))
    elif kind == "mixed":
        given = np.clip(given * 10.0 ** rng.integers(-6, 5, (n, 1)), -65504, 65504)
        given[::7] = 0
    return given.astype(np.float16).astype(np.float32)


KINDS = ["unit", "largest", "subnormal", "peaks", "constant", "mixed"]


def quantised(vectors):
    n, dim = vectors.shape
    rounded = np.full((n, -(-dim // steps.QUAD) * steps.QUAD), 7, np.uint8)
    scales, errors, lengths = np.full(n, 7, np.float32), np.full(n, 7.0), np.full(n, 7.0)
    steps.quantise(vectors, rounded, scales, errors, lengths)
    return rounded, scales, errors, lengths


def pieces(numbers):
    padded = np.zeros((len(numbers), -(-numbers.shape[1] // 128) * 128))
    padded[:, : numbers.shape[1]] = numbers
    return np.sqrt((padded.reshape(len(numbers), -1, 32, 2, 2) ** 2).sum(axis=(2, 4)))


def scored(kernel, asked, rounded, scales, starts, ends):
    scores = np.full((len(starts), len(asked.lanes) - 1), 7, np.float32)
    kernel(rounded, scales, starts, ends, *asked[:5], scores)
    return scores


def asked_steps(asked, n):
    """int64 ``[n, width]``: the queries' steps, out of the kernel's columns."""
    whole = asked.columns.swapaxes(1, 2)
    return whole.reshape(whole.shape[0] * whole.shape[1], -1)[:n].astype(np.int64)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_within_the_limits_and_their_errors_are_as_said(dim, kind):
    vectors = numbers(kind, 60, dim)
    rounded, scales, errors, lengths = quantised(vectors)
    whole = rounded.astype(np.int64) - 128
    assert np.abs(whole).max() <= 127
    assert not whole[:, dim:].any()
    assert pieces(whole).max() <= steps.LONGEST_STORED
    said = whole[:, :dim] * scales.astype(np.float64)[:, None]
    np.testing.assert_allclose(errors, np.linalg.norm(vectors - said, axis=1), rtol=1e-9)
    np.testing.assert_allclose(lengths, np.linalg.norm(said, axis=1), rtol=1e-9)
    # As fine as may be: a limit is nearly reached, unless all is zero.
    fine = (np.abs(whole).max(axis=1) == 127) | (
        pieces(whole).max(axis=(1, 2)) > steps.LONGEST_STORED - 2.1 * steps.ROUNDED
    )
    assert (fine == (vectors != 0).any(axis=1)).all()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_queries_are_within_their_limits(dim, kind):
    queries = numbers(kind, 35, dim)
    asked = ask(queries, np.array([0, 20, 35]))
    whole = asked_steps(asked, 35)
    assert np.abs(whole).reshape(35, -1, 2).sum(axis=2).max() <= steps.MOST_OF_A_PAIR
    assert pieces(whole).max() <= steps.LONGEST_ASKED
    assert steps.LONGEST_STORED * steps.LONGEST_ASKED < 2**15
    left = np.linalg.norm(queries - whole[:, :dim] * asked.factors[:, None], axis=1)
    assert (np.add.reduceat(left, [0, 20]) <= asked.by_length).all()
    lengths = np.linalg.norm(queries.astype(float), axis=1)
    np.testing.assert_allclose(asked.by_error, np.add.reduceat(lengths, [0, 20]), rtol=1e-12)


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_find_the_same_as_numpy_in_whole_numbers(dot, dim, kind):
    rng = np.random.default_rng(dim)
    rounded, scales, *_ = quantised(numbers(kind, 90, dim))
    ends = np.append(np.sort(rng.integers(1, 90, 20)), 90)
    starts = np.concatenate([[0], ends[:-1]])
    for n in (1, 16, 17, 40):
        queries = numbers(kind, n, dim, seed=1)
        asked = ask(queries, np.unique([0, n // 3, n]))
        scores = scored(steps.kernel(dot), asked, rounded, scales, starts, ends)
        full = starts < ends
        assert (scores[~full] == 7).all()
        given = asked_steps(asked, n), asked.lanes, asked.factors
        expected = reference.score_steps(rounded, scales, starts[full], ends[full], *given)
        np.testing.assert_array_equal(scores[full], expected)


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_nothing_saturates_at_the_limits(dot, signs):
    """The longest pieces there can be, all in two dimensions, in all, and against bytes of 255."""
    stored, given = np.full((4, 256), 128, np.int64), np.zeros((4, 256), np.int64)
    stored[0, :2], given[0, :2] = 128 + 127 * signs[0], 64 * signs[1]
    # 64 dimensions of a piece, each of 24 and 21 steps: 192 and 168 long.
    stored[1], given[1] = 128 + 24 * signs[0], 21 * signs[1]
    stored[2, ::2], given[2, ::4] = 128 + 33 * signs[0], 30 * signs[1]
    stored[3, 5], given[3, 5] = 128 + 127 * signs[0], 127 * signs[1]
    assert pieces(stored - 128).max() <= steps.LONGEST_STORED
    assert pieces(given).max() <= steps.LONGEST_ASKED
    asked = ask(np.zeros((4, 256), np.float32), np.arange(5))
    columns = np.zeros((1, 16, 64, 4), np.int8)
    columns[0, :4] = given.reshape(4, 64, 4)
    sums = -128 * columns.reshape(1, 16, 2, 32, 2, 2).astype(np.int64).sum(axis=(3, 5))
    asked = asked._replace(
        columns=np.ascontiguousarray(columns.swapaxes(1, 2)),
        offsets=np.ascontiguousarray(sums.swapaxes(1, 2).astype(np.int16)),
        totals=sums.sum(axis=(2, 3)).astype(np.int32),
        factors=np.ones(4),
    )
    at = np.arange(4)
    found = scored(steps.kernel(dot), asked, stored.astype(np.uint8), np.ones(4, np.float32), at, at + 1)
    np.testing.assert_array_equal(found, (stored - 128) @ given.T)


_DIGEST = """
import hashlib, sys
sys.path[:0] = [{here!r}]
from test_steps import digest
print(digest())
"""


def digest():
    """Of what the kernel of this processor finds."""
    rounded, scales, *_ = quantised(numbers("unit", 200, 130))
    asked = ask(numbers("unit", 20, 130, seed=1), np.array([0, 7, 20]))
    starts = np.arange(0, 200, 9)
    scores = scored(steps.score_steps(), asked, rounded, scales, starts, np.minimum(starts + 9, 200))
    return hashlib.sha256(rounded.tobytes() + scores.tobytes()).hexdigest()


def test_a_processor_without_vectors_of_bytes_finds_the_same(tmp_path):
    code = _DIGEST.format(here=str(Path(__file__).parent))
    lesser = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **lesser},
    )
    assert run.stdout.strip() == digest()


_ASSEMBLY = """
import json
from numba.core.caching import NullCache
from numba import float32, float64, int8, int16, int32, int64, uint8
from lfm2_retrieval.indexes.kernels import steps
kernel = steps.score_steps()
kernel._cache = NullCache()
lists = int64[::1], int64[::1]
asked = int8[:, :, :, ::1], int16[:, :, :, ::1], int32[:, ::1], int64[::1], float64[::1]
kernel.compile((uint8[:, ::1], float32[::1], *lists, *asked, float32[:, ::1]))
print(json.dumps(list(kernel.inspect_asm().values())))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
@pytest.mark.parametrize(
    ("processor", "instruction"),
    [
        ("haswell", "vpmaddubsw"),
        ("icelake-server", "vpdpbusd"),
        ("alderlake", "vpdpbusd"),
        ("x86-64", "pmullw"),
    ],
)
def test_products_of_bytes_become_single_instructions(processor, instruction, tmp_path):
    """Compiled only: this processor need not have them."""
    features = {
        "haswell": "+avx2",
        "icelake-server": "+avx2,+avx512f,+avx512vl,+avx512vnni",
        "alderlake": "+avx2,+avxvnni",
    }.get(processor, "")
    other = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _ASSEMBLY],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **other},
    )
    assert any(instruction in assembly for assembly in json.loads(run.stdout))
