"""Where a route begins: at its cursor, or where its configuration says when it is new."""

from __future__ import annotations

from pathlib import Path

from .._core.cursor import Cursor
from .._core.record import Position
from ..log import CursorStore, FileReader, Resumed, resume
from .configuration import RouteSettings
from .prepare import head_of

__all__ = ["begin", "position_at"]


def begin(settings: RouteSettings, reader: FileReader, cursors: CursorStore) -> tuple[Resumed, int]:
    """Return where a route goes on, and the revision of its cursor. A new route is stored at once.

    Stored, so that `now` is once and for all: events that come before its first delivery are its own after a restart.

    Raises:
        OSError: the log or the cursor cannot be read or written.
        Fenced: another router has begun it at the same moment.
    """
    found = cursors.load(settings.name, "0")
    stored, revision = found or (None, 0)
    start = None if stored is not None else start_of(settings.start, reader)
    resumed = resume(reader, settings.name, stored, start=start)
    if stored is None:
        revision = cursors.save(settings.name, "0", Cursor(resumed.cursor.low), revision)
    reader.hold(settings.name, resumed.cursor.low)
    return resumed, revision


def begin_all(routes: list[RouteSettings], directory: Path, cursors: CursorStore) -> None:
    """Begin every route that is new: what the log takes from now on is theirs. Raises OSError and Fenced."""
    for settings in routes:
        reader = FileReader(directory)
        try:
            if cursors.load(settings.name, "0") is None and reader.held(settings.name) is None:
                begin(settings, reader, cursors)
        finally:
            reader.close()


def start_of(start: str, reader: FileReader) -> Position | None:
    """Return the position that `now`, `beginning` or a time stands for; None is the oldest record."""
    if start == "now":
        return reader.durable()
    return None if start == "beginning" else position_at(reader, start)


def position_at(reader: FileReader, moment: str) -> Position:
    """Return the position of the first record that was received at a moment, or later."""
    bases = [segment.base for segment in reader.segments()]
    at = bases[0] if bases else reader.durable()
    for base in bases:
        records, _ = reader.read(base, 1, 1)
        if not records or head_of(records[0].data).received_at >= moment:
            break
        at = base
    while True:
        records, end = reader.read(at, 1_000, 1 << 20)
        for record in records:
            if head_of(record.data).received_at >= moment:
                return record.start
        if end == at:
            return at
        at = end
