"""The state of a route as other processes see it: a file that its router writes, and the page and commands read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .._public import publish
from ..log.files import entries, force_data, make_directory, open_file, read_file
from ..log.holds import file_name

__all__ = ["Counters", "RouteStatus", "StatusFile", "statuses"]

FOLDER = "routes"
STALE = 10.0
"""Seconds after which a status that was not written again is that of a router which is gone."""


NOTABLE = 500
"""Events of which a state tells what became of them, if they were not delivered at once."""


class Counters(Struct, rename="camel"):
    """What became of events, since the route was made."""

    delivered: int = 0
    retried: int = 0
    """Requests after the first attempt."""
    requests: int = 0
    dropped: dict[str, int] = {}
    """By reason: filters, integrations, and what a destination has no use for."""
    dead: int = 0
    dead_lost: int = 0
    """Dead letters that made room for newer ones."""


class RouteStatus(Struct, rename="camel", omit_defaults=True):
    """One route, at one moment. Times are seconds since the epoch."""

    name: str
    type: str
    state: str
    """`running`, `retrying`, `limited`, `paused`, `blocked`, `fenced` or `stopped`."""
    pid: int = 0
    updated_at: float = 0.0
    since: float = 0.0
    """When it has come into this state."""
    position: int = 0
    end: int = 0
    """Of the log: what is between the two is still to be settled."""
    lag_events: int = 0
    """Those events, estimated by the size of others."""
    lag_seconds: float = 0.0
    """How long the oldest of them has waited."""
    rate: float = 0.0
    """Events per second that were settled in the last seconds."""
    pending: int = 0
    """Events in memory."""
    in_flight: int = 0
    counters: Counters = msgspec.field(default_factory=Counters)
    last_error: str = ""
    last_error_at: float = 0.0
    lost: int = 0
    """Events that retention has deleted before they were sent."""
    fallback: str = ""
    """Why it did not go on where its cursor was."""
    recent: list[tuple[int, str, str]] = []
    """The last events that were not delivered at once: position, id, and what became of each."""

    violations: dict[str, int] = {}
    """Of tracking plans, by kind, since its router has started."""

    def as_of(self, now: float) -> RouteStatus:
        """Return the same; `stopped` if its router has not written it for a while."""
        if self.state == "stopped" or now - self.updated_at < STALE:
            return self
        return msgspec.structs.replace(self, state="stopped", since=self.updated_at, rate=0.0, in_flight=0)


class StatusFile:
    """The status of one route, in a log's directory."""

    def __init__(self, directory: Path, route: str) -> None:
        self._path = directory / FOLDER / f"{file_name(route)}.json"

    def read(self) -> RouteStatus | None:
        """Return the status; None if there is none that can be read."""
        return _read(self._path)

    def write(self, status: RouteStatus) -> None:
        """Replace the status. Raises OSError."""
        make_directory(self._path.parent)
        new = self._path.with_suffix(".new")
        with os.fdopen(open_file(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(msgspec.json.encode(status))
            file.flush()
        new.rename(self._path)

    def write_durably(self, status: RouteStatus) -> None:
        """Replace the status, and force it to the disk itself. Raises OSError."""
        self.write(status)
        file = open_file(self._path, os.O_RDONLY)
        try:
            force_data(file)
        finally:
            os.close(file)

    def remove(self) -> None:
        """Remove it: the route is no longer configured. Raises OSError."""
        self._path.unlink(missing_ok=True)


def statuses(directory: Path, now: float) -> list[RouteStatus]:
    """Return the status of each route of a log, as of `now` (seconds since the epoch), by name."""
    found = [_read(path) for path in entries(directory / FOLDER) if path.suffix == ".json"]
    return sorted((each.as_of(now) for each in found if each is not None), key=lambda each: each.name)


_decode = msgspec.json.Decoder(RouteStatus).decode


def _read(path: Path) -> RouteStatus | None:
    try:
        return _decode(read_file(path))
    except (OSError, msgspec.DecodeError, ValueError):
        return None


def as_json(status: RouteStatus) -> dict[str, Any]:
    """Return a status for programs: every field is there."""
    return {
        field: getattr(status, name)
        for name, field in zip(status.__struct_fields__, status.__struct_encode_fields__, strict=True)
    }


publish("millstream.router", Counters, RouteStatus, statuses)
