"""A log and a cursor store in memory: what a test has in place of a directory. A position is a record's number."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition

from .._clock import monotonic
from .._core.cursor import Cursor
from .._core.record import Position, Record, valid
from ..errors import Fenced
from .base import Done

__all__ = ["MemoryCursorStore", "MemoryLog", "MemoryReader"]


class MemoryLog:
    """Keeps records in a list. Readers in other threads see them as soon as they are appended.

    Args:
        max_records: the oldest are deleted when there are more, also under a reader; None is never.
    """

    def __init__(self, *, max_records: int | None = None) -> None:
        self.records: list[bytes] = []
        self.base = 0
        """The position of the oldest record."""
        self.holds: dict[str, Position] = {}
        self.losses: dict[str, int] = {}
        self.more = Condition()
        self._max_records = max_records

    @property
    def end(self) -> Position:
        """Where the next record will be."""
        return self.base + len(self.records)

    def append(self, lines: bytes, done: Done) -> None:
        """Append records, and call `done` at once."""
        with self.more:
            start = self.end
            self.records += lines.splitlines()
            if self._max_records is not None:
                self._delete(len(self.records) - self._max_records)
            self.more.notify_all()
        done(start)

    def partitions(self) -> Sequence[str]:
        """Memory is one sequence."""
        return ("0",)

    def reader(self, partition: str = "0") -> MemoryReader:
        """Return a reader."""
        if partition != "0":
            raise ValueError(f"partition must be '0', not {partition!r}: memory is one sequence")
        return MemoryReader(self)

    def close(self) -> None:
        """Keep everything, for the next reader."""

    def _delete(self, count: int) -> None:
        if count <= 0:
            return
        end = self.base + count
        for route, position in self.holds.items():
            lost = end - max(self.base, position)
            if lost > 0:
                self.losses[route] = self.losses.get(route, 0) + lost
        del self.records[:count]
        self.base = end


class MemoryReader:
    """Reads a log in memory."""

    def __init__(self, log: MemoryLog) -> None:
        self.corrupt = 0
        self.missing = 0
        self._log = log
        self._counted = 0

    def first(self) -> Position:
        """Return the position of the oldest record; where the next one will be, if there is none."""
        return self._log.base

    def durable(self) -> Position:
        """Return the end: all of it is as durable as this process."""
        return self._log.end

    def checkpoint(self, position: Position) -> Position:
        """Return the position itself: a record begins at each."""
        return min(max(position, self.first()), self.durable())

    def read(self, start: Position, max_events: int, max_bytes: int) -> tuple[Sequence[Record], Position]:
        """Return the next records, and where to read on: see `Reader.read`."""
        found: list[Record] = []
        size, covered = 0, start
        with self._log.more:
            at = max(start, self._log.base)
            if at > max(start, self._counted):
                self.missing += at - max(start, self._counted)
                self._counted = at
            while at < self._log.end and len(found) < max_events and size < max_bytes:
                data = self._log.records[at - self._log.base]
                at += 1
                if valid(data):
                    found.append(Record(covered, at, data))
                    covered = at
                    size += len(data)
                elif at > self._counted:
                    self.corrupt += 1
                    self._counted = at
        return found, covered if found else at

    def wait(self, start: Position, until: float) -> bool:
        """Wait for something to read at `start`, until a moment (time.monotonic). Returns whether there is."""
        with self._log.more:
            return self._log.more.wait_for(lambda: self._log.end > start, until - monotonic())

    def hold(self, route: str, position: Position) -> None:
        """Have retention count what it deletes from a position on."""
        self._log.holds[route] = position

    def held(self, route: str) -> Position | None:
        """Return the position that a route holds; None if it holds nothing."""
        return self._log.holds.get(route)

    def release(self, route: str) -> None:
        """Forget a route."""
        self._log.holds.pop(route, None)
        self._log.losses.pop(route, None)

    def lost(self, route: str) -> int:
        """Return how many records were deleted that the route had yet to read."""
        return self._log.losses.get(route, 0)

    def close(self) -> None:
        """Keep everything."""


class MemoryCursorStore:
    """Stores cursors in a dict; share it between routers of one test, so that the second is fenced."""

    def __init__(self) -> None:
        self._cursors: dict[tuple[str, str], tuple[Cursor, int]] = {}

    def load(self, route: str, partition: str) -> tuple[Cursor, int] | None:
        """Return a route's cursor and its revision; None if there is none."""
        return self._cursors.get((route, partition))

    def save(self, route: str, partition: str, cursor: Cursor, revision: int) -> int:
        """Store a cursor in place of the one with this revision (0: of none). Returns the new revision."""
        _, known = self._cursors.get((route, partition), (None, 0))
        if known != revision:
            raise fenced(route, partition, revision, known)
        self._cursors[route, partition] = cursor, revision + 1
        return revision + 1

    def close(self) -> None:
        """Keep everything."""


def fenced(route: str, partition: str, revision: int, found: int) -> Fenced:
    """Return the error for a cursor that has another revision than the one to be replaced."""
    return Fenced(
        f"the cursor of {route}, partition {partition}, has revision {found}, not {revision}: another router has moved "
        "it. Run one router for a destination."
    )
