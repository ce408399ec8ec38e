"""gevent: everything is patched, events are recorded by greenlets, and the others run on while they are delivered."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402
from events import EVENTS, outcome, say, settings, track  # noqa: E402

from millstream import Analytics  # noqa: E402

ticks = []


def tick() -> None:
    while True:
        ticks.append(None)
        gevent.sleep(0.01)


ticker = gevent.spawn(tick)
analytics = Analytics("key", **settings(flush_interval=0.2))
greenlets = [gevent.spawn(track, analytics, number) for number in range(EVENTS)]
gevent.joinall(greenlets)
while analytics.stats().pending:  # delivered by the worker, with nobody waiting in it
    gevent.sleep(0.01)
analytics.track("Last", user_id="u").wait(timeout=10)
analytics.close_and_flush(timeout=30)
say(outcome(analytics, [each.value for each in greenlets]), ticks=len(ticks))
