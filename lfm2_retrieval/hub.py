"""Files of repositories on the Hugging Face hub, by its client, which caches them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["fetch", "is_whole"]

_SHA256, _SHA1 = (re.compile(f"[0-9a-f]{{{digits}}}") for digits in (64, 40))


def fetch(
    name: str,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    data: bool = False,
    offline: bool = False,
) -> Path:
    """The folder of a repository's files at one commit, which is what the folder is called.

    What is cached is not fetched again, and a commit whose files are all cached needs no network.

    Parameters
    ----------
    name
        ``OWNER/NAME``.
    patterns
        Which files; ``*`` goes across folders.
    revision
        A branch, tag or commit; None for the newest.
    data
        Whether it is a data set, not a model.
    offline
        Take what is cached and no network.

    Raises
    ------
    FileNotFoundError
        If files are not cached and the hub can't be reached.
    OSError
        Whatever else keeps them from being fetched, in one line.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name,
            repo_type="dataset" if data else "model",
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=offline,
        )
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(_reason(error, revision)) from error
    except Exception as error:  # a broken connection is an error of an HTTP library, which no OSError is
        raise OSError(_reason(error, revision)) from error
    return Path(folder)


def _reason(error: Exception, revision: str | None) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "its terms have to be accepted on its page at the hub, and a token given in HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such repository, or it is private and needs a token in HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {revision!r}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_whole(file: Path) -> bool:
    """Whether a file in the hub's cache holds what the hub says of it; True where that isn't known.

    The cache calls contents by their SHA-256, or in small files by git's SHA-1, and links to them; the client
    itself compares sizes alone.
    """
    if not file.is_symlink():
        return True
    content = file.readlink().name
    if _SHA256.fullmatch(content):
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == content
    if _SHA1.fullmatch(content):
        digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
        digest.update(file.read_bytes())
        return digest.hexdigest() == content
    return True
