"""The collector: a Tracking API on one port, which keeps what it is sent in a file of JSON lines.

    wire      what a request is made of: limits, keys, gzip, JSON; refuses a request as a whole
    events    what an event is made of: which are kept, which are rejected and why
    core      the two together: one request in, one Verdict out; pure
    store     where the lines go
    counts    what happened, in numbers
    app       the ASGI application
    server    a socket, uvicorn and the signals

`Collector(directory)` is an ASGI application: serve it with `penstock serve`, or mount it in another.
"""

from __future__ import annotations

from penstock.errors import MissingExtra

try:
    from .app import Collector
    from .server import listen, serve, url_of
    from .store import JSONLines, Store
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
        raise
    raise MissingExtra("the collector", "collector") from error

__all__ = ["Collector", "JSONLines", "Store", "listen", "serve", "url_of"]
