"""Prevents feedback: a log handler that records every line would record those of its own requests, endlessly."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import pairwise
from logging import LogRecord
from traceback import walk_stack
from types import FrameType

__all__ = ["exchanging", "feeds_back", "in_log_call", "is_exchanging"]

_exchanging: ContextVar[bool] = ContextVar("millstream_exchanging", default=False)
is_exchanging = _exchanging.get
"""Whether this thread or task is sending a request: a fast check, for every event call."""


@contextmanager
def exchanging() -> Generator[None, None, None]:
    """Mark the exchange of a request, during which HTTP libraries log."""
    token = _exchanging.set(True)
    try:
        yield
    finally:
        with suppress(ValueError):  # a task ended by the garbage collector ends in another context
            _exchanging.reset(token)


def feeds_back() -> bool:
    """Whether an event recorded now is about a log line of a request in progress.

    Delivering it takes a request, which logs lines, of this client or of another one that the handler records with.
    Events that a signal handler or a `__del__` records are not of that kind.
    """
    return is_exchanging() and _in_log_handler()


def in_log_call() -> bool:
    """Whether a log handler is the caller. It holds its own lock, for which other logging threads wait."""
    return any(_is_logging(frame) for frame, _ in walk_stack(inspect.currentframe()))


def _in_log_handler() -> bool:
    """Whether `logging` has passed a record, or the making of one, to the calling code.

    A `__del__` or a signal handler that interrupts `logging` itself was passed none.
    """
    for (called, _), (frame, _) in pairwise(walk_stack(inspect.currentframe())):
        if _is_logging(frame) and not _is_logging(called):
            return frame.f_code.co_name == "makeRecord" or _has_record(called)
    return False


def _is_logging(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "logging"


def _has_record(frame: FrameType) -> bool:
    given = inspect.getargvalues(frame)
    rest = given.locals.get(given.varargs, ()) if given.varargs else ()
    return any(isinstance(value, LogRecord) for value in (*map(given.locals.get, given.args), *rest))
