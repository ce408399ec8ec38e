"""The stream of one watcher as server-sent events, in portions. It never waits."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .rows import Row, RowFilter

if TYPE_CHECKING:
    from ..feed import Feed

PORTION = 500
"""Events examined at a time: about a millisecond, in which the collector does nothing else."""
AT_ONCE = 2000
"""Rows per message, at most: more than anyone can read, few enough for the browser."""
TOO_FAR = 5000
"""A watcher that is further behind, in events, skips to the present."""
_DIGITS = 19
"""Digits of a message's number, at most: Python refuses to parse thousands."""

_encode = msgspec.json.Encoder().encode


class Subscriber:
    """Follows a feed for one watcher: first the remembered events, then new ones.

    Args:
        feed: the feed to follow.
        wanted: the watcher's filter.
        whole: whether each row includes its event.
        after: the id of the watcher's last message, if any: the stream resumes there.
        last: the number of past events to send; None is all that are remembered.
        complete: never skip a remembered event, however far behind the watcher is.
    """

    def __init__(
        self,
        feed: Feed,
        wanted: RowFilter | None = None,
        *,
        whole: bool = False,
        after: str = "",
        last: int | None = None,
        complete: bool = False,
    ) -> None:
        self.complete = complete
        self._feed = feed
        self._wanted = wanted or RowFilter()
        self._whole = whole
        since = feed.last - feed.size if last is None else feed.last - last
        boot, _, number = after.partition("-")
        if boot == BOOT and number.isdecimal() and len(number) < _DIGITS:
            since = int(number)
        elif after:  # from a previous process: all events are new
            since = 0
        self._at = min(max(since, feed.first - 1), feed.last)
        self._skipped = max(self._at - since, 0) if after else 0
        self._present = feed.last
        """The last number of the history, of which nothing is skipped."""
        self._told = 0

    @property
    def behind(self) -> bool:
        """Whether there are events to examine."""
        return self._at < self._feed.last

    @property
    def in_the_past(self) -> bool:
        """Whether the stream is still in the history, where nothing has to be waited for."""
        return self._at < self._present

    def hello(self) -> bytes:
        """The first message: where the watcher is."""
        return _message("hello", {"boot": BOOT, "first": self._feed.first, "last": self._feed.last})

    def portion(self) -> tuple[bytes, int]:
        """The next message, empty if the filter excludes all, and its number of rows."""
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
        """A message with the counts at `now`: at first all seconds, later those that may have changed."""
        snapshot = self._feed.tally.snapshot(self._told)
        self._told = int(now) - 2
        return _message("stats", {"at": int(now), **snapshot})

    def _keep_up(self) -> None:
        """Skip events that are no longer remembered, or too far behind."""
        forgotten = self._feed.first - 1
        if not (self.complete or self.in_the_past) and self._feed.last - self._at > TOO_FAR:
            forgotten = max(forgotten, self._feed.last - AT_ONCE)
        if forgotten > self._at:
            self._skipped += forgotten - self._at
            self._at = forgotten


BOOT = secrets.token_hex(4)
"""Identifies this process: after a restart, numbers start over."""


def _message(name: str, data: dict[str, Any], message_id: str = "") -> bytes:
    """Make a server-sent event. JSON has no line breaks, so one `data` line holds it."""
    told = f"id: {message_id}\n" if message_id else ""
    return b"%bevent: %b\ndata: %b\n\n" % (told.encode(), name.encode(), _encode(data))
