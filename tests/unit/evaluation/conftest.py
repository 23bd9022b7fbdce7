from __future__ import annotations

import pytest
from small_sets import LANGUAGES, write_beir


@pytest.fixture
def family(tmp_path):
    """A folder of three parallel sets in BEIR layout."""
    for language in LANGUAGES:
        write_beir(tmp_path / "family" / f"set-{language}", language)
    return tmp_path / "family"


@pytest.fixture(scope="session")
def encoder(checkpoint):
    from lfm2_retrieval import Encoder

    return Encoder.load(checkpoint())
