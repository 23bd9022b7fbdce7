"""The README's commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_commands_of_the_readme_exist():
    readme, makefile = ROOT / "README.md", (ROOT / "Makefile").read_text(encoding="utf-8")
    if not readme.exists():
        pytest.skip("README.md is not there yet")
    targets = set(re.findall(r"^\s*make (\S+)", readme.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert re.search(r"^make .*\btest$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
