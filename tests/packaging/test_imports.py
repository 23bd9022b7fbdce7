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

GROUND = {"errors", "printable", "platform", "display", "json_values", "keywords", "datatypes", "hits", "hub"}
"""What every part above may import; among themselves they import as ``BELOW`` says."""
BELOW: dict[str, set[str]] = {
    "platform": {"errors"},
    "display": {"errors", "printable"},
    "printable": set(),
    "errors": {"printable"},
    "json_values": {"errors"},
    "keywords": {"errors"},
    "hub": set(),
    "titles": set(),
    "hits": {"display", "errors"},
    "datatypes": {"errors", "platform", "display", "hits"},
    "frames": GROUND,
    "records": GROUND | {"titles"},
    "searchable": {"datatypes"},
    "documents": GROUND | {"titles"},
    "indexes": GROUND - {"hub"},
    "encoder": GROUND,
}
"""What each part may import of the others; the package itself (``__version__``) is open to all."""
BELOW["retriever"] = GROUND | {"searchable", "titles", "frames", "records", "documents", "indexes", "encoder"}
BELOW["connection"] = GROUND
BELOW["client"] = GROUND | {"records", "connection"}
BELOW["integrations"] = BELOW["server"] = BELOW["retriever"] | {"retriever"}
BELOW["evaluation"] = BELOW["integrations"]
BELOW["distributed"] = BELOW["retriever"] | {"retriever"}
BELOW["server"] = BELOW["server"] | {"distributed"}
BELOW["cli"] = BELOW["evaluation"] | {"evaluation", "integrations", "server", "distributed"}
BELOW["__main__"] = {"cli"}
BELOW["__init__"] = {"platform", "errors", "client", "datatypes", "encoder", "indexes", "retriever"}

LEVELS = (
    ("access", "stored_text", "kernels"),
    ("filters", "analysis", "quantization"),
    ("segments",),
    ("catalogue",),
    ("spool",),
    ("commits",),
    ("compaction", "search", "recovery"),
    ("tuning", "making"),
    ("views",),
    ("upkeep", "sources"),
    ("reader",),
    ("transactions",),
    ("index",),
    ("export", "shard", "sharing"),
    ("__init__",),
)
"""The parts of ``indexes`` from the ground up: each may import what is on levels below its own."""

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


def test_imports_point_down_within_indexes():
    levels = {part: level for level, parts in enumerate(LEVELS) for part in parts}
    folder = ROOT / "indexes"
    parts = {
        path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts == set(levels)
    for file in folder.rglob("*.py"):
        part = file.relative_to(folder).parts[0].removesuffix(".py")
        for name in imported(file):
            _, *inner = name.removeprefix("lfm2_retrieval.").split(".")
            if name.startswith("lfm2_retrieval.indexes.") and inner[0] in set(levels) - {part}:
                assert levels[inner[0]] < levels[part], f"{file} imports {name}"


def test_indexes_are_imported_by_their_package():
    """What others use of ``indexes`` it gives itself, so that its folders can move; but what loads much."""
    lazily = {"export", "recovery", "sharing"}
    for file in ROOT.rglob("*.py"):
        if file.relative_to(ROOT).parts[0] != "indexes":
            deep = {
                name.split(".")[2] for name in imported(file) if name.startswith("lfm2_retrieval.indexes.")
            }
            modules = {path.stem for path in (ROOT / "indexes").iterdir()}
            assert deep & modules <= lazily, file


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
from lfm2_retrieval.indexes import Index
Index.create({str(tmp_path / "index")!r}, 8).close()
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
