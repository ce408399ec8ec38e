"""What the shop recorded and what it cost, for whoever wants to check: written when the shop stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from starlette.applications import Starlette

from millstream import Analytics, Receipt

from .data import db

KINDS = ("identify", "track", "page", "screen", "group", "alias")


@contextmanager
def reported(app: Starlette, analytics: Analytics, path: str | None) -> Iterator[None]:
    """Count and time every event call, and write the report to `path` at the end. Without one, do nothing."""
    if not path:
        yield
        return
    calls = {kind: Calls(getattr(analytics, kind)) for kind in KINDS}
    for kind, timed in calls.items():
        setattr(analytics, kind, timed)
    yield
    report = {
        "requests": app.state.served,
        "orders": {order.id: str(order.revenue) for order in db.orders.values()},
        "events": {kind: timed.message_ids for kind, timed in calls.items()},
        "microseconds": {kind: timed.microseconds() for kind, timed in calls.items()},
        "stats": asdict(analytics.stats()),
    }
    Path(path).write_text(json.dumps(report))


class Calls:
    """An event call with a stopwatch around it."""

    def __init__(self, call: Callable[..., Receipt]) -> None:
        self._call = call
        self._nanoseconds: list[int] = []
        self.message_ids: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Receipt:
        start = perf_counter_ns()
        receipt = self._call(*args, **kwargs)
        self._nanoseconds.append(perf_counter_ns() - start)
        self.message_ids.append(receipt.message_id)
        return receipt

    def microseconds(self) -> dict[str, float]:
        """What a call took: half of them less than `p50`, all but one in a hundred less than `p99`."""
        ordered = sorted(self._nanoseconds) or [0]
        return {f"p{share}": ordered[share * (len(ordered) - 1) // 100] / 1000 for share in (50, 99)}
