"""Testing tools for applications: a collector that can be made to fail, and a client that captures events.

    receiver   received events, waiting for more, and clients that deliver to it
    captured   an HTTP client that captures events
    live       a whole collector on a free port, with injected faults
    faults     faults of a Tracking API
    loopback   an ASGI application in a thread of its own
    plugin     the fixtures `collector` and `capture`, which pytest finds by itself

    with millstream.testing.collector() as collector:
        Analytics("key", host=collector.url).track("Order Completed", user_id="u1")
        collector.wait_for("Order Completed")

Importing this imports neither pytest nor a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import lazily

if TYPE_CHECKING:
    from .captured import Capture, capture
    from .live import LiveCollector, collector
    from .receiver import Match, RejectedEvent, SeenRequest

__all__ = ["Capture", "LiveCollector", "Match", "RejectedEvent", "SeenRequest", "capture", "collector"]

_EXPORTS = {
    "Capture": ".captured",
    "LiveCollector": ".live",
    "Match": ".receiver",
    "RejectedEvent": ".receiver",
    "SeenRequest": ".receiver",
    "capture": ".captured",
    "collector": ".live",
}


__getattr__ = lazily(__name__, _EXPORTS)
