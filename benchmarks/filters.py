"""What filters and tracking plans cost, in events per second of CPU time.

    python -m benchmarks.filters [--events N]

Each figure is the median of five runs over the bytes of one event, as a collector stores it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec

from millstream.destinations import Event, TrackingAPI
from millstream.filters import compile as compile_fql
from millstream.filters import filtered
from millstream.plan import Plan

EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "userId": "user-123456",
    "anonymousId": "a4c1d3a5-94e2-4f6b-8e0c-57e83ad7e7a0",
    "messageId": "b0c4bd0e-3f77-4b4a-9f35-7e1b1d6a1d3e",
    "timestamp": "2026-11-30T12:00:00.000Z",
    "receivedAt": "2026-11-30T12:00:01.000Z",
    "properties": {
        "order_id": "o-1",
        "revenue": 39.95,
        "currency": "EUR",
        "email": "someone@example.com",
        "products": [
            {"sku": "a1", "price": 19.99, "quantity": 1, "name": "Café – 東京 ✓"},
            {"sku": "b2", "price": 19.96, "quantity": 1, "name": "Mug"},
        ],
    },
    "context": {"library": {"name": "millstream", "version": "0.1.0"}, "ip": "203.0.113.9", "userAgent": "Mozilla/5.0"},
    "integrations": {},
}
FOUR_TERMS = (
    "type = 'track' and event = 'Order Completed' and properties.revenue > 10 and match(context.library.version, '0.*')"
)

PLAN = {
    "rules": [
        {"type": "COMMON", "version": 1, "jsonSchema": {"properties": {"context": {"type": "object"}}}},
        {
            "type": "TRACK",
            "key": "Order Completed",
            "version": 1,
            "jsonSchema": {
                "type": "object",
                "properties": {
                    "properties": {
                        "type": "object",
                        "required": ["order_id", "revenue"],
                        "additionalProperties": False,
                        "properties": {
                            "order_id": {"type": "string"},
                            "revenue": {"type": "number", "minimum": 0},
                            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                            "email": {"type": "string"},
                            "products": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
                        },
                    }
                },
            },
        },
    ]
}


def cases() -> dict[str, Callable[[bytes], object]]:
    """The functions that are measured, by name."""
    condition = compile_fql(FOUR_TERMS)
    drop = filtered(TrackingAPI("key"), FOUR_TERMS)
    trim = filtered(TrackingAPI("key"), {"if": FOUR_TERMS, "drop_properties": {"properties": ["email"]}})
    sample = filtered(TrackingAPI("key"), {"sample": {"percent": 0.5, "path": "userId"}})
    plan = Plan.parse(PLAN)
    decoded = msgspec.json.decode(msgspec.json.encode(EVENT))
    return {
        "a condition of four terms": condition,
        "a condition of four terms, of a decoded event": lambda _: condition(decoded),
        "a filter that drops": lambda data: drop.prepare(Event(data), {}),
        "a filter that removes a property": lambda data: trim.prepare(Event(data), {}),
        "a tracking plan with a common rule": plan.check,
        "a tracking plan, of a decoded event": lambda _: plan.check(decoded),
        "a sample by userId": lambda data: sample.prepare(Event(data), {}),
    }


def rate(function: Callable[[bytes], object], data: bytes, events: int) -> float:
    """Calls per second of CPU time."""
    start = time.process_time()
    for _ in range(events):
        function(data)
    return events / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    data = msgspec.json.encode(EVENT)
    print(f"one event of {len(data)} bytes, {events:,} times; events per second of CPU time")
    for name, function in cases().items():
        print(f"{statistics.median(rate(function, data, events) for _ in range(5)):>12,.0f}  {name}")


if __name__ == "__main__":
    main()
