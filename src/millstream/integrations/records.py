"""What the integrations of logging libraries have in common: which lines must not become events."""

from __future__ import annotations

from traceback import walk_stack

from .._feedback import is_exchanging

__all__ = ["ANONYMOUS_ID", "EVENT", "feeds_itself"]

EVENT = "Log Recorded"
ANONYMOUS_ID = "log"
PACKAGE = __name__.partition(".")[0]
OURS = tuple(f"{PACKAGE}.{name}" for name in ("_client", "_delivery", "emitter", "plugins"))


def feeds_itself() -> bool:
    """Whether this line is written while an event is recorded or delivered: an event about it would write the next.

    So are the lines of an HTTP library in a request of ours, and those of plugins, listeners and callbacks.
    """
    return is_exchanging() or any(frame.f_globals.get("__name__", "").startswith(OURS) for frame, _ in walk_stack(None))
