"""What the command line prints passes through here, so that no command can forget it: see `guarded`.

Documents, settings of an index, names of models and files and the errors that quote them may be somebody
else's. They could hold what steers a terminal, or hides.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..printable import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "guarded"]

_BOLD = re.compile("(\x1b\\[[01]m)")
"""What click's bold text begins and ends with: all that an escape may do."""
_BAR = re.compile("\r|(?:\n|\x1b\\[A)+$")
"""What the bars of the hub's client begin with, or write by itself: the line anew; moves among lines."""


class _Guarded:
    """A text stream to which only what is printable is written, and line feeds, and bold text."""

    def __init__(self, stream: TextIO, *, bars: bool) -> None:
        self.unguarded = self._stream = stream
        self._bars = bars

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # by which click would go around an ASCII stream
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of any text stream."""
        if text.isascii() and text.replace("\n", "").isprintable():
            return self._stream.write(text)
        moves = _BAR.match(text) if self._bars else None
        kept = moves[0] if moves else ""
        parts = _BOLD.split(text[len(kept) :])
        safe = [part if number % 2 else printable(part, keep="\n\t") for number, part in enumerate(parts)]
        self._stream.write(kept + "".join(safe))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As of any text stream."""
        for line in lines:
            self.write(line)


@contextmanager
def guarded() -> Iterator[None]:
    """Whatever is printed meanwhile, to the standard output or as an error, is made printable."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack some letters
    guards: tuple[Any, Any] = _Guarded(sys.stdout, bars=False), _Guarded(sys.stderr, bars=True)
    sys.stdout, sys.stderr = guards
    try:
        yield
    finally:
        if (sys.stdout, sys.stderr) == guards:  # else click has put its own around those that broke
            sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Open standard streams that this process was begun without.

    Else a file of the index has a stream's number, and whatever writes to that number writes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w" if number else "r"))  # noqa: SIM115  (until it ends)


def console(*, stderr: bool = False) -> Console:
    """A console for our own bars and tables, which move the cursor; nothing of others goes there."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=getattr(stream, "unguarded", stream))
