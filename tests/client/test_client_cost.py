"""What a call costs: in the interpreter's own steps, beside a floor that is measured with it, and in memory.

Never wall time, which says more of the machine than of the code. `make bench` measures that.
"""

from __future__ import annotations

import statistics
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from queue import SimpleQueue
from time import thread_time_ns
from types import FrameType, FunctionType
from typing import Any

import msgspec
import pytest

from millstream import Analytics, Response
from millstream._core.events.fastpath import all_usual

COMPILED = type(all_usual) is not FunctionType
STEPS = 500 if COMPILED else 1_000
"""Instructions of the interpreter for one call of `track` with the event below: 370 to 460, by its version; in Python
alone (decision 0023) 500 more."""
TIMES_THE_FLOOR = 3.7 if COMPILED else 6.0
"""How often the floor fits into a call. When this was written: 2.5 to 3.1, by Python's version; in Python alone 4.7."""


def event(i: int) -> dict[str, Any]:
    """The arguments of a call that records a checkout: an event of about 650 bytes, of fresh objects."""
    return {
        "event": "Order Completed",
        "user_id": f"user-{i}",
        "properties": {
            "order": i,
            "plan": "enterprise",
            "total": 49.99 + i,
            "title": "Café – 東京 ✓",
            "tags": ["new", "sale", "eu-west"],
            "cart": {"id": "c-81f3", "items": 3, "coupon": None, "gift": False},
            "signed_up_at": datetime(2024, 5, 17, 9, 30, 15, 123456, tzinfo=timezone.utc),
            "returning": True,
        },
        "context": {
            "ip": "203.0.113.7",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
            "page": {"path": "/checkout/done", "referrer": "https://shop.example.com/cart"},
        },
    }


@pytest.fixture
def analytics() -> Iterator[Analytics]:
    """A client whose worker has nothing to do until there is half a megabyte, or the test is over."""
    analytics = Analytics("key", http_client=lambda _: Response(200, {}, b"{}"), flush_at=2500, flush_interval=300.0)
    yield analytics
    analytics.close_and_flush(timeout=30)


def steps(call: Callable[[], object]) -> int:
    """How many instructions of its own the interpreter runs for this."""
    return _monitored(call) if sys.version_info >= (3, 12) else _traced(call)


def _traced(call: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += kind == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def _monitored(call: Callable[[], object]) -> int:
    """The same since Python 3.12, where a trace function no longer sees the instructions of the frames it enters."""
    count, here = 0, threading.get_ident()
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]

    def instruction(*_: object) -> None:
        nonlocal count
        count += threading.get_ident() == here

    monitoring.use_tool_id(monitoring.PROFILER_ID, "steps")
    try:
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION, instruction)
        monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION)
        call()
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    return count


def test_a_call_takes_few_steps(analytics: Analytics) -> None:
    """A call stays as short as it is: the way of a usual event has no more instructions than it needs."""
    taken = []
    for i in range(21):
        arguments = event(i)
        taken.append(steps(lambda: analytics.track(**arguments)))  # noqa: B023 - called at once
    assert 200 < statistics.median(taken) <= STEPS  # fewer would mean that they are not seen


def nanoseconds(call: Callable[[dict[str, Any]], object]) -> int:
    """CPU time of this thread for 100 calls."""
    events = [event(i) for i in range(100)]
    start = thread_time_ns()
    for arguments in events:
        call(arguments)
    return thread_time_ns() - start


def test_a_call_costs_few_times_its_floor(analytics: Analytics) -> None:
    """A call takes a few times what it cannot do without: encoding the event and putting it in a queue.

    Other processes only ever add to either, so the least of many rounds counts; and a machine that is too busy for
    that is given more of them.
    """
    encode = msgspec.json.Encoder().encode
    queue: SimpleQueue[bytes] = SimpleQueue()

    def floor(arguments: dict[str, Any]) -> None:
        whole = {
            "type": "track",
            "messageId": "01920000-0000-7000-8000-000000000000",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "event": arguments["event"],
            "userId": arguments["user_id"],
            "properties": arguments["properties"],
            "context": {**arguments["context"], "library": {"name": "millstream", "version": "1"}},
            "integrations": {},
        }
        queue.put(encode(whole))

    def track(arguments: dict[str, Any]) -> None:
        analytics.track(**arguments)

    least = {floor: sys.maxsize, track: sys.maxsize}
    for _ in range(10):
        for _ in range(20):
            for call, before in least.items():
                least[call] = min(before, nanoseconds(call))
        if least[track] < TIMES_THE_FLOOR * least[floor]:
            return
    assert least[track] < TIMES_THE_FLOOR * least[floor]


def test_an_event_that_waits_takes_little_more_than_its_bytes(analytics: Analytics) -> None:
    """A host that is down costs memory for what waits: one and a half times as much as will be sent, at most."""
    analytics.track(**event(0))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sizes = [len(analytics.track(**event(i)).data) for i in range(600)]
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used < 1.5 * sum(sizes)
