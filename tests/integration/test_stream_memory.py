"""Memory of streams and of huge documents, each measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.campaign

MEASURE = """
import resource, sys
from lfm2_retrieval import Encoder
encoder = Encoder.load(sys.argv[1])
{work}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
STREAM = """
passages = (f"passage {i} of many" for i in range(int(sys.argv[2])))
assert sum(len(one) for one in encoder.iter_documents(passages)) == int(sys.argv[2])
"""
DOCUMENT = """
text = "old towns sell bread " * (int(sys.argv[2]) // 4)
encoded = encoder.encode_documents([text], output="float16", long_documents=sys.argv[3], on_cut=print)
"""


def peak(work: str, *arguments: object) -> int:
    """Megabytes."""
    command = [sys.executable, "-c", MEASURE.format(work=work), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=3600).stdout.split()[-1])


@pytest.mark.parametrize("name", ["nano", "random"])
def test_a_stream_of_100_000_passages_takes_little_more_than_1_000(
    checkpoint: Callable[..., Path], name: str
) -> None:
    model = "nano" if name == "nano" else checkpoint()
    assert peak(STREAM, model, 100_000) < peak(STREAM, model, 1000) + 300


@pytest.mark.parametrize("mode", ["truncate", "window", "full"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_document_of_a_million_tokens(
    checkpoint: Callable[..., Path], mode: str, bidirectional: bool
) -> None:
    model = checkpoint(bidirectional=bidirectional, layers=("conv", "full_attention"))
    assert peak(DOCUMENT, model, 1_000_000, mode) < peak(DOCUMENT, model, 1000, mode) + 300
