"""What the machine is."""

import platform
from pathlib import Path

import pytest

from lfm2_retrieval.platform.machine import cpu_name


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast 9: the second\nmodel name\t: other\n", "Fast 9: the second"),
        ("processor\t: 0\nBogoMIPS\t: 50\n", "aarch64"),
        ("model name\t:\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_processor_is_named(monkeypatch, told, name):
    def read(self, **given):
        if told is None:
            raise FileNotFoundError
        return told

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cpu_name() == name
