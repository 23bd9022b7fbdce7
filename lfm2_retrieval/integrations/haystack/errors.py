"""This library's errors as Haystack's, with what they say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError

from ...errors import DuplicateIdError, RetrievalError

__all__ = ["as_haystack"]


@contextmanager
def as_haystack() -> Iterator[None]:
    """Raise Haystack's errors in the place of ours, which stay their causes."""
    try:
        yield
    except DuplicateIdError as error:
        raise DuplicateDocumentError(str(error)) from error
    except RetrievalError as error:
        raise DocumentStoreError(str(error)) from error
