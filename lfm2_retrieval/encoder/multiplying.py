"""Tokenizers that make much of little: a text of some bytes could come to take all memory.

A ``tokenizer.json`` may replace a character by a million, again and again, before any token is made of them.
By how much each step can multiply the length of a text is read off the file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

__all__ = ["MOST_TIMES", "check_tokenizer"]

MOST_TIMES = 256
"""So many times as long as the text may become what is made of it. A ligature has up to 18 letters, each of
up to four bytes."""
_MOST_STEPS = 256
_SIZE_BYTES = 4


def check_tokenizer(text: str, file: Path) -> None:
    """Refuse a tokenizer whose steps could multiply a text beyond reason.

    Parameters
    ----------
    text
        What the file holds.
    file
        How errors call it.

    Raises
    ------
    CheckpointError
        If they could, or it is no JSON object.
    """
    try:
        found = json.loads(text)
        steps = [step for part in ("normalizer", "pre_tokenizer") for step in _steps(found.get(part))]
        times, added = 1.0, 0
        for step in steps:
            times *= max(1.0, _times(step))
            added += len(step.get("prepend") or "")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is not a tokenizer: {error}; fetch the model again") from error
    if times > MOST_TIMES or added > MOST_TIMES or len(steps) > _MOST_STEPS:
        raise CheckpointError(
            f"{file} could make texts {min(times, 1e30):,.0f} times as long, which no model needs; fetch "
            "the model again"
        )


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """A step, or those of a sequence of them."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict):
            continue
        waiting += [step for name in ("normalizers", "pretokenizers") for step in one.get(name) or ()]
        yield one


def _times(step: dict[str, Any]) -> float:
    """How many times as long a step can make a text."""
    kind = step.get("type")
    if kind == "Replace":
        content, pattern = len(step["content"]), step["pattern"]
        literal = pattern.get("String") if isinstance(pattern, dict) else None
        # A regular expression may find nothing between any two characters.
        return content / max(1, len(literal)) if literal is not None else 1.0 + content
    if kind == "Precompiled":
        data = base64.b64decode(step.get("precompiled_charsmap") or "")
        start = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "little")
        return max(map(len, data[start:].split(b"\0"))) / 4  # bytes of what takes the place of a character
    return 1.0
