"""The page: files of this package, with nothing from elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from .problems import ProblemError

__all__ = ["page_routes"]

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_STATIC = frozenset({"page.js", "style.css", "icon.svg"})


def page_routes() -> APIRouter:
    """The page at ``/``, and what it loads."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _send(request, "index.html")

    @router.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static(request: Request, name: str) -> Response:
        if name not in _STATIC:
            raise ProblemError(404, "there is no such file")
        return _send(request, name)

    return router


def _send(request: Request, name: str) -> Response:
    content, tag = _load(name)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=headers)


@cache
def _load(name: str) -> tuple[bytes, str]:
    content = files(__package__).joinpath("page", name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
