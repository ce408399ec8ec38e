"""Where a route goes on after a start: at its cursor, if the log is the one that the cursor was stored for."""

from __future__ import annotations

import logging
from typing import NamedTuple

from .._core.cursor import Cursor
from .._core.record import Position
from .base import Reader

__all__ = ["Resumed", "resume"]

_log = logging.getLogger("millstream")


class Resumed(NamedTuple):
    """Where to go on. `fallback` says why it is not where the stored cursor was; empty: it is."""

    cursor: Cursor
    fallback: str = ""


def resume(reader: Reader, route: str, stored: Cursor | None, *, start: Position | None = None) -> Resumed:
    """Return the cursor to go on with. One that does not fit the log falls back to where nothing is left out.

    Sending again is chosen over leaving out: events keep their ids, by which receivers tell them.

    Args:
        reader: of the log.
        route: whose cursor it is.
        stored: what the cursor store has; None if it has nothing, or nothing that can be read.
        start: where a route begins that the log does not know; None is at the oldest record.
    """
    first, end = reader.first(), reader.durable()
    if stored is None:
        held = reader.held(route)
        if held is None:
            return Resumed(Cursor(first if start is None else start))
        return _fallen_back(reader, route, held, "its cursor is missing")
    if stored.low > end:
        return _fallen_back(reader, route, end, f"its cursor is at {stored.low}, ahead of the log, which ends at {end}")
    mark = stored.mark
    if mark is not None and mark.start >= first:
        records, _ = reader.read(mark.start, 1, 1)
        if not records or not mark.matches(records[0]):
            why = f"the log has another record at {mark.start} than the one that its cursor was stored after"
            return _fallen_back(reader, route, stored.low, why)
    return Resumed(stored)


def _fallen_back(reader: Reader, route: str, position: Position, why: str) -> Resumed:
    to = max(reader.first(), reader.checkpoint(position))
    _log.warning("%s goes on at position %d, and events may be sent again: %s", route, to, why)
    return Resumed(Cursor(to), why)
