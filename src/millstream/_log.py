"""The log: logger `millstream`, no handler of ours, and never more than one summary line a minute."""

from __future__ import annotations

import logging
from collections import Counter

from .errors import Abandoned, AuthError, PluginError, Rejected, RetriesExhausted, TransportError
from .types import ErrorEvent

__all__ = ["Summary", "label", "logger"]

logger = logging.getLogger("millstream")
EVERY = 60.0


class Summary:
    """Counts what went wrong, and says so in one line: at once the first time, then once a minute at most.

    The line holds kinds and numbers, never an event's content, a key, or a server's words (which may quote both).
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._next: float | None = None  # when the next line may be written; None: at once
        self._hushed = False

    def count(self, what: str, number: int, now: float) -> None:
        """`number` more of `what`."""
        self._counts[what] += number
        self.tick(now)

    def fault(self, event: ErrorEvent, now: float) -> None:
        """User code raised where nobody could catch it."""
        self.count(f"{event.code}: {label(event.reason)}", 1, now)

    def due_at(self) -> float | None:
        """When something counted may be said; None if there is nothing to say."""
        return self._next if self._counts else None

    def tick(self, now: float, *, last: bool = False) -> None:
        """Say what there is to say, if it is time, or the last time."""
        if not self._counts or self._hushed or (self._next is not None and now < self._next and not last):
            return
        self._next = now + EVERY  # before the line: a log handler may record events, and come back here
        logger.warning("%s (listen to 'error' for each of them)", self._take())

    def hush(self) -> None:
        """Say nothing until `last_words`, which say it all in one line."""
        self._hushed = True

    def last_words(self, said: str = "", advice: str = "") -> None:
        """What there is to say at the end of the process, and all that has been counted, in one line; or nothing."""
        self._hushed = False
        told = self._take()
        if said:
            logger.warning("%s (%s)%s", said, told or "no outcome yet", advice)
        elif told:
            logger.warning("%s", told)

    def _take(self) -> str:
        counts, self._counts = self._counts, Counter()
        return ", ".join(f"{number:,} × {what}" for what, number in counts.most_common())


def label(error: BaseException) -> str:
    """An error in a few words of our own: its kind, and what tells one of a kind from another."""
    match error:
        case Rejected(status=int(status)) | AuthError(status=int(status)):
            return f"{type(error).__name__} [{status}]"
        case RetriesExhausted(last=last):
            return f"RetriesExhausted ({label(last)})"
        case PluginError(plugin=plugin):
            return f"PluginError in {plugin!r}"
        case Abandoned(spooled=spooled):
            cause = error.__cause__
            return f"Abandoned{'' if cause is None else f' after {label(cause)}'}{' (in the spool)' if spooled else ''}"
        case TransportError() if error.__cause__ is not None:
            return f"TransportError ({type(error.__cause__).__name__})"
        case _:
            return type(error).__name__
