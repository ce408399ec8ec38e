"""Previews: the requests that events become, without sending them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .._core.delivery.verdicts import Refused
from .._core.routing import options
from .._public import publish
from ..types import Request
from .base import Destination, Event, Part, Skip

__all__ = ["preview", "requests_of"]


def preview(
    destination: Destination, event: Event | Mapping[str, Any] | bytes, now: float | None = None
) -> list[Request]:
    """Return what a destination would be sent for one event, without sending it.

    Args:
        destination: any; it may be of your own.
        event: as the Tracking API knows it: a dict with camelCase keys, its JSON, or an Event.
        now: seconds since the epoch; by default the time of the call.

    Returns:
        The requests, with their secrets in clear: see `masked`. None if the destination has no use for the event.

    Raises:
        Rejected: the destination refuses the event.
    """
    if not isinstance(event, Event):
        event = Event(event if isinstance(event, bytes) else msgspec.json.encode(event))
    prepared = destination.prepare(event, options(destination, event.integrations))
    match prepared:
        case Skip():
            return []
        case Refused(error):
            raise error
        case _:
            return list(requests_of(destination, prepared, time.time() if now is None else now))


def requests_of(destination: Destination, parts: Iterable[Part], now: float) -> Iterable[Request]:
    """Return requests for parts: the parts of one key share as many as its limits ask for, in order."""
    keys: dict[str, list[Part]] = {}
    for part in parts:
        keys.setdefault(part.key, []).append(part)
    limits = destination.limits
    for alike in keys.values():
        batch: list[Part] = []
        room = limits.max_bytes - limits.overhead + 1  # the last part needs no comma
        for part in alike:
            size = len(part.data) + 1
            if batch and (size > room or len(batch) == limits.max_events):
                yield destination.request(batch, 1, now)
                batch, room = [], limits.max_bytes - limits.overhead + 1
            batch.append(part)
            room -= size
        yield destination.request(batch, 1, now)


publish("millstream.destinations", preview)
