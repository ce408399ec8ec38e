"""The collector: a Tracking API on one port, which stores the events it receives in JSON Lines files.

    request     limits, keys, gzip, JSON: refuses a request as a whole
    clock_skew  the time of an event by the receiver's clock
    events      one event: accepted or rejected, and the line it is stored as
    admission   write keys, tokens and the rate limit
    judge       these together: one request in, one Verdict out; pure
    dedup       deduplication by messageId
    commit      group commit: many requests share one write and one fsync
    store       storage: a directory, or memory
    rejects     the file of rejected events
    ingest      one request from verdict to answer: judge, dedup, store, counts, feed
    counts      counters; timing, a histogram of commits; metrics, both for Prometheus
    oauth       an OAuth token endpoint
    asgi        requests and answers without a framework
    app         the ASGI application
    connection  uvicorn's connection with limits: one request at a time, bounded heads and buffers
    direct      requests to the Tracking API, past ASGI
    internals   the names of uvicorn's that these two use, checked at start
    server      the socket, uvicorn and the signals
    destinations  where a router sends the events, as the page and `/metrics` see it
    debugger    the live page

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
