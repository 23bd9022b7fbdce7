"""An HTTP API and a page on an index; needs the extra ``server``.

from lfm2_retrieval.server import create_app

app = create_app("my-index")          # an ASGI application, for any server
# or: lfm2-retrieve serve my-index
"""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import fastapi as _fastapi  # noqa: F401
    import httptools as _httptools  # noqa: F401
    import prometheus_client as _prometheus_client  # noqa: F401
    import python_multipart as _multipart  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("the server", "server") from error

from .app import create_app
from .keys import KeyFile
from .options import ServerOptions
from .running import run

__all__ = ["KeyFile", "ServerOptions", "create_app", "run"]
