"""Kernels compiled for other processors: lesser ones give the golden hits, for Arm they have vectors."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
@pytest.mark.parametrize("processor", ["haswell", "x86-64"])  # AVX2, and SSE2
def test_golden_hits_without_avx512(processor):
    golden = Path(__file__).parent / "test_golden.py"
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(golden)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_kernels_become_vector_instructions_on_arm(tmp_path):
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this llvmlite can't compile for Arm")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "arm.py")],
        env=os.environ | {"NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    expected = {  # an instruction on a register of eight int16 or sixteen int8, for each step of a kernel
        "by_centroids": ["smax .*16b", "saddlv|addv|sadalp|saddlp"],
        "refine": ["smax .*8h", "sqsub .*8h", "add .*8h"],
        "tabulate": ["smull|smlal", "frintx .*4s", "fcvtzs .*4s"],
    }
    for kernel, assembly in json.loads(run.stdout).items():
        lines = [" ".join(line.split()) for line in assembly.splitlines()]
        for instruction in expected[kernel]:
            assert any(re.match(instruction, line) for line in lines), (kernel, instruction)
