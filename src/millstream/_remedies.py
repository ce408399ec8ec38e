"""Errors in log lines: each in a few words of our own, and what to do about it."""

from __future__ import annotations

from .errors import (
    Abandoned,
    AuthError,
    EventTooLarge,
    PluginError,
    QueueFull,
    RateLimitExpired,
    Rejected,
    RetriesExhausted,
    SpoolError,
    TransportError,
)

__all__ = ["advice", "label", "remedy"]

KEY = "check the write key, and that its source is on this host"
ADDRESS = "check `host` and `path`: there is no Tracking API at this address"
RATE = "the host limits the rate: send fewer events, or ask its operator for more"
LISTENER = "an `error` listener is given the event and the answer"
BY_STATUS = {401: KEY, 403: KEY, 404: ADDRESS, 405: ADDRESS, 413: "send less in one event", 429: RATE}
BY_HUNDRED = {3: "it redirects: set `host` to where the API is", 5: "the host has a fault of its own: ask its operator"}
BY_KIND = {
    RateLimitExpired: RATE,
    AuthError: "check `oauth_settings`: the client's id and key, and that `auth_server` is the region's",
    TransportError: "check `host`, and that its server is up: `millstream doctor` checks each step of the way",
    QueueFull: "the host is slower than the application, or down: see `max_queue_events` and `overflow`",
    EventTooLarge: "send less in one event: the API takes 32 KB",
}


def advice(error: BaseException) -> str:
    """Return the remedy as the end of a line."""
    text = remedy(error)
    return text and f"; {text}"


def remedy(error: BaseException | None) -> str:
    """Return what to do about an error; empty if that is in the application's own code."""
    match error:
        case RetriesExhausted(last=cause) | Abandoned(__cause__=cause):
            return remedy(cause)
        case Rejected(status=status):
            return BY_STATUS.get(status) or BY_HUNDRED.get(status // 100, LISTENER)
        case _:
            return next((text for kind, text in BY_KIND.items() if isinstance(error, kind)), "")


def label(error: BaseException) -> str:  # noqa: PLR0911 - a table
    """Return an error in a few words of our own: its kind, and what tells one of a kind from another."""
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
            return f"TransportError ({_system_error(error) or type(error.__cause__).__name__})"
        case SpoolError():
            return str(error)
        case _:
            return type(error).__name__


def _system_error(error: BaseException | None) -> str | None:
    """Return the operating system's words for what is behind an error, such as `Connection refused`."""
    for _ in range(10):  # longer chains are circles
        if error is None or (isinstance(error, OSError) and error.strerror):
            break
        error = error.__cause__ or error.__context__
    return error.strerror if isinstance(error, OSError) else None
