"""The collector's live page: events as they arrive, their outcomes and the reasons.

    feed        the last events with their outcomes, and counts
    rows        an event as a row of the list, and the filter
    snippet     an event as the Python call that makes it
    subscriber  the stream of one watcher, in portions
    access      access control
    routes      the page and its data over HTTP; the page itself is in `static/`

The collector publishes to the feed and mounts the routes; nothing here changes what is stored or answered.
"""

from __future__ import annotations

from ..feed import Feed
from .access import Access
from .routes import routes

__all__ = ["Access", "Feed", "routes"]
