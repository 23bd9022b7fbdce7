"""Errors as problem details, RFC 9457: what goes wrong here, and what the library raises."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ..errors import (
    DuplicateIdError,
    IndexLockedError,
    IndexWriteError,
    InvalidInputError,
    MissingExtraError,
    RetrievalError,
    UnknownIdError,
)
from .answers import Json

__all__ = ["PROBLEMS", "Problem", "ProblemError", "documented", "install", "problem"]

log = logging.getLogger("lfm2_retrieval.server")

PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("bad-request", "The request can't be understood"),
    401: ("key-needed", "A key is needed"),
    403: ("forbidden", "The key may not do this"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "This address takes other methods"),
    408: ("too-slow", "The request took too long to arrive"),
    409: ("conflict", "The documents contradict those stored"),
    413: ("too-large", "The request is too large"),
    415: ("unsupported-media-type", "The body is of another type than is taken here"),
    421: ("wrong-host", "The server isn't known by this name"),
    422: ("invalid", "A value can't be used"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "The headers are too large"),
    500: ("internal", "An error of the server"),
    501: ("not-installed", "What this takes isn't installed"),
    503: ("unavailable", "The index can't be used now"),
    507: ("no-space", "The index can't be written to"),
}
"""Status → the last part of a problem's type, and its title."""


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str = Field(examples=["urn:lfm2-retrieval:invalid"])
    title: str = Field(examples=["A value can't be used"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What was wrong, and what helps.", examples=["k must be at least 1"])
    errors: list[dict[str, Any]] | None = Field(
        None, description="Where the request is wrong: a pointer into it and what is wrong there."
    )


class ProblemError(HTTPException):
    """An error with a problem for its answer."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its result, for the OpenAPI; every route the first few."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    always = (400, 401, 403, 408, 413, 421, 422, 429, 503)
    return {
        status: {"description": PROBLEMS[status][1], "content": content}
        for status in sorted({*always, *statuses})
    }


def install(app: FastAPI) -> None:
    """Have an application answer with problems."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(RetrievalError, _of_library)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(MemoryError, _of_system)
    app.add_exception_handler(Exception, _of_any)


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, Any]] | None = None,
    kind: str | None = None,
) -> Json:
    """An answer that is a problem."""
    name, title = PROBLEMS.get(status, ("error", "An error"))
    name = kind or name
    values: dict[str, Any] = {
        "type": f"urn:lfm2-retrieval:{name}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        values["errors"] = errors
    return Json(values, status, dict(headers or {}), media_type="application/problem+json")


async def _of_http(request: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    headers = error.headers
    if error.status_code == 405:  # Starlette names the methods of one of the address's routes
        headers = {"Allow": ", ".join(sorted(_methods(request)))}
    if error.status_code == 404 and not isinstance(error, ProblemError):  # of no route
        return problem(404, "there is no such address here", headers, kind="no-such-address")
    return problem(error.status_code, str(error.detail), headers)


def _methods(request: Request) -> set[str]:
    """Those that an address takes, as the OpenAPI has them."""
    found = {"GET", "HEAD"}
    paths = request.app.openapi()["paths"]
    for path, operations in paths.items():
        pattern = "[^{]+".join(map(re.escape, re.split(r"\{[^}]*\}", path)))
        if re.fullmatch(pattern, request.scope["path"]):
            return {name.upper() for name in operations}
    return found


async def _of_validation(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    errors = [
        {
            "pointer": "/" + "/".join(str(part)[:80] for part in one["loc"][1:]),
            "in": str(one["loc"][0]),
            "detail": one["msg"],
        }
        for one in error.errors()[:20]
    ]
    syntax = any(one["type"] == "json_invalid" for one in error.errors())
    first = errors[0] if errors else {"pointer": "/", "detail": "can't be used"}
    return problem(400 if syntax else 422, f"{first['pointer']}: {first['detail']}", errors=errors)


_STATUS: tuple[tuple[type[RetrievalError], int], ...] = (
    (UnknownIdError, 404),
    (DuplicateIdError, 409),
    (InvalidInputError, 422),
    (MissingExtraError, 501),
)


async def _of_library(request: Request, error: Exception) -> Json:
    """The library's errors; those of the index on disk go to the log whole, and to clients without paths."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return problem(status, str(error))
    if isinstance(error, IndexLockedError):
        return problem(503, "another writer is at work; try again", {"Retry-After": "5"})
    log.error("%s: %s", type(error).__name__, error)
    if isinstance(error, IndexWriteError):
        return _of_write_error(error)
    name = type(error).__name__
    return problem(503, f"the index or its model can't be used ({name}); the server's log says why")


def _of_write_error(error: OSError) -> Json:
    cause = error.__cause__
    number = error.errno or (cause.errno if isinstance(cause, OSError) else None)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    return problem(
        507 if full else 503,
        ("the disk is full" if full else "the index can't be written to") + "; nothing was changed",
    )


async def _of_system(request: Request, error: Exception) -> Json:
    log.error("%s: %s", type(error).__name__, error)
    return problem(503, "the server lacks what this takes (memory, open files or disk); try again later")


async def _of_any(request: Request, error: Exception) -> Json:
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem(500, "an unexpected error; the server's log says more")
