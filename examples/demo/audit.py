"""What the shop recorded, against what the collector has on disk: event by event, by their ids."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from millstream.errors import MissingExtra
from millstream.log import FileReader
from millstream.router import statuses

from .destinations import Received, expected_of_mixpanel
from .traffic import Traffic

DRAIN_SECONDS = 60.0
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
class Destination:
    """One destination: what it should have got, and what it has. An event can be several things to it, or none."""

    name: str
    expected: int
    received: int
    lost: int
    duplicates: int
    refused: int
    """Requests that it has answered 503: it was down."""
    problems: list[str]


@dataclass(frozen=True)
class Audit:
    rows: list[Row]
    destinations: list[Destination]
    in_sql: int | None
    """Events that SQL finds; None without DuckDB."""
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


def audit(
    traffic: Traffic,
    report: dict[str, Any],
    stored: list[dict[str, Any]],
    destinations: Sequence[Destination] = (),
    in_sql: int | None = None,
) -> Audit:
    """Compare the visitors' count, the shop's report, the collector's events, and those of its destinations."""
    stats = report["stats"]
    books = {order: Decimal(revenue) for order, revenue in report["orders"].items()}
    sold = _sold(stored)
    return Audit(
        rows=[_row(kind, report, stored) for kind in report["events"]],
        destinations=list(destinations),
        in_sql=in_sql,
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
            *_differing_destinations(destinations),
            *(
                [f"SQL finds {in_sql:,} events, the store has {len(stored):,}"]
                if in_sql not in {None, len(stored)}
                else ()
            ),
        ],
    )


def events_in(folder: Path) -> list[dict[str, Any]]:
    """All events that the collector has on disk. Numbers with a point are read as they were written: exactly."""
    return [json.loads(line, parse_float=Decimal) for line in lines_in(folder)]


def lines_in(folder: Path) -> list[bytes]:
    """The same, as they stand in the files; what is reserved there and not written yet is left out."""
    files = sorted(folder.glob("events-*.jsonl"))
    return [line for file in files for line in file.read_bytes().strip(b"\0").split(b"\n") if line]


def drain(folder: Path) -> list[str]:
    """Wait until each destination has got what is stored. Returns what is wrong, if one has not."""
    end = FileReader(folder).durable()
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        behind = [each for each in statuses(folder, time.time()) if each.position < end]
        if not behind:
            return []
        if time.monotonic() > deadline:
            return [f"{each.name} is {each.lag_events:,} events behind: {each.last_error}" for each in behind]
        time.sleep(0.1)


def count_destinations(store: Path, second: Path, webhook: Received, mixpanel: Received) -> list[Destination]:
    """Count what the destinations have got of what is stored."""
    lines = lines_in(store)
    stored = Counter(str(json.loads(line)["messageId"]) for line in lines)
    forwarded = Received(Counter(str(json.loads(line)["messageId"]) for line in lines_in(second)))
    return [
        _counted("webhook", stored, webhook),
        _counted("second", stored, forwarded),
        _counted("mixpanel", expected_of_mixpanel(lines), mixpanel),
    ]


def count_in_sql(store: Path) -> int | None:
    """Count the stored events in SQL; None without DuckDB."""
    try:
        from millstream.warehouse import query  # noqa: PLC0415 - an extra
    except MissingExtra:
        return None
    views = ("tracks", "identifies", "pages", "screens", "groups", "aliases")
    question = " union all ".join(f"select count(*) from {view}" for view in views)  # noqa: S608 - names of our own
    with query(store, question) as counts:
        return sum(int(row[0]) for row in counts)


def _counted(name: str, expected: Counter[str], received: Received) -> Destination:
    lost, more = expected - received.things, received.things - expected
    return Destination(
        name,
        expected.total(),
        received.things.total(),
        lost.total(),
        more.total(),
        received.refused,
        received.problems,
    )


def _differing_destinations(destinations: Sequence[Destination]) -> Iterable[str]:
    for each in destinations:
        if each.lost or each.duplicates:
            more = f"{each.duplicates:,} came twice or should not have come"
            yield f"{each.name}: {each.lost:,} things are missing, {more}"
        yield from _shortened(each.name, each.problems)


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
