"""Events about deliveries: a log handler that records every line would record those of its own requests, endlessly."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

__all__ = ["exchanging", "feeds_back", "in_log_call", "is_exchanging"]

_exchanging: ContextVar[bool] = ContextVar("millstream_exchanging", default=False)
is_exchanging = _exchanging.get
"""Whether this thread or task is exchanging a request for an answer: a quick look, for every event call."""


@contextmanager
def exchanging() -> Generator[None, None, None]:
    """Around the exchange of a request, in which HTTP libraries write to the log."""
    token = _exchanging.set(True)
    try:
        yield
    finally:
        with suppress(ValueError):  # a task that the garbage collector ends is ended in another context
            _exchanging.reset(token)


def feeds_back() -> bool:
    """Whether an event that is recorded now is about a line that the exchange of a request has written to the log.

    To deliver it takes a request, which writes lines, of this client or of another that the handler records with. What
    a signal handler or a `__del__` records, in whatever thread, is not of that kind.
    """
    return is_exchanging() and in_log_call()


def in_log_call() -> bool:
    """Whether a log handler has called. It holds its own lock, and other threads that log wait for that."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "logging":
            return True
        frame = frame.f_back
    return False
