"""The folder of an evaluation: ``results.json``, and for each cell a TREC run and its queries' measures.

===================================  ==================================================
``results.json``                     everything but the rankings
``TASK.DOCS-QUERIES.SYSTEM.trec``    a cell's ranking, such as ``demo.de-en.exact.trec``
``TASK.DOCS-QUERIES.SYSTEM.jsonl``   each judged query's measures
``TASK.DOCS.qrels``                  what the runs are measured by, as TREC has it
===================================  ==================================================

``results.json`` is written anew, as a whole, after each cell.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .datasets import sha256
from .metrics import MEASURES
from .runs import Run, write_lines, write_run
from .statistics import intervals

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FORMAT", "Results", "cell_name", "means_of", "read_queries", "read_results"]

FORMAT = 3
FILE = "results.json"
DRAWS = 2000


def cell_name(task: str, documents: str, queries: str, system: str) -> str:
    """What a cell's files are called."""
    return f"{task}.{documents}-{queries}.{system}"


_NEEDED = {
    "identity": dict,
    "suite": dict,
    "settings": dict,
    "model": dict,
    "environment": dict,
    "data": dict,
    "corpora": dict,
    "runs": list,
    "cells": list,
}


def read_results(folder: Path) -> dict[str, Any]:
    """The contents of a folder's ``results.json``.

    Raises
    ------
    InvalidInputError
        If there is none, or it is damaged or of another version.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        number = found["format"]
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path}: no such file; lfm2-retrieve eval … --out {folder} makes one"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: is no results of an evaluation ({error}); delete it to begin anew"
        ) from error
    if number != FORMAT:
        remedy = "evaluate anew" if isinstance(number, int) and number < FORMAT else "upgrade"
        raise InvalidInputError(f"{path}: has the format {number}, this version reads {FORMAT}; {remedy}")
    for key, kind in _NEEDED.items():
        if not isinstance(found.get(key), kind):
            raise InvalidInputError(
                f"{path}: is no results of an evaluation (lacks {key!r}); delete it to begin anew"
            )
    return dict(found)


def read_queries(path: Path) -> dict[str, dict[str, float]]:
    """A cell's measures: query id → measure → value.

    Raises
    ------
    InvalidInputError
        Naming file and line, if one can't be read.
    """
    found: dict[str, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    row = json.loads(line)
                    found[row.pop("query")] = row
                except (ValueError, KeyError, AttributeError):
                    raise InvalidInputError(
                        f"{path}:{number}: a query with its measures is expected"
                    ) from None
    except OSError as error:
        raise InvalidInputError(f"{path}: can't be read: {error.strerror}") from error
    return found


class Results:
    """The results in a folder, to be added to; a context manager, which keeps other evaluations out.

    Parameters
    ----------
    folder
        Made where it isn't there.
    heading
        JSON values to begin with, ``made``, ``environment`` and ``settings`` among them. Those under
        ``identity`` have to be the same to go on with what is there.
    overwrite
        Forget what is there.

    Raises
    ------
    InvalidInputError
        If what is there was made in another way, or is damaged, or another evaluation writes to it.
    """

    def __init__(self, folder: Path, heading: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock: int | None = _lock(folder)
        try:
            self._begin(heading, overwrite=overwrite)
        except BaseException:
            self.close()
            raise

    def _begin(self, heading: Mapping[str, Any], *, overwrite: bool) -> None:
        self.content: dict[str, Any] = {
            "format": FORMAT,
            **heading,
            "runs": [],
            "data": {},
            "corpora": {},
            "cells": [],
        }
        if (self.folder / FILE).exists():
            before = {} if overwrite else read_results(self.folder)
            for what, value in heading["identity"].items():
                if before and before["identity"].get(what) != value:
                    raise InvalidInputError(
                        f"{self.folder} holds results made with {what} = {before['identity'].get(what)!r}, "
                        f"not {value!r}: "
                        "choose another --out, or --overwrite them"
                    )
            for kept in ("data", "corpora", "cells", "throughput"):
                if kept in before:
                    self.content[kept] = before[kept]
            if before:
                self.content["made"] = before["made"]
                self.content["runs"] = before["runs"]
        self.content["runs"].append(
            {"at": heading["made"], **{k: heading[k] for k in ("environment", "settings")}}
        )
        self.run = len(self.content["runs"]) - 1
        self._cells = {cell["name"]: cell for cell in self.content["cells"]}

    def plan(self, names: Sequence[str]) -> None:
        """Note what is going to be measured, so that a report knows what is still missing; then save."""
        self.content["planned"] = list(dict.fromkeys([*self._cells, *names]))
        self.save()

    def is_noted(self, name: str) -> bool:
        """Whether a cell is noted as measured, on whatever data."""
        return name in self._cells and self._cells[name]["status"] == "done"

    def done(self, name: str, data: Mapping[str, str]) -> bool:
        """Whether a cell was measured on these data, and its files are there as they were written."""
        return (
            self.is_noted(name)
            and self._cells[name]["data"] == data
            and all(
                (self.folder / file).is_file()
                and sha256(self.folder / file) == self._cells[name]["sha256"][kind]
                for kind, file in self._cells[name]["files"].items()
            )
        )

    def close(self) -> None:
        """Let other evaluations write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self, cell: Mapping[str, Any], run: Run, values: Mapping[str, Mapping[str, float]], seed: int
    ) -> None:
        """Write a finished cell: its run, its queries' measures, then ``results.json``."""
        name = cell["name"]
        files = {
            "run": f"{name}.trec",
            "queries": f"{name}.jsonl",
            "qrels": f"{cell['task']}.{cell['documents']}.qrels",
        }
        write_run(run, self.folder / files["run"], f"lfm2-{cell['system']}")
        rows = (
            json.dumps({"query": query, **row}, ensure_ascii=False) + "\n" for query, row in values.items()
        )
        write_lines(rows, self.folder / files["queries"])
        table = matrix(values)
        ends = intervals([table], seed=seed, draws=DRAWS)
        measured = dict(zip(MEASURES, table.mean(axis=0).tolist(), strict=True))
        self._put(
            {
                **cell,
                "status": "done",
                "measures": measured,
                "intervals": dict(zip(MEASURES, map(list, ends), strict=True)),
                "without_results": sum(1 for query in values if not run.get(query)),
                "files": files,
                "sha256": {kind: sha256(self.folder / file) for kind, file in files.items()},
            }
        )

    def fail(self, cell: Mapping[str, Any], error: str) -> None:
        """Note that a cell failed, and why."""
        self._put({**cell, "status": "failed", "error": error})

    def _put(self, cell: dict[str, Any]) -> None:
        cell["run"] = self.run
        self._cells[cell["name"]] = cell
        self.content["cells"] = list(self._cells.values())
        self.save()

    def save(self) -> None:
        """Write ``results.json``."""
        self.content["updated"] = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps(self.content, indent=1, ensure_ascii=False, allow_nan=False)
        write_lines([text, "\n"], self.folder / FILE)

    def summarise(self, seed: int) -> None:
        """Add the macro means, see `means_of`; then save."""
        self.content["means"] = means_of(self.folder, self.content, seed)
        self.save()


