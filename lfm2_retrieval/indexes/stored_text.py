"""Strings as they are stored: UTF-8 that keeps lone surrogates, which Python's strings can hold."""

from __future__ import annotations

from ..errors import DamagedIndexError

__all__ = ["decode_text", "encode_text"]


def encode_text(text: str) -> bytes:
    """UTF-8 that keeps lone surrogates, which Python strings can hold and UTF-8 proper can't."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: bytes) -> str:
    """The inverse of `encode_text`.

    Raises
    ------
    DamagedIndexError
        If it is of another type than was written, or no such text.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except (AttributeError, UnicodeDecodeError) as error:
        raise DamagedIndexError(f"index.db: {data!r:.80} is no text that was written") from error
