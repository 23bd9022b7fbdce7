"""A backup: one commit of an index, copied to another folder while others go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DamagedIndexError
from ...platform.forks import busy
from ..catalogue.connections import connect, translated
from ..catalogue.location import UNDER_CONSTRUCTION
from ..catalogue.rows import load_json
from ..commits.snapshot import pin
from ..commits.vacuum import vacuum
from ..segments.arrays import FileFacts, parse_files
from ..segments.files import check_name, refuse_inside
from .staging import copy_files, staged, sync_file

if TYPE_CHECKING:
    import sqlite3

    from ..catalogue.catalogue import Catalogue

__all__ = ["backup"]


def backup(catalogue: Catalogue, destination: Path) -> None:
    """Copy the newest commit; nobody has to wait for it.

    It is made in ``DESTINATION.partial`` and renamed when all of it is on the disk, so that what was
    interrupted is never taken for a backup. Every file is held to its checksum meanwhile. Files are copied,
    not linked: damage to one shall not reach the other.

    Raises
    ------
    IndexExistsError
        If something is at the destination.
    InvalidInputError
        If the destination lies in the index.
    DamagedIndexError
        If a file is damaged; then there is no backup.
    IndexWriteError
        If the destination can't be written.
    """
    destination = destination.absolute()
    refuse_inside(catalogue.folder, destination)
    catalogue.check_place()  # before anything is made
    with staged(destination, ".partial") as folder, catalogue.in_place():
        path = folder / UNDER_CONSTRUCTION
        pinned = pin(catalogue.folder)  # what any commit holds, as it is told of none
        try:
            with busy, translated(path, writing=True), closing(connect(path, "mode=rwc")) as copy:
                with catalogue.reading() as connection:
                    connection.backup(copy)
                vacuum(copy, folder)
                named = list(_named(copy))
            sync_file(path)
            for table, name, files in named:
                copy_files(catalogue.folder / table / name, folder / table / name, files)
        finally:
            del pinned


def _named(connection: sqlite3.Connection) -> Iterator[tuple[str, str, FileFacts]]:
    """Table, folder and files of all segments and codecs in use."""
    for table in ("segments", "codecs"):
        for name, files in connection.execute(f"SELECT name, files FROM {table} WHERE died IS NULL"):
            try:
                yield table, check_name(name), parse_files(load_json(files))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DamagedIndexError(
                    f"index.db: the row of {table} {name!r} is damaged; repair the index first"
                ) from error