def means_of(folder: Path, content: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Macro means over the tasks, for each pair of languages and system.

    Raises
    ------
    InvalidInputError
        If a cell's file can't be read.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for cell in content["cells"]:
        if cell["status"] == "done":
            groups.setdefault((cell["documents"], cell["queries"], cell["system"]), []).append(cell)
    tasks = {cell["task"] for cell in content["cells"]}
    exact = {
        (cell["task"], cell["documents"], cell["queries"]): cell
        for cell in content["cells"]
        if cell["status"] == "done" and cell["system"] == "exact"
    }
    return [
        {
            "documents": documents,
            "queries": queries,
            "system": system,
            "tasks": len(cells),
            "complete": len(cells) == len(tasks),
            **_mean(folder, cells, exact, seed),
        }
        for (documents, queries, system), cells in groups.items()
    ]


def _mean(
    folder: Path,
    cells: Sequence[dict[str, Any]],
    exact: Mapping[tuple[str, str, str], dict[str, Any]],
    seed: int,
) -> dict[str, Any]:
    tables = [matrix(read_queries(folder / cell["files"]["queries"])) for cell in cells]
    means = np.mean([table.mean(axis=0) for table in tables], axis=0).tolist()
    ends = intervals(tables, seed=seed, draws=DRAWS)
    found: dict[str, Any] = {
        "measures": dict(zip(MEASURES, means, strict=True)),
        "intervals": dict(zip(MEASURES, map(list, ends), strict=True)),
    }
    pairs = [(cell, exact.get((cell["task"], cell["documents"], cell["queries"]))) for cell in cells]
    if all("against_exact" in cell and other is not None for cell, other in pairs):
        found["against_exact"] = _loss(folder, [(one, other) for one, other in pairs if other], seed)
    return found


def _loss(folder: Path, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], seed: int) -> dict[str, Any]:
    """Means over the tasks of what compression costs, with the interval of nDCG@10's difference."""
    differences = []
    for cell, exact in pairs:
        ours = read_queries(folder / cell["files"]["queries"])
        theirs = read_queries(folder / exact["files"]["queries"])
        differences.append(np.array([[ours[query]["nDCG@10"] - theirs[query]["nDCG@10"]] for query in ours]))
    ((low, high),) = intervals(differences, seed=seed, draws=DRAWS)
    recalls = {
        name: float(np.mean([cell["against_exact"][name] for cell, _ in pairs]))
        for name in ("recall@10", "recall@100")
    }
    return {
        "difference": float(np.mean([one.mean() for one in differences])),
        "interval": [low, high],
        **recalls,
    }


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InvalidInputError(
            f"{folder}: another evaluation writes there; wait for it, or choose another --out"
        ) from None
    except OSError:  # a file system without locks: better alone than not at all
        pass
    return descriptor


def matrix(values: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """Measures as ``[n_queries, n_measures]``, in the order of `MEASURES`."""
    return np.array([[row[name] for name in MEASURES] for row in values.values()])
