from __future__ import annotations

import pytest
from small_sets import write_family


@pytest.fixture
def family(tmp_path):
    """A folder of three parallel sets in BEIR layout."""
    return write_family(tmp_path / "family")


@pytest.fixture(scope="session")
def encoder(checkpoint):
    from lfm2_retrieval import Encoder

    return Encoder.load(checkpoint())
