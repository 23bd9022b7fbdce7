"""A progress bar on stderr while documents are encoded and compressed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ingest import Progress

__all__ = ["Show", "progress_bar", "shown"]

Show = Callable[["Progress"], None]
"""Told how far it is."""


@contextmanager
def progress_bar(total: int | None, *, quiet: bool = False, always: bool = False) -> Iterator[Show]:
    """A bar with documents per second and time left, which is cleared when it is done.

    Parameters
    ----------
    total
        How many documents there will be, if that is known.
    quiet
        Show nothing.
    always
        Also where stderr is no terminal: what the bar came to is one line in the end. It stays there, too.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # The command line guards its streams against what others wrote; a bar is our own, and moves the cursor.
    console = Console(file=getattr(sys.stderr, "unguarded", sys.stderr))
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not (always or console.is_terminal),
        transient=not always,
    ) as bar:
        task = bar.add_task("indexing", total=total, rate="")

        compressing = bar.add_task("compressing", total=100, rate="", visible=False)
        phase = "index"

        def update(done: Progress) -> None:
            nonlocal phase
            if done.phase == "index":
                rate = f"{done.documents_per_second:,.0f} documents/s"
                bar.update(task, completed=done.documents, rate=rate)
            elif done.phase != phase:
                bar.reset(compressing, description={"train": "training"}.get(done.phase, "compressing"))
            bar.update(compressing, completed=round(100 * done.share), visible=done.phase != "index")
            phase = done.phase

        yield update


@contextmanager
def shown(on_progress: Show | bool | None, total: int | None) -> Iterator[Show | None]:
    """What to tell: the caller's own function, for True a bar, else nothing."""
    if on_progress is True:
        with progress_bar(total, always=True) as show:
            yield show
    else:
        yield on_progress or None
