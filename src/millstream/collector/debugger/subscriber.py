"""What one watcher is told, as server-sent events, and in which portions. It never waits."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .rows import Filter, Row

if TYPE_CHECKING:
    from ..feed import Feed

PORTION = 500
"""Events that are looked at in one go: a millisecond or so, in which the collector does nothing else."""
AT_ONCE = 2000
"""Rows that a watcher gets at a time, ten times a second: more is of no use to eyes, and this much freezes no tab."""
TOO_FAR = 5000
"""So many events behind, a watcher skips to the present."""
_DIGITS = 19
"""No number of a message has so many; Python would not read one of some thousands."""

_encode = msgspec.json.Encoder().encode


class Subscriber:
    """Follows a feed for one watcher, who sees first what is remembered, then what comes.

    Args:
        feed: which one.
        wanted: what the watcher wants to see.
        whole: whether each row brings its event.
        after: the id of the last message that the watcher had, where it had one: what came since then follows.
        last: look back on so many events; None is all that are remembered.
        complete: whether nothing is skipped that is still remembered, however far behind the watcher is.
    """

    def __init__(
        self,
        feed: Feed,
        wanted: Filter | None = None,
        *,
        whole: bool = False,
        after: str = "",
        last: int | None = None,
        complete: bool = False,
    ) -> None:
        self.complete = complete
        self._feed = feed
        self._wanted = wanted or Filter()
        self._whole = whole
        since = feed.last - feed.size if last is None else feed.last - last
        boot, _, number = after.partition("-")
        if boot == BOOT and number.isdecimal() and len(number) < _DIGITS:
            since = int(number)
        elif after:  # from before this process was started: all is new
            since = 0
        self._at = min(max(since, feed.first - 1), feed.last)
        self._skipped = max(self._at - since, 0) if after else 0
        self._present = feed.last
        """Up to here it is history, and nothing of it is skipped."""
        self._told = 0

    @property
    def behind(self) -> bool:
        """Whether there is something to look at."""
        return self._at < self._feed.last

    @property
    def in_the_past(self) -> bool:
        """Whether it still tells what came before it was there, in which nothing has to be waited for."""
        return self._at < self._present

    def hello(self) -> bytes:
        """The first message: where the watcher is."""
        return _message("hello", {"boot": BOOT, "first": self._feed.first, "last": self._feed.last})

    def portion(self) -> tuple[bytes, int]:
        """The next message, empty where nothing was wanted, and how many rows it has."""
        self._keep_up()
        rows: list[Row] = []
        for looked_at, entry in enumerate(self._feed.entries(self._at)):
            if looked_at == PORTION:
                break
            self._at = entry.id
            if row := self._wanted.keep(entry, whole=self._whole):
                rows.append(row)
        if not rows and not self._skipped:
            return b"", 0
        message = _message("rows", {"rows": rows, "skipped": self._skipped}, f"{BOOT}-{self._at}")
        self._skipped = 0
        return message, len(rows)

    def stats(self, now: float) -> bytes:
        """A message with the counts at `now`: all seconds that are remembered, later those that may have changed."""
        snapshot = self._feed.tally.snapshot(self._told)
        self._told = int(now) - 2
        return _message("stats", {"at": int(now), **snapshot})

    def _keep_up(self) -> None:
        """Leave out what is no longer there, and what cannot be caught up with."""
        forgotten = self._feed.first - 1
        if not (self.complete or self.in_the_past) and self._feed.last - self._at > TOO_FAR:
            forgotten = max(forgotten, self._feed.last - AT_ONCE)
        if forgotten > self._at:
            self._skipped += forgotten - self._at
            self._at = forgotten


BOOT = secrets.token_hex(4)
"""Names this process: after another start, the numbers begin again."""


def _message(name: str, data: dict[str, Any], message_id: str = "") -> bytes:
    """One server-sent event. JSON has no line break in it, so one `data` line holds it."""
    told = f"id: {message_id}\n" if message_id else ""
    return b"%bevent: %b\ndata: %b\n\n" % (told.encode(), name.encode(), _encode(data))
