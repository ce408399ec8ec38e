"""Invalid events: the log line that says which call made one, where it stands, and what to do."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from traceback import walk_stack
from typing import Any, cast

from .._logging import warn
from ..errors import InvalidEvent
from ..types import Event

__all__ = ["InvalidLog", "caller", "name_of"]

PACKAGE = __name__.partition(".")[0]
EVERY = 60.0
"""Seconds between two lines about the same place."""
PLACES = 256
"""Places that have lines of their own within a minute."""
NAME_LENGTH = 100


class InvalidLog:
    """Logs calls that could not become events: once a minute for each place in the application's code.

    Two threads at the same place may both write a line: a lock would have to survive signal handlers and forks.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when a line was written; calls since then

    def note(self, call: str, event: object, error: InvalidEvent, place: str, now: float) -> bool:
        """Log a call, or count it for the next line about its place. False: there is no room for one more place.

        Args:
            call: its public name, such as `Analytics.track`.
            event: the event's name, if it has one.
            error: what is wrong with it, and the remedy.
            place: where the call stands.
            now: seconds, of any clock that does not go back.
        """
        written, since = self._places.get(place, (now - EVERY, 0))
        if now < written + EVERY:
            self._places[place] = written, since + 1
            return True
        if place not in self._places and not self._make_room(now):
            return False
        self._places[place] = now, 0  # before the line: a log handler may make the same mistake
        self._places.move_to_end(place)
        name = f"{event[:NAME_LENGTH]!r}" if isinstance(event, str) else ""
        more = f" ({since:,} more since the last line)" if since else ""
        warn(f"{call}({name}) at {place} recorded nothing: {error}{more}")
        return True

    def _make_room(self, now: float) -> bool:
        """Forget the place whose line is the oldest, if that is over a minute old."""
        if len(self._places) < PLACES:
            return True
        oldest = next(iter(self._places))
        if now < self._places[oldest][0] + EVERY:
            return False
        del self._places[oldest]
        return True


def name_of(event: object) -> object:
    """Return the name in an event that may be anything: a whole one is a dict, those of the other calls have fields."""
    if type(event) is dict:
        return cast("Event", event).get("event")
    return getattr(event, "event", getattr(event, "name", None))


def caller() -> str:
    """Return the place of the first frame outside this package: file, line and function."""
    for frame, line in walk_stack(inspect.currentframe()):
        module: Any = frame.f_globals.get("__name__", "")
        if str(module).partition(".")[0] != PACKAGE:
            return f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
    return "an unknown place"
