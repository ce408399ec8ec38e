"""eventlet: everything is patched, events are recorded by green threads, and the others run on meanwhile."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

from events import EVENTS, outcome, say, settings, track  # noqa: E402

from millstream import Analytics  # noqa: E402

ticks = []


def tick() -> None:
    while True:
        ticks.append(None)
        eventlet.sleep(0.01)


eventlet.spawn(tick)
analytics = Analytics("key", **settings(flush_interval=0.2))
greens = [eventlet.spawn(track, analytics, number) for number in range(EVENTS)]
receipts = [green.wait() for green in greens]
while analytics.stats().pending:  # delivered by the worker, with nobody waiting in it
    eventlet.sleep(0.01)
analytics.track("Last", user_id="u").wait(timeout=10)
analytics.close_and_flush(timeout=30)
say(outcome(analytics, receipts), ticks=len(ticks))
