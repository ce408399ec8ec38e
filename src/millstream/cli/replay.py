"""`millstream replay`: sends a collector's stored events to any Tracking API, with their ids."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from millstream.errors import SettingsError
from millstream.log import FileReader

from . import options, output
from .configured import Config, configuration_of, data_of
from .delivery import QUEUE, Delivery
from .options import Target, option
from .report import report
from .stored import Selection, Stored, moment, open_log, stored

if TYPE_CHECKING:
    from millstream.router import Configuration, RouteStatus

_WHICH = "Which events"


def replay(
    to: Annotated[
        str,
        option(
            help="Base URL of the receiving Tracking API, or the name of a destination in --config.",
            metavar="URL|NAME",
            panel=options.WHERE,
        ),
    ],
    config: Config = None,
    write_key: options.WriteKey = None,
    data: Annotated[
        Path | None,
        option(
            help="The collector's directory. Default: the configuration's, or millstream-data.",
            metavar="DIR",
            panel=_WHICH,
        ),
    ] = None,
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
    """Send a collector's stored events to any Tracking API, or to one of its own destinations.

    [bold]millstream replay --to https://api.segment.io --since 2h --dry-run[/]

    [bold]millstream replay --to product --config collector.toml --since 2h[/]

    Events keep their ids and times, so that a receiver that deduplicates stores each once, however often this runs. The
    collector may be running. A destination gets what its integrations and filters allow, and no other gets anything;
    what it does not take becomes a dead letter.

    Exit code: 0 if all events were delivered, 1 if not, 2 for wrong usage.
    """
    selection = Selection(
        since=moment(since, "--since") if since else "",
        until=moment(until, "--until") if until else "",
        types=frozenset(kind or ()),
        events=frozenset(event or ()),
        sources=frozenset(source or ()),
    )
    configuration = None if config is None else configuration_of(config)
    directory = data_of(data, configuration)
    log = open_log(directory)
    if dry_run:
        _count(log, selection, as_json=as_json)
        return
    if "://" not in to:
        _resend(to, configuration_of(config), directory, log, selection, as_json=as_json)
        return
    target = Target(to, write_key, oauth_client_id, oauth_client_key, oauth_key_id, oauth_auth_server)
    client = target.client(
        max_retries=max_retries, max_in_flight=1 if in_order else 4, max_queue_events=QUEUE, overflow="block"
    )
    _send(Delivery(client, rate), log, selection, timeout, as_json=as_json)


def _resend(
    name: str, configuration: Configuration, directory: Path, log: FileReader, selection: Selection, *, as_json: bool
) -> None:
    """Send them to a destination of the configuration."""
    from millstream.router.resend import resend  # noqa: PLC0415 - other replays need no router

    if name not in configuration.routes:
        known = ", ".join(configuration.routes) or "none"
        raise SettingsError(f"--to {name!r} is no URL, and the configuration has no such destination; it has {known}")
    began, begin, end = time.monotonic(), log.first(), log.durable()
    with output.progress("replaying", end - begin) as advance:

        def watch(status: RouteStatus) -> bool:
            advance(status.position - begin, f"{status.counters.delivered:,} events; {status.last_error[:60]}")
            return status.state != "paused"

        found = resend(configuration.routes[name], directory, begin, end, selection.wants, watch)
    counters = found.counters
    dropped = sum(counters.dropped.values())
    if as_json:
        output.print_json(
            {"delivered": counters.delivered, "dropped": dropped, "dead": counters.dead, "error": found.last_error}
        )
    else:
        output.say(f"Delivered {counters.delivered:,} events to {name} in {time.monotonic() - began:.1f} s.")
        if dropped:
            output.say(f"{dropped:,} were not for it.")
        if counters.dead or found.state == "paused":
            output.say(f"{counters.dead:,} are dead letters. {output.printable(found.last_error)}", "red")
    if counters.dead or found.state == "paused":
        raise typer.Exit(1)


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
