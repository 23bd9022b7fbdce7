"""Which way the arrows point, and what an import may load."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lfm2_retrieval

ROOT = Path(lfm2_retrieval.__file__).parent
NAMES = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

BELOW: dict[str, set[str]] = {}
"""What each part may import of the others; the package itself (``__version__``) is open to all."""
BELOW["errors"] = BELOW["titles"] = BELOW["hub"] = BELOW["interrupts"] = BELOW["concurrency"] = set()
BELOW["display"] = BELOW["machine"] = set()
BELOW["keywords"] = {"errors"}
BELOW["hits"] = {"display"}
BELOW["forks"] = {"errors"}
BELOW["datatypes"] = {"errors", "display", "hits"}
BELOW["documents"] = {"errors", "datatypes", "json_values", "titles"}
BELOW["indexes"] = {"errors", "datatypes", "concurrency", "forks", "json_values"}
BELOW["encoder"] = {"errors", "datatypes", "hub", "concurrency", "forks", "keywords"}
BELOW["explain"] = {"errors", "datatypes"}
BELOW["json_values"] = {"errors"}
BELOW["frames"] = {"errors", "datatypes"}
BELOW["records"] = {"errors", "datatypes", "json_values", "titles"}
BELOW["ingest"] = BELOW["records"] | {"encoder", "indexes", "interrupts", "frames", "records"}
BELOW["ingest"] |= {"recorded"}
BELOW["progress"] = {"ingest"}
BELOW["reindexing"] = BELOW["ingest"] | {"ingest", "progress"}
BELOW["answering"] = {"errors", "datatypes", "encoder", "indexes"}
BELOW["reranking"] = {"errors", "datatypes", "encoder", "explain"}
BELOW["searching"] = BELOW["ingest"] | {"explain", "ingest", "keywords", "reranking"}
BELOW["recorded"] = {"errors", "encoder"}
BELOW["change_run"] = BELOW["ingest"] | {"ingest"}
BELOW["changes"] = BELOW["change_run"] | {"change_run"}
BELOW["target"] = {"errors", "encoder", "indexes", "recorded"}
BELOW["retriever"] = BELOW["searching"] | {
    "documents",
    "searching",
    "changes",
    "forks",
    "progress",
    "display",
    "reindexing",
    "target",
    "answering",
}
BELOW["retriever"] |= {"recorded"}
BELOW["integrations"] = BELOW["server"] = BELOW["retriever"] | {"retriever"}
BELOW["figures"] = {"errors"}
BELOW["evaluation"] = BELOW["integrations"] | {"hub", "figures", "concurrency", "machine"}
BELOW["cli"] = BELOW["evaluation"] | {"evaluation", "integrations", "server", "figures"}
BELOW["__main__"] = {"cli"}
BELOW["__init__"] = {"forks", "errors", "datatypes", "encoder", "indexes", "retriever"}
BELOW = {part: below | {"printable", "plain_files"} for part, below in BELOW.items()}
BELOW["evaluation"] |= {"markup"}
BELOW["markup"] = {"printable"}
BELOW |= {"printable": set(), "plain_files": {"errors"}}
BELOW["errors"] = {"printable"}

FOREIGN = {"indexes": {"torch", "transformers", "sentence_transformers"}, "encoder": {"faiss", "sqlite3"}}
HEAVY = {"torch", "faiss", "numba", "transformers", "sentence_transformers", "sklearn", "scipy"}


def imported(file: Path) -> set[str]:
    """The full names of all modules that a file imports, at its top or in its bodies."""
    package = ("lfm2_retrieval", *file.relative_to(ROOT).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code``, in a fresh interpreter."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("part", sorted(NAMES))
def test_imports_point_down(part):
    files = [ROOT / f"{part}.py"] if (ROOT / f"{part}.py").exists() else sorted((ROOT / part).rglob("*.py"))
    for file in files:
        for name in imported(file):
            parts = name.split(".")
            if parts[0] == "lfm2_retrieval" and len(parts) > 1 and parts[1] in NAMES - {part}:
                assert parts[1] in BELOW[part], f"{file} imports {name}"
            assert parts[0] not in FOREIGN.get(part, set()), f"{file} imports {name}"


def test_the_package_is_light():
    assert not loaded_by("import lfm2_retrieval, lfm2_retrieval.errors") & (
        HEAVY | {"numpy", "rich", "click"}
    )
    assert not loaded_by("from lfm2_retrieval import *") & {"sentence_transformers", "langchain_core"}


def test_help_loads_click_and_little_else():
    code = """
import sys
from lfm2_retrieval.cli import main
for arguments in ("--help", "index --help", "bench search --help", "eval nanobeir --help", "--version"):
    main(arguments.split(), standalone_mode=False)
"""
    assert not loaded_by(code) & (HEAVY | {"numpy", "rich", "huggingface_hub"})


def test_models_and_info_load_no_torch(tmp_path):
    code = f"""
from lfm2_retrieval.cli import main
from lfm2_retrieval.indexes import ExactIndex
ExactIndex.create({str(tmp_path / "index")!r}, 8).close()
main(["models"], standalone_mode=False)
main(["info", {str(tmp_path / "index")!r}], standalone_mode=False)
"""
    assert not loaded_by(code) & {"torch", "transformers", "faiss"}


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages([str(ROOT)], "lfm2_retrieval.")
        if not module.name.endswith("__main__") and ".integrations." not in module.name
    ],
)
def test_all_names_what_is_there(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.{public}"


def test_all_equals_what_is_exported():
    assert sorted(lfm2_retrieval.__all__) == sorted({*lfm2_retrieval._HOME, "__version__"})
    for name in lfm2_retrieval.__all__:
        assert getattr(lfm2_retrieval, name) is not None
    assert set(lfm2_retrieval.__all__) <= set(dir(lfm2_retrieval))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lfm2_retrieval.nonsense
