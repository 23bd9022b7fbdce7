"""Run a suite: encode and index each corpus once, each set of queries once, and measure every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..encoder import Encoder
from ..errors import InvalidInputError, RetrievalError
from .cells import TaskRun
from .datasets import DatasetRef
from .environment import describe_environment
from .forecast import forecast
from .results import Results
from .settings import Settings
from .systems import SYSTEMS
from .throughput import measure_throughput

__all__ = ["Settings", "run_suite"]


def run_suite(
    refs: Sequence[DatasetRef],
    encoder: Encoder,
    out: Path,
    settings: Settings,
    *,
    suite: Mapping[str, Any],
    overwrite: bool = False,
    throughput: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure every cell that isn't measured yet; what fails is noted and the rest goes on.

    Parameters
    ----------
    refs
        The sets. With ``settings.cross_lingual`` the sets of a task are asked in each other's languages.
    encoder
        The model.
    out
        The folder for the results, see `lfm2_retrieval.evaluation.results`.
    suite
        JSON values: ``name``, ``title``, ``published``.
    overwrite
        Measure anew what is there.
    throughput
        Measure the encoder's speed by length and batch, too, if that isn't there.
    on_progress
        Told what happens, a line at a time.

    Returns
    -------
    dict
        The contents of ``results.json``.

    Raises
    ------
    InvalidInputError
        If there are no sets, or the folder holds results made in another way.
    MissingExtraError
        If a package is missing.
    OSError
        If the results can't be written.
    """
    if not refs:
        raise InvalidInputError("there are no sets to measure")
    tasks: dict[str, list[DatasetRef]] = {}
    for ref in refs:
        tasks.setdefault(ref.task, []).append(ref)
    if settings.cross_lingual and all(len(members) < 2 for members in tasks.values()):
        raise InvalidInputError(
            "across languages needs a task in several of them: folders called NAME-LANG with the same ids"
        )
    with Results(out, _heading(encoder, settings, suite), overwrite=overwrite) as results:
        runs = [TaskRun(members, encoder, results, settings, on_progress) for members in tasks.values()]
        results.plan([name for run in runs for name in run.names()])
        open_ = {run.task: run.open() for run in runs}
        corpora = [ref for ref in refs if ref.language in open_[ref.task]]
        cells = sum(count for counts in open_.values() for count in counts.values())
        if cells and any(SYSTEMS[name].index for name in settings.systems):
            per_language = suite.get("documents_per_language", 0)
            on_progress(forecast(corpora, encoder, cells=cells, documents_per_language=per_language))
        while runs:
            runs.pop(0).run()  # and let go of its texts
        if throughput and "throughput" not in results.content:
            on_progress("measuring the encoder's speed")
            speed = measure_throughput(encoder, list(_texts(refs)))
            results.content["throughput"] = speed | {"run": results.run}
        results.summarise(settings.seed)
        return results.content


def _texts(refs: Sequence[DatasetRef], count: int = 500) -> Iterator[str]:
    """Some documents of the first set that can be read."""
    for ref in refs:
        try:
            yield from list(ref.read().documents.values())[:count]
        except RetrievalError:
            continue
        return


def _heading(encoder: Encoder, settings: Settings, suite: Mapping[str, Any]) -> dict[str, Any]:
    model = {
        **encoder.identity,
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "device": str(encoder.device),
    }
    same = ("shared_queries", "compat", "depth", "seed")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": dict(suite),
        "identity": {
            "suite": suite["name"],
            "model": f"{encoder.name} {encoder.fingerprint}",
            "dtype": model["dtype"],
            **{name: value for name, value in asdict(settings).items() if name in same},
        },
        "settings": {**asdict(settings), "systems": list(settings.systems)},
        "model": model,
        "environment": describe_environment(),
    }
