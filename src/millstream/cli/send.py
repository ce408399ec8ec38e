"""`millstream send`: one event from options, or any number from standard input."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

import msgspec
import typer

from millstream._core.events.encode import decode
from millstream.spec import OBJECTS, TYPES
from millstream.types import Event

from . import options, output
from .delivery import QUEUE, Delivery
from .lines import Line, items
from .options import Target, option
from .report import report

MANY = "-"
_EVERY = {"user_id", "anonymous_id", "context", "integrations", "timestamp", "message_id"}
_TAKES: dict[str, set[str]] = {
    "identify": _EVERY | {"traits"},
    "track": _EVERY | {"event", "properties"},
    "page": _EVERY | {"name", "category", "properties"},
    "screen": _EVERY | {"name", "category", "properties"},
    "group": _EVERY | {"group_id", "traits"},
    "alias": _EVERY - {"anonymous_id"} | {"previous_id"},
    MANY: set(),
}
_NEEDS = {"track": ("event",), "group": ("group_id",), "alias": ("user_id", "previous_id")}


def _field(text: str, metavar: str) -> Any:
    return option(help=text, metavar=metavar, panel="Fields of one event")


def send(
    what: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help=f"{', '.join(TYPES)}; or - for whole events from standard input."),
    ] = None,
    kind: Annotated[str | None, option("--type", help="Event type, as an option.", metavar="TYPE")] = None,
    user_id: Annotated[str | None, _field("The user's id.", "ID")] = None,
    anonymous_id: Annotated[str | None, _field("An id for a user who is not known yet.", "ID")] = None,
    event: Annotated[str | None, _field('track: name of the event, such as "Order Completed".', "NAME")] = None,
    properties: Annotated[str | None, _field("track, page, screen: properties.", "JSON")] = None,
    traits: Annotated[str | None, _field("identify, group: traits.", "JSON")] = None,
    name: Annotated[str | None, _field("page, screen: name.", "NAME")] = None,
    category: Annotated[str | None, _field("page, screen: category.", "NAME")] = None,
    group_id: Annotated[str | None, _field("group: the group's id.", "ID")] = None,
    previous_id: Annotated[str | None, _field("alias: the user's previous id.", "ID")] = None,
    context: Annotated[str | None, _field("The event's context.", "JSON")] = None,
    integrations: Annotated[str | None, _field("The destinations of the event.", "JSON")] = None,
    timestamp: Annotated[str | None, _field("Time of the event (ISO 8601). Default: now.", "TIME")] = None,
    message_id: Annotated[str | None, _field("Id of the event. Default: a new one.", "ID")] = None,
    host: options.Host = None,
    write_key: options.WriteKey = None,
    timeout: options.Timeout = 60.0,
    max_retries: options.MaxRetries = 3,
    rate: options.Rate = None,
    in_order: options.InOrder = False,
    skip: Annotated[int, option(help="With -: lines to skip.", metavar="N", panel=options.HOW, min=0)] = 0,
    oauth_client_id: options.OAuthClientId = None,
    oauth_client_key: options.OAuthClientKey = None,
    oauth_key_id: options.OAuthKeyId = None,
    oauth_auth_server: options.OAuthAuthServer = None,
    as_json: options.AsJson = False,
) -> None:
    """Send one event from options, or any number from standard input.

    [bold]millstream send track --user-id u1 --event Paid --properties '{"total": 9.5}'[/]
    [bold]millstream send - < events.jsonl[/]

    Exit code: 0 if all events were delivered, 1 if not, 2 for wrong usage.
    """
    chosen = _kind(what, kind)
    fields = _fields(
        chosen,
        user_id=user_id, anonymous_id=anonymous_id, event=event, properties=properties, traits=traits, name=name,
        category=category, group_id=group_id, previous_id=previous_id, context=context, integrations=integrations,
        timestamp=timestamp, message_id=message_id,
    )  # fmt: skip
    target = Target(host, write_key, oauth_client_id, oauth_client_key, oauth_key_id, oauth_auth_server)
    client = target.client(
        max_retries=max_retries, max_in_flight=1 if in_order else 4, max_queue_events=QUEUE, overflow="block"
    )
    delivery = Delivery(client, rate)
    if chosen == MANY:
        _send_many(delivery, skip, timeout, as_json=as_json)
    else:
        _send_one(delivery, chosen, fields, timeout, as_json=as_json)


# -- one ------------------------------------------------------------------------------------------------


def _send_one(delivery: Delivery, kind: str, fields: Event, timeout: float, *, as_json: bool) -> None:
    record = partial(getattr(delivery.client, kind), **fields)
    delivery.run(lambda: delivery.submit(kind, record), timeout)
    if delivery.invalid:
        raise typer.BadParameter(_in_our_words(delivery.problems[0].error))
    name = fields.get("event") or fields.get("name") or fields.get("group_id") or ""
    report(delivery, f"Delivered: {kind} {output.printable(name)}".rstrip(), as_json=as_json)


def _kind(what: str | None, option: str | None) -> str:
    if what and option and what != option:
        raise typer.BadParameter(f"both {what} and --type {option}: pass one")
    chosen = what or option
    if chosen not in _TAKES:
        said = "missing event type" if chosen is None else f"{chosen!r} is not an event type"
        raise typer.BadParameter(f"{said}: {', '.join(TYPES)}, or - for whole events from standard input")
    return chosen


def _fields(kind: str, **given: str | None) -> Event:
    """Parse the given fields: JSON where they are objects."""
    fields: Event = {name: value for name, value in given.items() if value is not None}
    for name in fields:
        if name not in _TAKES[kind]:
            why = "whole events have their own fields" if kind == MANY else f"{kind} has no such field"
            raise typer.BadParameter(f"{_option(name)}: {why}")
        if name in OBJECTS:
            fields[name] = _object(name, fields[name])
    for name in _NEEDS.get(kind, ()):
        if name not in fields:
            raise typer.BadParameter(f"{kind} needs {_option(name)}")
    return fields


def _object(name: str, text: str) -> Event:
    try:
        value: Any = decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as exc:
        raise typer.BadParameter(f"{_option(name)} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise typer.BadParameter(f'{_option(name)} must be a JSON object, such as \'{{"plan": "pro"}}\'')
    return cast("Event", value)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _in_our_words(message: str) -> str:
    """Replace the library's names of arguments by the command's options."""
    return re.sub(r"\b(user|anonymous|group|previous|message)_id\b", lambda name: _option(name[0]), message)


# -- many -----------------------------------------------------------------------------------------------


def _send_many(delivery: Delivery, skip: int, timeout: float, *, as_json: bool) -> None:
    stream = sys.stdin.buffer
    if stream.isatty():
        output.note("Reading events from the terminal, one a line; Ctrl-D ends.")
    began = time.monotonic()
    last = skip

    def feed() -> None:
        nonlocal last
        with output.progress("sending", _size(stream)) as advance:
            try:
                for item in items(stream, skip=skip):
                    _hand_over(delivery, item)
                    last = item.number
                    advance(item.end, str(delivery))
                    if delivery.halted:
                        break
            except OSError as error:
                delivery.reject("standard input", f"unreadable: {error.strerror}")

    delivery.run(feed, timeout)
    done = f"Delivered {delivery.delivered:,} events in {time.monotonic() - began:.1f} s."
    first: Line | None = delivery.first_undecided()
    report(delivery, done, as_json=as_json, resume=f"--skip {first.number - 1 if first else last}")


def _hand_over(delivery: Delivery, item: Line) -> None:
    if item.event is None:
        delivery.reject(item, item.fault)
    else:
        delivery.send(item, item.event)


def _size(stream: BinaryIO) -> int | None:
    """The size of the input, if it is a file."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
