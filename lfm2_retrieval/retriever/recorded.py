"""What an index records of the model that made its vectors, and whether that is loaded without asking.

An index may be somebody else's. It could name a folder that somebody left on this machine, or any repository
on the hub, which would be asked with this user's token. So of the models that an index names only those are
loaded that are bundled or published by the family's makers; any other one is if the user names it, or says
that the index is to be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..encoder import BUNDLED, PUBLISHED, DocumentOptions, is_hub_name
from ..errors import DamagedIndexError, ModelNotFoundError, UntrustedModelError, remedy
from ..printable import quoted

__all__ = ["check_recorded", "recorded_model", "recorded_options"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_recorded(path: Path, recorded: object) -> dict[str, Any]:
    """The setting ``encoder`` of an index; empty if it has none.

    Raises
    ------
    DamagedIndexError
        If it isn't what is written there.
    """
    if recorded is None or recorded == {}:
        return {}
    if isinstance(recorded, dict):
        texts = recorded.get("name"), recorded.get("fingerprint")
        revision = recorded.get("revision")
        if all(isinstance(text, str) for text in texts) and (revision is None or isinstance(revision, str)):
            return recorded
    raise DamagedIndexError(
        f"{path}: the setting encoder can't be {quoted(recorded)}; restore a backup, or index the documents "
        "anew"
    )


def recorded_options(path: Path, recorded: Mapping[str, Any]) -> DocumentOptions:
    """How the documents of an index were read.

    Raises
    ------
    DamagedIndexError
        If that can't be.
    """
    try:
        return DocumentOptions.recorded(recorded)
    except (TypeError, ValueError, OverflowError) as error:  # InvalidInputError is a ValueError
        raise DamagedIndexError(
            f"{path}: the setting encoder is damaged ({error}); restore a backup, or index the documents anew"
        ) from error


def recorded_model(path: Path, recorded: Mapping[str, Any], *, trust: bool) -> tuple[str, str | None]:
    """Name and revision of the model that made an index, if it may be loaded.

    Parameters
    ----------
    path
        The index's folder.
    recorded
        From `check_recorded`.
    trust
        Whether the user trusts the index to name any model.

    Raises
    ------
    UntrustedModelError
        If it may not.
    ModelNotFoundError
        If it names no place: a folder that isn't absolute would be another one elsewhere.
    """
    name, revision = recorded["name"], recorded.get("revision")
    if name in BUNDLED:
        return name, None
    fixed = revision is None or _COMMIT.fullmatch(revision) is not None
    if name in PUBLISHED and fixed:
        return name, revision
    if not trust:
        how = remedy(f"model={quoted(name, 4096)}, or trust_model=True", "--model, or --trust-model")
        raise UntrustedModelError(
            f"{path} was made with the model {quoted(name, 4096)}, which is loaded only if you say so, as "
            f"anybody could have written that name: give {how}"
        )
    if is_hub_name(name) or Path(name).is_absolute():
        return name, revision
    raise ModelNotFoundError(
        f"{path} was made with the model {quoted(name, 4096)}, which is no name on the hub and no absolute "
        f"path: give {remedy('model=', '--model')}"
    )
