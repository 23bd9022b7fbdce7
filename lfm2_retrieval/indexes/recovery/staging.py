"""Making a whole index beside the place where it belongs: it gets its name when all of it is on the disk."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ...errors import DamagedIndexError, IndexExistsError
from ...platform.plain_files import read_regular
from ..access import refused, unreadable
from ..catalogue.connections import storing
from ..catalogue.location import UNDER_CONSTRUCTION
from ..catalogue.lock import WriterLock
from ..catalogue.schema import CATALOGUE
from ..segments.arrays import HEADER_BYTES, FileFacts
from ..segments.files import fsync_folder

__all__ = ["SCRATCH", "copy_files", "link_files", "staged", "sync_file"]

_CHUNK_BYTES = 1 << 22
SCRATCH = "scratch"
"""A folder in a staging folder that is gone in the end."""
_OURS = {"lock", "segments", "codecs", SCRATCH, CATALOGUE}


@contextmanager
def staged(destination: Path, suffix: str) -> Iterator[Path]:
    """A folder to make an index in, with ``segments`` and ``codecs``; at the end it is put in its place.

    Its catalogue is to be made under the name `UNDER_CONSTRUCTION`: what a kill leaves is then no index. The
    next one with the same destination begins anew in the same folder.

    Parameters
    ----------
    destination
        Where nothing is, or an empty folder.
    suffix
        What the staging folder's name has besides that of the destination.

    Raises
    ------
    IndexExistsError
        If something is at the destination, or something else in the place of the staging folder.
    IndexLockedError
        If another process works in it.
    IndexWriteError
        If the disk is full, or fails.
    """
    if os.path.lexists(destination) and (not destination.is_dir() or any(destination.iterdir())):
        raise IndexExistsError(f"{destination} holds something already; choose another folder")
    folder = destination.with_name(destination.name + suffix)
    with storing(destination, new=True):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(folder) and not _is_leftover(folder):
            raise IndexExistsError(f"{folder} is in the way; move it to another place")
        folder.mkdir(exist_ok=True)
        with WriterLock(folder / "lock", 0):
            try:
                _empty(folder)
                for name in ("segments", "codecs", SCRATCH):
                    (folder / name).mkdir()
                yield folder
                shutil.rmtree(folder / SCRATCH)
                (folder / UNDER_CONSTRUCTION).rename(folder / CATALOGUE)
                fsync_folder(folder)
                folder.rename(destination)
                fsync_folder(destination.parent)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise


def _is_leftover(folder: Path) -> bool:
    """Whether a folder holds nothing but what an interrupted run leaves."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(path.name in _OURS or path.name.startswith(UNDER_CONSTRUCTION) for path in folder.iterdir())


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def copy_files(source: Path, target: Path, files: FileFacts) -> None:
    """Copy a segment or a codec to a new folder, durably, and hold every file to its checksum meanwhile.

    Raises
    ------
    DamagedIndexError
        Naming the first file that isn't as the catalogue says.
    """
    if source.is_symlink() or source.parent.is_symlink():
        raise DamagedIndexError(f"{source} is a link; repair the index first")
    target.mkdir()
    for name, facts in files.items():
        crc32, size = 0, 0
        with _open(source / name) as file, (target / name).open("xb") as copy:
            while chunk := _read(source / name, file, _CHUNK_BYTES if size else HEADER_BYTES):
                crc32 = zlib.crc32(chunk, crc32) if size else 0
                size += len(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if (size, crc32) != (facts["bytes"], facts["crc32"]):
            raise DamagedIndexError(f"{source / name} doesn't match its checksum; repair the index first")
    fsync_folder(target)
    fsync_folder(target.parent)


def link_files(source: Path, target: Path, files: FileFacts) -> None:
    """Give the files of a segment or a codec, which never change, a second name in a new folder, durably.

    Where the file system has no links they are copied.
    """
    try:
        target.mkdir()
        for name in files:
            (target / name).hardlink_to(source / name)
    except OSError:
        shutil.rmtree(target)
        copy_files(source, target, files)
        return
    fsync_folder(target)
    fsync_folder(target.parent)


def _open(path: Path) -> BufferedReader:
    try:
        return read_regular(path)
    except OSError as error:
        raise unreadable(path, error, path.parents[2]) from error


def _read(path: Path, file: BufferedReader, most: int) -> bytes:
    """The next bytes of a file of an index; that they can't be read is no matter of the copy."""
    try:
        return file.read(most)
    except OSError as error:
        raise refused(path, error) from error


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
