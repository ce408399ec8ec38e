"""What the shop recorded, against what the collector has on disk: event by event, by their ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from .traffic import Traffic

SHOWN = 3
"""Of a long list of problems, this many are enough to start looking."""


@dataclass(frozen=True)
class Row:
    """One type of event, at both ends."""

    type: str
    recorded: int
    received: int
    lost: int
    duplicates: int
    p50: float
    """Microseconds that the call took in the shop, in the median."""
    p99: float


@dataclass(frozen=True)
class Audit:
    rows: list[Row]
    requests: int
    served: int
    sessions: int
    seconds: float
    delivered: int
    batches: int
    retries: int
    orders: int
    revenue: Decimal
    """In the shop's own books."""
    revenue_received: Decimal
    """In the events that the collector has of these orders."""
    problems: list[str]

    @property
    def recorded(self) -> int:
        return sum(row.recorded for row in self.rows)

    @property
    def received(self) -> int:
        return sum(row.received for row in self.rows)

    @property
    def lost(self) -> int:
        return sum(row.lost for row in self.rows)

    @property
    def duplicates(self) -> int:
        return sum(row.duplicates for row in self.rows)


def audit(traffic: Traffic, report: dict[str, Any], stored: list[dict[str, Any]]) -> Audit:
    """Compare the visitors' count, the shop's report and the collector's events."""
    stats = report["stats"]
    books = {order: Decimal(revenue) for order, revenue in report["orders"].items()}
    sold = _sold(stored)
    return Audit(
        rows=[_row(kind, report, stored) for kind in report["events"]],
        requests=traffic.requests,
        served=report["requests"],
        sessions=traffic.sessions,
        seconds=traffic.seconds,
        delivered=stats["delivered"],
        batches=stats["requests"],
        retries=stats["retries"],
        orders=len(books),
        revenue=sum(books.values(), Decimal(0)),
        revenue_received=sum(sold.values(), Decimal(0)),
        problems=[
            *_shortened("requests that failed", traffic.failures),
            *_differing_events(report["events"], stored),
            *_differing_counts(traffic, report),
            *_differing_orders(books, sold),
        ],
    )


def events_in(folder: Path) -> list[dict[str, Any]]:
    """All events that the collector has on disk. Numbers with a point are read as they were written: exactly."""
    files = sorted(folder.glob("events-*.jsonl"))
    return [
        json.loads(line, parse_float=Decimal) for file in files for line in file.read_text("utf-8").splitlines() if line
    ]


def _row(kind: str, report: dict[str, Any], stored: list[dict[str, Any]]) -> Row:
    ids = [event["messageId"] for event in stored if event["type"] == kind]
    recorded, received, cost = set(report["events"][kind]), set(ids), report["microseconds"][kind]
    return Row(
        type=kind,
        recorded=len(report["events"][kind]),
        received=len(received),
        lost=len(recorded - received),
        duplicates=len(ids) - len(received),
        p50=cost["p50"],
        p99=cost["p99"],
    )


def _differing_events(events: dict[str, list[str]], stored: list[dict[str, Any]]) -> Iterable[str]:
    recorded = Counter((kind, message_id) for kind, ids in events.items() for message_id in ids)
    received = Counter((event["type"], event["messageId"]) for event in stored)
    for what, differing in (
        ("events that are missing in the collector", recorded - received),
        ("events that came twice, or were never recorded", received - recorded),
    ):
        yield from _shortened(what, [" ".join(key) for key in differing.elements()])


def _differing_counts(traffic: Traffic, report: dict[str, Any]) -> Iterable[str]:
    stats, recorded = report["stats"], sum(map(len, report["events"].values()))
    if report["requests"] != traffic.requests:
        yield f"visitors sent {traffic.requests:,} requests, the shop served {report['requests']:,}"
    if not recorded:
        yield "nothing was recorded"
    for name in ("accepted", "delivered"):
        if stats[name] != recorded:
            yield f"the shop recorded {recorded:,} events, its stats() say {name}={stats[name]:,}"


def _sold(stored: list[dict[str, Any]]) -> dict[str, Decimal]:
    bought = [event["properties"] for event in stored if event.get("event") == "Order Completed"]
    return {order["order_id"]: Decimal(order["revenue"]) for order in bought}


def _differing_orders(books: dict[str, Decimal], sold: dict[str, Decimal]) -> Iterable[str]:
    differing = [
        f"{order}: {books.get(order)} in the books, {sold.get(order)} in the event"
        for order in sorted(books.keys() | sold.keys())
        if books.get(order) != sold.get(order)
    ]
    yield from _shortened("orders whose event differs from the shop's books", differing)


def _shortened(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = ["…"] if len(items) > SHOWN else []
    return [f"{what}: {len(items):,} ({'; '.join(items[:SHOWN] + more)})"]
