"""The log: logger `millstream`, and never more than one line a minute about each kind of loss."""

from __future__ import annotations

import logging
import os
import select
import sys
from _thread import RLock  # see _delivery/worker.py
from collections import Counter
from collections.abc import Callable

from ._core.context import ErrorEvent
from ._feedback import exchanging
from ._remedies import advice, label
from .emitter import reportable

__all__ = ["Summary", "debug", "is_debug", "logger", "plural", "show_debug", "to_stderr", "warn"]

logger = logging.getLogger("millstream")
EVERY = 60.0
PATIENCE = 1000
"""Milliseconds that a reader of standard error has to make room for a line."""


def warn(line: str) -> None:
    """Log a warning; on standard error, if a handler, filter or record factory of the application raises."""
    _log(logging.WARNING, line)


def _log(level: int, line: str) -> None:
    try:
        logger.log(level, "%s", line)
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


def is_debug() -> bool:
    """Return whether DEBUG lines are wanted."""
    return logger.isEnabledFor(logging.DEBUG)


def debug(line: str) -> None:
    """Log what delivery does. An event that a log handler makes of the line is refused: it would make another line."""
    with exchanging():
        _log(logging.DEBUG, line)


def show_debug() -> None:
    """Have DEBUG lines shown: by the application's handlers, or on standard error as long as it has none."""
    logger.setLevel(logging.DEBUG)
    if not any(handler.get_name() == "millstream-debug" for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.set_name("millstream-debug")
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        handler.addFilter(lambda _: not logging.getLogger().handlers)
        logger.addHandler(handler)


class Summary:
    """Counts what went wrong, and logs it by kinds: a new kind at once, then each kind once a minute at most.

    A line holds a kind and a number, never an event's content, a key, or a server's words (which may quote both).
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Reset in a forked child, where another thread's lock would stay locked."""
        self._lock = RLock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._next: dict[tuple[str, str], float] = {}  # when a line about a kind may be written again
        self._hushed = False

    def count(self, noun: str, said: str, number: int, now: float) -> None:
        """Count `number` more of a kind, such as `event` and `failed: …`."""
        with self._lock:
            self._counts[noun, said] += number
        self.tick(now)

    def fault(self, event: ErrorEvent, now: float) -> None:
        """Count what user code raised where nobody could catch it."""
        self.count(
            "error", f"{PLACES.get(event.code, event.code)}: {label(event.reason)}{advice(event.reason)}", 1, now
        )

    def request_failed(self, host: str, error: BaseException, now: float) -> None:
        """Count a request that is tried again: no event is lost yet, and `final_line` do not mention it."""
        self.count(REQUEST, f"to {host} failed: {label(error)}{advice(error)}", 1, now)

    def due_at(self) -> float | None:
        """Return when something counted may be logged; None if there is nothing to log."""
        return min((self._next.get(kind, 0.0) for kind in self._counts), default=None) if self._counts else None

    def tick(self, now: float, *, last: bool = False) -> None:
        """Log what there is to log, if it is time, or the last time."""
        if not self._counts or self._hushed:
            return
        with self._lock:
            self._next = {kind: moment for kind, moment in self._next.items() if now < moment}
            due = self._take(last=True) if last else self._take(lambda kind: kind not in self._next)
            self._next |= dict.fromkeys(due, now + EVERY)  # before the lines: a log handler may record events
        for kind, number in due.items():
            warn(_counted(kind, number))

    def mute(self) -> None:
        """Log nothing until `final_line`, which say it all in one line."""
        self._hushed = True

    def final_line(self, said: str = "", advice: str = "", write: Callable[[str], object] = warn) -> None:
        """Log the result of the final delivery and all counts in one line, if there are any."""
        self._hushed = False
        with self._lock:
            counts = self._take(last=True)
        counted = ", ".join(_counted(kind, number) for kind, number in counts.most_common())
        if said:
            write(f"{said} ({counted or 'no outcome yet'}){advice}")
        elif counted:
            write(counted)

    def _take(
        self, is_due: Callable[[tuple[str, str]], bool] = lambda _: True, *, last: bool = False
    ) -> Counter[tuple[str, str]]:
        """Remove and return the counts of these kinds."""
        taken = Counter({kind: number for kind, number in self._counts.items() if is_due(kind)})
        for kind in taken:
            del self._counts[kind]
        return Counter({kind: n for kind, n in taken.items() if kind[0] != REQUEST}) if last else taken


REQUEST = "request"
PLACES = {
    "auth": "in getting a token",
    "callback": "in a callback",
    "context_provider": "in a context provider",
    "http_client": "in closing the HTTP client",
    "internal": "in Millstream itself",
    "listener": "in a listener",
    "plugin": "in a plugin",
    "spool": "in the spool",
}
"""Where an error happened, by the code of its ErrorEvent."""


def _counted(kind: tuple[str, str], number: int) -> str:
    noun, said = kind
    return f"{plural(number, noun)} {said}"


def plural(number: int, noun: str) -> str:
    """Return a number of things in words: `1 event`, `2,000 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
