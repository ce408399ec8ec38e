"""The log: logger `millstream`, without a handler, with at most one summary line a minute."""

from __future__ import annotations

import logging
import os
import select
import sys
from _thread import RLock  # see _delivery/worker.py
from collections import Counter
from collections.abc import Callable

from ._core.context import ErrorEvent
from .emitter import reportable
from .errors import Abandoned, AuthError, PluginError, Rejected, RetriesExhausted, TransportError

__all__ = ["Summary", "label", "logger", "to_stderr", "warn"]

logger = logging.getLogger("millstream")
EVERY = 60.0
PATIENCE = 1000
"""Milliseconds that a reader of standard error has to make room for a line."""


def warn(line: str) -> None:
    """Log a warning; on standard error, if the application's handler, filter or record factory raises."""
    try:
        logger.warning("%s", line)
    except BaseException as exc:
        if not reportable(exc):
            raise
        to_stderr(f"{line} (logging this raised {type(exc).__name__})")


def to_stderr(line: str) -> None:
    """Write a line to standard error, without blocking and without a lock, which a waiting thread may hold."""
    try:
        file = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # replaced, closed, or None
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")
        return
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    try:
        if poll.poll(PATIENCE):
            os.write(file, f"{line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


class Summary:
    """Counts failures, and logs them in one line: at once the first time, then at most once a minute.

    The line has kinds and numbers, but never an event's content, a key, or a server's answer (which may quote both).
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Reset in a forked child, where another thread's lock would stay locked."""
        self._lock = RLock()
        self._counts: Counter[str] = Counter()
        self._next: float | None = None  # when the next line may be written; None: at once
        self._hushed = False

    def count(self, what: str, number: int, now: float) -> None:
        """Count a failure."""
        with self._lock:
            self._counts[what] += number
        self.tick(now)

    def fault(self, event: ErrorEvent, now: float) -> None:
        """Count an exception of user code that no caller can catch."""
        self.count(f"{event.code}: {label(event.reason)}", 1, now)

    def due_at(self) -> float | None:
        """When the next line is due; None if nothing was counted."""
        return self._next if self._counts else None

    def tick(self, now: float, *, last: bool = False) -> None:
        """Log the counts, if it is time, or the last time."""
        if not self._counts or self._hushed or (self._next is not None and now < self._next and not last):
            return
        self._next = now + EVERY  # before the line: a log handler may record events, and call this again
        warn(f"{self._take()} (listen to 'error' for each of them)")

    def mute(self) -> None:
        """Log nothing until `final_line`, which has everything in one line."""
        self._hushed = True

    def final_line(self, said: str = "", advice: str = "", write: Callable[[str], object] = warn) -> None:
        """Log the result of the final delivery and all counts in one line, if there are any."""
        self._hushed = False
        counted = self._take()
        if said:
            write(f"{said} ({counted or 'no outcome yet'}){advice}")
        elif counted:
            write(counted)

    def _take(self) -> str:
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return ", ".join(f"{number:,} × {what}" for what, number in counts.most_common())


def label(error: BaseException) -> str:
    """Name an error without quoting it: its kind, and what distinguishes errors of that kind."""
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
