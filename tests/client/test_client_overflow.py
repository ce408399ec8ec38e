"""A full queue: bounded by events and by bytes, with a policy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, QueueFull
from support.api import Api, stall
from support.background import Background, Heard

Make = Callable[..., Analytics]
BOUNDS = pytest.mark.parametrize(
    "bound", [{"max_queue_events": 5}, {"max_queue_bytes": 5_000}], ids=["events", "bytes"]
)
EVENT = {"t": "x" * 700}  # five of them are over 4 KB, and six over 5,000 bytes


def _full(client: Make, **settings: Any) -> Analytics:
    """A client whose queue is full: one event in flight for ever, and others behind it."""
    analytics = client(flush_at=1, max_in_flight=1, **settings)
    while analytics.stats().pending < 5:
        assert analytics.track("Fill", user_id="u", properties=EVENT).outcome is None
    return analytics


@BOUNDS
def test_drop_newest(api: Api, client: Make, bound: dict[str, int]) -> None:
    """By default the new event is dropped: counted, emitted as an error; receipt and callback say which bound."""
    api.always = stall()
    analytics = _full(client, **bound)
    errors, callback = Heard(), Heard()
    analytics.on("error", errors)
    receipt = analytics.track("One More", user_id="u", properties=EVENT, callback=callback)
    with pytest.raises(QueueFull, match=next(iter(bound))):
        receipt.wait(timeout=1)
    assert isinstance(callback.calls[0][0], QueueFull)
    ((event,),) = errors.calls
    assert (event.code, event.context.event["event"]) == ("dropped", "One More")
    stats = analytics.stats()
    assert (stats.accepted, stats.dropped, stats.pending) == (6, 1, 5)


@BOUNDS
def test_raise(api: Api, client: Make, bound: dict[str, int]) -> None:
    """With `overflow="raise"` the call raises QueueFull, and the event was never accepted."""
    api.always = stall()
    analytics = _full(client, overflow="raise", **bound)
    with pytest.raises(QueueFull):
        analytics.track("One More", user_id="u", properties=EVENT)
    stats = analytics.stats()
    assert (stats.accepted, stats.dropped, stats.pending) == (5, 0, 5)


@BOUNDS
def test_block(api: Api, client: Make, bound: dict[str, int]) -> None:
    """With `overflow="block"` the call waits until there is room, and nothing is dropped."""
    held = api.hold()
    analytics = _full(client, overflow="block", **bound)
    waiting = Background(analytics.track, "One More", user_id="u", properties=EVENT)
    assert api.stays_at(1, 0.2)
    assert waiting.running()
    held.release()
    assert waiting.result().wait(timeout=10)
    analytics.flush(timeout=10)
    assert (analytics.stats().delivered, analytics.stats().dropped) == (6, 0)


@BOUNDS
def test_block_with_many_threads(api: Api, client: Make, bound: dict[str, int]) -> None:
    """Eight threads at a queue for five: each event waits for its turn, none is dropped, the bound holds."""
    analytics = client(overflow="block", flush_at=1, **bound)
    most: list[int] = []

    def record() -> None:
        for _ in range(25):
            analytics.track("A", user_id="u", properties=EVENT)
            most.append(analytics.stats().pending)

    for one in [Background(record) for _ in range(8)]:
        one.result(timeout=30)
    assert analytics.flush(timeout=10).pending == 0
    assert (analytics.stats().delivered, analytics.stats().dropped) == (200, 0)
    assert len(api.accepted) == 200
    assert max(most) <= 5


def test_raise_with_many_threads(client: Make) -> None:
    """Each call is either accepted and delivered, or raises: none is dropped afterwards."""
    analytics = client(overflow="raise", flush_at=1, max_queue_events=3)
    raised = Heard()

    def record() -> None:
        for _ in range(50):
            try:
                analytics.track("A", user_id="u")
            except QueueFull:
                raised()

    for one in [Background(record) for _ in range(8)]:
        one.result(timeout=30)
    analytics.flush(timeout=10)
    stats = analytics.stats()
    assert stats.dropped == 0
    assert stats.delivered + len(raised.calls) == 400


def test_block_ends_with_the_client(api: Api, client: Make) -> None:
    """A call that waits for room returns when the client is closed."""
    api.always = stall()
    analytics = _full(client, overflow="block", max_queue_events=5)
    waiting = Background(analytics.track, "One More", user_id="u")
    assert api.stays_at(1, 0.1)
    analytics.close(timeout=0)
    assert waiting.result().done()


def test_block_on_the_worker_does_not_wait_for_itself(api: Api, client: Make) -> None:
    """A callback that records events into a full queue goes on: there is nobody else to make room."""
    held = api.hold()
    ended = threading.Event()

    def record(*_: Any) -> None:
        for _ in range(10):
            analytics.track("More", user_id="u")
        ended.set()

    analytics = client(flush_at=1, max_in_flight=1, max_queue_events=3, overflow="block")
    analytics.track("First", user_id="u", callback=record)
    analytics.track("Second", user_id="u")
    held.release()
    assert ended.wait(10)
    assert analytics.flush(timeout=10).pending == 0


def test_one_event_over_the_bound_of_bytes_is_let_in_alone(api: Api, client: Make) -> None:
    """A bound smaller than a single event stops no event for ever: with an empty queue it goes, under each policy."""
    for overflow in ("drop_newest", "block", "raise"):
        analytics = client(max_queue_bytes=10, overflow=overflow)
        assert analytics.track("A", user_id="u").wait(timeout=10)
    assert len(api.accepted) == 3


def test_queue_bytes_are_those_of_what_waits(api: Api, client: Make) -> None:
    """`queue_bytes` is the sum of what has no outcome, and 0 in the end."""
    held = api.hold()
    analytics = client(flush_at=2)
    receipts = [analytics.track("A", user_id="u", properties=EVENT) for _ in range(2)]
    api.wait_for(1)
    assert analytics.stats().queue_bytes == sum(len(receipt.data) for receipt in receipts)
    held.release()
    analytics.flush(timeout=10)
    assert analytics.stats().queue_bytes == 0
