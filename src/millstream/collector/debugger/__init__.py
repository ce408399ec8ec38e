"""The live page of the collector: what comes, what becomes of it, and why.

    feed      the last events, whatever became of them, and how many there were
    rows      what is shown of an event in a list, and which events somebody wants to see
    calls     an event as the Python call that makes one like it
    follower  what one watcher is told, in which portions
    guard     who may see it
    routes    the page and its data over HTTP; the page itself is in `static/`

The collector publishes to the feed and mounts the routes; nothing here changes what is stored or answered.
"""

from __future__ import annotations

from ..feed import Feed
from .access import Access
from .routes import routes

__all__ = ["Access", "Feed", "routes"]
