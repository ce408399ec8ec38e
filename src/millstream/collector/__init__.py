"""The collector: a Tracking API on one port, which keeps what it is sent in a file of JSON lines.

    wire      what a request is made of: limits, keys, gzip, JSON; refuses a request as a whole
    times     when an event happened, by our clock
    events    what an event is made of: which are kept, which are rejected and why
    gate      who may write, and how much
    core      these together: one request in, one Verdict out; pure
    window    which messageIds have come lately
    commit    group commit: many requests, one turn of the disk
    store     where the lines go: a directory, or memory
    rejects   where lines go that were not kept
    intake    from a request to what became of it: core, window, store, counts, feed
    counts    what happened, in numbers; timing, how long the disk takes; metrics, both for Prometheus
    oauth     tokens for those who can prove who they are
    asgi      requests and answers without a framework
    app       the ASGI application
    connection  uvicorn's connection, with limits: one request at a time, heads that end, answers that are read
    direct    requests to the Tracking API, around ASGI
    internals what these two use of uvicorn, looked for at the start
    server    a socket, uvicorn and the signals
    destinations  where a router takes the events to, as the page and `/metrics` see it
    debugger  the live page

`Collector(directory)` is an ASGI application: serve it with `millstream serve`, or mount it in another.
"""

from __future__ import annotations

from millstream.errors import MissingExtra

try:
    from .app import Collector
    from .destinations import Destinations
    from .oauth import Application
    from .server import listen, serve, url_of
    from .store import Files, Memory, Store
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"prometheus_client", "starlette", "uvicorn"}:
        raise
    raise MissingExtra("the collector", "collector") from error

__all__ = ["Application", "Collector", "Destinations", "Files", "Memory", "Store", "listen", "serve", "url_of"]
