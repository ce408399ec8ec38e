"""What plugins cost the garbage collector: a count of objects, never wall time. `make bench` measures that."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

from millstream import Analytics, Plugin, Response

EVENTS = 2_000


def test_events_that_wait_for_their_outcome_are_nothing_to_the_garbage_collector() -> None:
    """With a plugin of each type and a callback, fewer than one object in four events is known to the collector."""
    answer, through = threading.Event(), threading.Event()
    seen: list[Any] = []

    def send(_: Any) -> Response:
        answer.wait(60)
        return Response(200, {}, b"{}")

    def hook(self: Plugin, ctx: Any) -> Any:
        if self.type == "destination":
            seen.append(ctx.id)
            if len(seen) == EVENTS:
                through.set()
        return ctx

    analytics = Analytics("key", http_client=send)
    for stage in ("before", "enrichment", "destination", "after", "utility"):
        analytics.register(type(stage, (Plugin,), {"type": stage, "track": hook})())
    outcomes: list[Any] = []

    def callback(err: Any, ctx: Any) -> None:
        outcomes.append(err)

    gc.collect()
    known = len(gc.get_objects())
    for n in range(EVENTS):
        analytics.track("A", user_id=f"user-{n}", callback=callback)
    assert through.wait(30)
    deadline = time.monotonic() + 10  # the worker may have to hear of the last hooks
    while (more := len(gc.get_objects()) - known) >= EVENTS / 4 and time.monotonic() < deadline:
        time.sleep(0.05)
        gc.collect()
    answer.set()
    analytics.close_and_flush(timeout=30)
    assert more < EVENTS / 4
    assert outcomes == [None] * EVENTS
