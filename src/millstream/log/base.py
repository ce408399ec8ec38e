"""What a log is to those who write, read and follow it: a directory, memory, or a broker behind one protocol.

log = FileLog(directory)                       one process appends
log.append(lines, done)                        done(position), once they are durable; or done(error)

reader = FileReader(directory)                 any number of processes read
records, end = reader.read(start, 500, 1 << 20)
reader.wait(end, until=monotonic() + 1.0)

cursors = FileCursorStore(directory)           each reader says how far it has come
revision = cursors.save(route, "0", progress.cursor, revision)
reader.hold(route, progress.low)               retention asks for it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from .._core.cursor import Cursor
from .._core.record import Position, Record

__all__ = ["CursorStore", "Done", "Log", "Reader"]

Done: TypeAlias = Callable[[Position | BaseException], object]
"""Called with the position of what was appended, once it is kept; or with the error because of which it is not."""


class Log(Protocol):
    """Keeps records, in the order in which they came. One event loop uses it."""

    def append(self, lines: bytes, done: Done) -> None:
        """Append records, and call `done` when they are kept, and all that came before.

        Args:
            lines: whole records, each with a newline at its end. Without any, only wait for those before.
            done: called at once or later, on the event loop. When appending fails none of the records is kept, nor any
                that was appended since; each of them is reported before anything new is appended.
        """

    def partitions(self) -> Sequence[str]:
        """Return the names of the parts that are ordered in themselves."""
        ...

    def reader(self, partition: str) -> Reader:
        """Return a reader of one partition."""
        ...

    def close(self) -> None:
        """Write what is under way, and release the log."""


class Reader(Protocol):
    """Reads one partition of a log, never past what is durable. For one thread; blocking I/O.

    `corrupt` counts the records that could not be read and were left out; `missing` the positions that the log no
    longer has, and that were skipped.
    """

    corrupt: int
    missing: int

    def first(self) -> Position:
        """Return the position of the oldest record; where the next one will be, if there is none."""
        ...

    def durable(self) -> Position:
        """Return the end of what survives a loss of power: nothing is read from there on."""
        ...

    def checkpoint(self, position: Position) -> Position:
        """Return the last position, up to this one, where a record is certain to begin: a segment's first."""
        ...

    def read(self, start: Position, max_events: int, max_bytes: int) -> tuple[Sequence[Record], Position]:
        """Return the next records, and where to read on.

        The records leave no position out: the first begins at `start`, each at the end of the one before it, and the
        last ends where to read on. With no records, and a position beyond `start`, there is nothing in between that
        can be read. At least one record is returned, however large, where there is one.

        Raises:
            OSError: the log cannot be read at present.
        """
        ...

    def wait(self, start: Position, until: float) -> bool:
        """Wait for something to read at `start`, until a moment (time.monotonic). Returns whether there is."""
        ...

    def hold(self, route: str, position: Position) -> None:
        """Have retention keep what is there from a position on: the route has yet to read it.

        Raises:
            OSError: it could not be noted.
        """

    def held(self, route: str) -> Position | None:
        """Return the position that a route holds; None if it holds nothing."""
        ...

    def release(self, route: str) -> None:
        """Forget a route: retention need not wait for it any longer.

        Raises:
            OSError: it could not be forgotten.
        """

    def lost(self, route: str) -> int:
        """Return how many records retention has deleted, since the route holds any, that the route had yet to read."""
        ...

    def close(self) -> None:
        """Release the files or connections. Holds stay."""


class CursorStore(Protocol):
    """Stores the cursors of routes, beside a log.

    Each save names the revision that it replaces. So of two routers that have loaded the same cursor, the second one
    to save learns that the route is not its own.
    """

    def load(self, route: str, partition: str) -> tuple[Cursor, int] | None:
        """Return a route's cursor and its revision; None if there is none that can be read.

        Raises:
            OSError: the store cannot be read.
        """
        ...

    def save(self, route: str, partition: str, cursor: Cursor, revision: int) -> int:
        """Store a cursor in place of the one with this revision (0: of none). Returns the new revision.

        It survives the death of this process, and within `sync_interval` seconds a loss of power.

        Raises:
            Fenced: another process has saved one meanwhile.
            OSError: it could not be stored.
        """
        ...

    def close(self) -> None:
        """Force what is saved to the disk itself, and release the store."""
