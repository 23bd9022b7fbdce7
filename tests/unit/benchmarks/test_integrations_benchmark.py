from __future__ import annotations

import pytest
from click.testing import CliRunner

from eval.benchmarks.__main__ import command

pytest.importorskip("langchain_core")


def test_each_component_is_measured_beside_a_search():
    few = ["--passages", "50", "--queries", "2", "--rounds", "1"]
    done = CliRunner().invoke(command, ["integrations", *few])
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1].strip() for line in done.output.splitlines() if line.startswith("| ")]
    assert rows[1] == "Retriever.search"
    assert {"as_tool", "LangChain retriever", "LangChain vector store"} <= set(rows)
