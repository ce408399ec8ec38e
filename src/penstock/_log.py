"""The log: logger `penstock`, no handler of ours, and never more than one summary line a minute."""

from __future__ import annotations

import logging
from collections import Counter

from .types import ErrorEvent

__all__ = ["Summary", "logger"]

logger = logging.getLogger("penstock")
EVERY = 60.0


class Summary:
    """Counts what went wrong, and says so in one line: at once the first time, then once a minute at most.

    The line holds kinds and numbers, never an event's content or a key.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._next: float | None = None  # when the next line may be written; None: at once

    def count(self, what: str, number: int, now: float) -> None:
        """`number` more of `what`."""
        self._counts[what] += number
        self.tick(now)

    def fault(self, event: ErrorEvent, now: float) -> None:
        """A listener, callback or plugin raised."""
        self.count(f"{event.code} raised {type(event.reason).__name__}", 1, now)

    def due_at(self) -> float | None:
        """When something counted may be said; None if there is nothing to say."""
        return self._next if self._counts else None

    def tick(self, now: float, *, last: bool = False) -> None:
        """Say what there is to say, if it is time, or the last time."""
        if not self._counts or (self._next is not None and now < self._next and not last):
            return
        told = ", ".join(f"{number:,} × {what}" for what, number in self._counts.most_common())
        logger.warning("%s (listen to 'error' for each of them)", told)
        self._counts.clear()
        self._next = now + EVERY
