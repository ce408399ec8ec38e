"""`millstream replay`: sends a collector's stored events to any Tracking API, with their ids."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec

from millstream.log import FileReader

from . import options, output
from .delivery import QUEUE, Delivery
from .options import Target, option
from .report import report
from .stored import Selection, Stored, moment, open_log, stored

_WHICH = "Which events"


def replay(
    to: Annotated[str, option(help="Base URL of the receiving Tracking API.", metavar="URL", panel=options.WHERE)],
    write_key: options.WriteKey = None,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR", panel=_WHICH)] = Path(
        "millstream-data"
    ),
    since: Annotated[
        str | None,
        option(help="Received since: a time (ISO 8601), or an age such as 90m, 2h, 7d.", metavar="TIME", panel=_WHICH),
    ] = None,
    until: Annotated[str | None, option(help="Received before this time.", metavar="TIME", panel=_WHICH)] = None,
    kind: Annotated[
        list[str] | None, option("--type", help="Event type; repeatable.", metavar="TYPE", panel=_WHICH)
    ] = None,
    event: Annotated[list[str] | None, option(help="Event name; repeatable.", metavar="NAME", panel=_WHICH)] = None,
    source: Annotated[list[str] | None, option(help="sourceId; repeatable.", metavar="ID", panel=_WHICH)] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Count the events, and send nothing.")] = False,
    timeout: options.Timeout = 60.0,
    max_retries: options.MaxRetries = 3,
    rate: options.Rate = None,
    in_order: options.InOrder = False,
    oauth_client_id: options.OAuthClientId = None,
    oauth_client_key: options.OAuthClientKey = None,
    oauth_key_id: options.OAuthKeyId = None,
    oauth_auth_server: options.OAuthAuthServer = None,
    as_json: options.AsJson = False,
) -> None:
    """Send a collector's stored events to any Tracking API.

    [bold]millstream replay --to https://api.segment.io --since 2h --dry-run[/]

    Events keep their ids and times, so that a receiver that deduplicates stores each once, however often this runs. The
    collector may be running.

    Exit code: 0 if all events were delivered, 1 if not, 2 for wrong usage.
    """
    selection = Selection(
        since=moment(since, "--since") if since else "",
        until=moment(until, "--until") if until else "",
        types=frozenset(kind or ()),
        events=frozenset(event or ()),
        sources=frozenset(source or ()),
    )
    log = open_log(data)
    if dry_run:
        _count(log, selection, as_json=as_json)
        return
    target = Target(to, write_key, oauth_client_id, oauth_client_key, oauth_key_id, oauth_auth_server)
    client = target.client(
        max_retries=max_retries, max_in_flight=1 if in_order else 4, max_queue_events=QUEUE, overflow="block"
    )
    _send(Delivery(client, rate), log, selection, timeout, as_json=as_json)


def _send(delivery: Delivery, log: FileReader, selection: Selection, timeout: float, *, as_json: bool) -> None:
    began, begin = time.monotonic(), log.first()
    last = selection.since

    def feed() -> None:
        nonlocal last
        with output.progress("replaying", log.durable() - begin) as advance:
            for item in stored(log, selection):
                _hand_over(delivery, item)
                last = item.received_at or last
                advance(item.end - begin, str(delivery))
                if delivery.halted:
                    break

    delivery.run(feed, timeout)
    done = f"Delivered {delivery.delivered:,} events in {time.monotonic() - began:.1f} s."
    first: Stored | None = delivery.first_undecided()
    report(delivery, done, as_json=as_json, resume=f"--since {first.received_at if first else last}")


def _hand_over(delivery: Delivery, item: Stored) -> None:
    if item.fault:
        delivery.reject(item, item.fault)
        return
    try:
        event = item.original()
    except (msgspec.DecodeError, RecursionError) as exc:
        delivery.reject(item, f"unreadable: {exc}")
        return
    delivery.send(item, event)


def _count(log: FileReader, selection: Selection, *, as_json: bool) -> None:
    """What would be sent."""
    by_type: Counter[str] = Counter()
    unreadable = 0
    first = last = ""
    begin = log.first()
    with output.progress("counting", log.durable() - begin) as advance:
        for item in stored(log, selection):
            advance(item.end - begin, f"{by_type.total():,} events")
            if item.fault:
                unreadable += 1
                continue
            by_type[item.type] += 1
            first, last = first or item.received_at, item.received_at
    total = by_type.total()
    if as_json:
        output.print_json(
            {
                "events": total,
                "by_type": by_type,
                "first": first or None,
                "last": last or None,
                "unreadable": unreadable,
            }
        )
        return
    output.say(f"{total:,} events" + (f", received from {first} to {last}:" if total else ""))
    for name, number in by_type.most_common():
        output.say(f"  {number:>12,}  {output.printable(name)}")
    if unreadable:
        output.say(f"  {unreadable:>12,}  unreadable")
