"""Which files of a folder its owner leaves out: ``.gitignore``, and patterns that a caller names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["FileRules"]

_NAME = ".gitignore"
_MOST = 1 << 20


def _compile(lines: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


class FileRules:
    """Rules for the files of one folder and below.

    Parameters
    ----------
    include
        Patterns as in ``.gitignore`` of which a file must match one; none: all do.
    exclude
        Patterns of what is left out, files or folders.
    gitignore
        Whether the files ``.gitignore`` count: of the folder, those below, and those above in its repository.

    Raises
    ------
    InvalidInputError
        If a pattern is none.
    """

    def __init__(
        self, include: Sequence[str] = (), exclude: Sequence[str] = (), *, gitignore: bool = True
    ) -> None:
        try:
            self._include = _compile(include) if include else None
            self._exclude = _compile(exclude) if exclude else None
        except (ValueError, TypeError) as error:
            raise InvalidInputError(
                f"include and exclude take patterns such as '*.md' or 'drafts/': {error}"
            ) from error
        self._gitignore = gitignore
        self._found: list[tuple[str, GitIgnoreSpec]] = []

    def enter(self, root: str) -> None:
        """Begin with a folder, and read the rules above it."""
        self._found = []
        if not self._gitignore:
            return
        above = Path(root).resolve()
        for parent in (above, *above.parents):
            if (parent / ".git").exists():
                inside = [*reversed([one for one in above.parents if one == parent or parent in one.parents])]
                for folder in inside:
                    spec = self._read(folder)
                    if spec is not None:
                        # The folder's own path stands before each of its files there.
                        self._found.append((f"\0{above.relative_to(folder).as_posix()}/", spec))
                break

    def enter_folder(self, folder: str, relative: str) -> None:
        """Read the rules of a folder, ``relative`` to the root with a slash behind it, or empty."""
        if not self._gitignore:
            return
        spec = self._read(Path(folder))
        if spec is not None:
            self._found.append((relative, spec))

    def leave_folder(self, relative: str) -> None:
        """Forget the rules of folders that are not above, nor, ``relative`` itself."""
        while self._found and not self._found[-1][0].startswith("\0"):
            if relative.startswith(self._found[-1][0]):
                break
            self._found.pop()

    def why_not(self, relative: str, *, folder: bool) -> str | None:
        """Why a file or folder is left out; None if it isn't."""
        path = f"{relative}/" if folder else relative
        for base, spec in reversed(self._found):
            if base.startswith("\0"):
                inner = base[1:] + path
            elif path.startswith(base):
                inner = path[len(base) :]
            else:
                continue
            said = spec.check_file(inner).include
            if said is not None:
                if said:
                    return "ignored by .gitignore"
                break
        if self._exclude is not None and self._exclude.match_file(path):
            return "excluded"
        if self._include is not None and not folder and not self._include.match_file(path):
            return "not included"
        return None

    def _read(self, folder: Path) -> GitIgnoreSpec | None:
        from ..platform.plain_files import read_regular

        try:
            with read_regular(folder / _NAME, follow=True) as stream:
                text = stream.read(_MOST).decode("utf-8", "surrogateescape")
        except OSError:
            return None
        lines = []
        for line in text.splitlines():
            try:
                _compile([line])
            except ValueError:  # git passes over it, too
                continue
            lines.append(line)
        return _compile(lines)
