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

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .metrics import MEASURES
from .runs import Run, write_lines, write_run
from .statistics import intervals

__all__ = ["FORMAT", "Results", "cell_name", "read_queries", "read_results"]

FORMAT = 1
FILE = "results.json"
DRAWS = 2000


def cell_name(task: str, documents: str, queries: str, system: str) -> str:
    """What a cell's files are called."""
    return f"{task}.{documents}-{queries}.{system}"


def read_results(folder: Path) -> dict[str, Any]:
    """The contents of a folder's ``results.json``.

    Raises
    ------
    InvalidInputError
        If there is none, or it is damaged or of a newer version.
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
        raise InvalidInputError(
            f"{path}: has the format {number}, this version reads {FORMAT}; upgrade, or evaluate anew"
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
    """The results in a folder, to be added to.

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
        If what is there was made in another way, or is damaged.
    """

    def __init__(self, folder: Path, heading: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.content: dict[str, Any] = {
            "format": FORMAT,
            **heading,
            "runs": [],
            "data": {},
            "corpora": {},
            "cells": [],
        }
        if (folder / FILE).exists():
            before = {} if overwrite else read_results(folder)
            for what, value in heading["identity"].items():
                if before and before["identity"].get(what) != value:
                    raise InvalidInputError(
                        f"{folder} holds results made with {what} = {before['identity'].get(what)!r}, "
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
        self._cells = {cell["name"]: cell for cell in self.content["cells"]}

    def done(self, name: str, data: Mapping[str, str]) -> bool:
        """Whether a cell was measured on these data, and its files are there."""
        cell = self._cells.get(name)
        return (
            cell is not None
            and cell["status"] == "done"
            and cell["data"] == data
            and all((self.folder / file).is_file() for file in cell["files"].values())
        )

    def add(
        self, cell: Mapping[str, Any], run: Run, values: Mapping[str, Mapping[str, float]], seed: int
    ) -> None:
        """Write a finished cell: its run, its queries' measures, then ``results.json``."""
        name = cell["name"]
        write_run(run, self.folder / f"{name}.trec", f"lfm2-{cell['system']}")
        rows = (
            json.dumps({"query": query, **row}, ensure_ascii=False) + "\n" for query, row in values.items()
        )
        write_lines(rows, self.folder / f"{name}.jsonl")
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
                "files": {"run": f"{name}.trec", "queries": f"{name}.jsonl"},
            }
        )

    def fail(self, cell: Mapping[str, Any], error: str) -> None:
        """Note that a cell failed, and why."""
        self._put({**cell, "status": "failed", "error": error})

    def _put(self, cell: dict[str, Any]) -> None:
        cell["run"] = len(self.content["runs"]) - 1
        self._cells[cell["name"]] = cell
        self.content["cells"] = list(self._cells.values())
        self.save()

    def save(self) -> None:
        """Write ``results.json``."""
        self.content["updated"] = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps(self.content, indent=1, ensure_ascii=False, allow_nan=False)
        write_lines([text, "\n"], self.folder / FILE)

    def summarise(self, seed: int) -> None:
        """Macro means over the tasks, for each pair of languages and system; then save."""
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for cell in self.content["cells"]:
            if cell["status"] == "done":
                groups.setdefault((cell["documents"], cell["queries"], cell["system"]), []).append(cell)
        tasks = {cell["task"] for cell in self.content["cells"]}
        self.content["means"] = [
            {
                "documents": documents,
                "queries": queries,
                "system": system,
                "tasks": len(cells),
                "complete": len(cells) == len(tasks),
                **self._mean(cells, seed),
            }
            for (documents, queries, system), cells in groups.items()
        ]
        self.save()

    def _mean(self, cells: list[dict[str, Any]], seed: int) -> dict[str, Any]:
        tables = [matrix(read_queries(self.folder / cell["files"]["queries"])) for cell in cells]
        means = np.mean([table.mean(axis=0) for table in tables], axis=0).tolist()
        ends = intervals(tables, seed=seed, draws=DRAWS)
        found: dict[str, Any] = {
            "measures": dict(zip(MEASURES, means, strict=True)),
            "intervals": dict(zip(MEASURES, map(list, ends), strict=True)),
        }
        if cells[0]["system"] == "compressed" and (loss := self._loss(cells, seed)):
            found["against_exact"] = loss
        return found

    def _loss(self, cells: list[dict[str, Any]], seed: int) -> dict[str, Any]:
        """Means over the tasks of what compression costs, with the interval of nDCG@10's difference."""
        pairs = [(cell, self._cells.get(cell["name"].removesuffix("compressed") + "exact")) for cell in cells]
        if any(exact is None or exact["status"] != "done" for _, exact in pairs):
            return {}
        differences = []
        for cell, exact in pairs:
            ours = read_queries(self.folder / cell["files"]["queries"])
            theirs = read_queries(self.folder / exact["files"]["queries"]) if exact else {}
            differences.append(
                np.array([[ours[query]["nDCG@10"] - theirs[query]["nDCG@10"]] for query in ours])
            )
        ((low, high),) = intervals(differences, seed=seed, draws=DRAWS)
        recalls = {
            name: float(np.mean([cell["against_exact"][name] for cell in cells]))
            for name in ("recall@10", "recall@100")
        }
        return {
            "difference": float(np.mean([one.mean() for one in differences])),
            "interval": [low, high],
            **recalls,
        }

    def failed(self) -> Iterator[dict[str, Any]]:
        """The cells that failed."""
        return (cell for cell in self.content["cells"] if cell["status"] == "failed")


def matrix(values: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """Measures as ``[n_queries, n_measures]``, in the order of `MEASURES`."""
    return np.array([[row[name] for name in MEASURES] for row in values.values()])
