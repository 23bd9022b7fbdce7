import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The preloaded library, compiled; see shim.c."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "shim.c"], check=True)
    return library


class Zygote:
    """Runs jobs in processes forked from one that has everything loaded."""

    def __init__(self, shim):
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "LD_PRELOAD": str(shim),
                "OMP_NUM_THREADS": "1",
                "NUMBA_NUM_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def run(self, *requests):
        """Run jobs at the same time; their exit statuses, negative for signals."""
        requests = [{"record": None, "arguments": {}, **request} for request in requests]
        for request in requests:
            Path(request["diary"]).write_bytes(b"")
        self._process.stdin.write(json.dumps(requests, default=str) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def zygote(shim):
    """One for all tests."""
    started = Zygote(shim)
    yield started
    started.close()
