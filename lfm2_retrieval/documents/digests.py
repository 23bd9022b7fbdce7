"""What a file holds, in few bytes: files of one digest have the same content, whatever their dates say."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from ..platform.plain_files import NotRegularError, is_hollow, read_regular
from .formats import TABLES, DocumentFormat
from .lines import MAX_BYTES
from .parsing import MAX_RICH_BYTES

__all__ = ["ContentDigest", "Unreadable", "digest_file"]

_BLOCK = 1 << 20
_SLACK = 1 << 20


class ContentDigest(NamedTuple):
    """Of a file's content the digest (BLAKE2b, 128 bits), the size, and whether it is but white space."""

    digest: str
    size: int
    blank: bool


class Unreadable(Exception):  # noqa: N818  (what is left out is no error of ours)
    """A file that can't be read; ``reason`` in few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def digest_file(path: str, format: DocumentFormat | None) -> ContentDigest:
    """Read a file once, in blocks.

    Parameters
    ----------
    path
        Of the file, or of a link to it.
    format
        Which decides how large it may be; tables may be of any size.

    Raises
    ------
    Unreadable
        If it is gone, no file, can't be read, or is larger than what is read of its kind.
    """
    table = format in TABLES.values()
    most = MAX_RICH_BYTES if format is DocumentFormat.RICH else MAX_BYTES + _SLACK
    if path.lower().endswith(".gz"):
        most = MAX_RICH_BYTES
    digest = hashlib.blake2b(digest_size=16)
    size, blank = 0, True
    try:
        with read_regular(path, follow=True) as stream:
            status = os.fstat(stream.fileno())
            if not table and (status.st_size > most or is_hollow(status)):
                raise Unreadable("too long", f"of more than {most - most % (1 << 20) >> 20} MiB")
            while block := stream.read(_BLOCK):
                digest.update(block)
                size += len(block)
                blank = blank and not block.strip()
                if not table and size > most:  # it grows while it is read
                    raise Unreadable("too long", f"of more than {most >> 20} MiB")
    except NotRegularError:
        raise Unreadable("no files (pipes, sockets, devices)") from None
    except FileNotFoundError:
        raise Unreadable("vanished") from None
    except OSError as error:
        raise Unreadable("unreadable", error.strerror or str(error)) from error
    return ContentDigest(digest.hexdigest(), size, blank)
