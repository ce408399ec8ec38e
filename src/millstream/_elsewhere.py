"""The words of other libraries, and what they are called here: for errors that help those who come from elsewhere."""

from __future__ import annotations

import re
from typing import Any, NoReturn

__all__ = ["METHODS", "SETTINGS", "Elsewhere", "refuse_positional", "setting_hint"]

SETTINGS = {
    "api_key": "the write key comes first: `Analytics('WRITE_KEY')`",
    "async_mode": "calls never wait for the network, and there is nothing to switch on",
    "data_plane_url": "it is called `host`",
    "endpoint": "it is called `host`",
    "max_events_in_batch": "`flush_at` starts a flush, and `max_batch_events` bounds a request",
    "max_queue_size": "`max_queue_events` and `max_queue_bytes` bound the queue",
    "max_batch_size": "`max_batch_events` bounds a request, and `flush_at` starts a flush",
    "on_error": 'listen to failures: `analytics.on("error", listener)`',
    "project_api_key": "the write key comes first: `Analytics('WRITE_KEY')`",
    "retry_attempts": "it is called `max_retries`",
    "send": "`disable=True` checks calls and sends nothing",
    "sync_mode": "`flush_at=1` sends each event at once, and `track(…).wait()` waits for its outcome",
    "thread": "`max_in_flight` says how many requests are under way at once",
    "timeout": "`http_request_timeout` is for one request; `flush` and `close_and_flush` take a `timeout`",
    "upload_interval": "it is called `flush_interval`",
    "upload_size": "`flush_at` starts a flush, and `max_batch_events` bounds a request",
}
"""Settings of other libraries."""

METHODS = {
    "capture": "it is called `track`: `track('Item Purchased', user_id='u1', properties={…})`",
    "closeAndFlush": "it is called `close_and_flush`",
    "enqueue": "`send` takes a whole event",
    "group_identify": "it is called `group`: `group('g1', user_id='u1', traits={…})`",
    "join": "`close_and_flush` stops the worker and delivers what is left",
    "set": "it is called `identify`: `identify('u1', traits={…})`",
    "shutdown": "it is called `close_and_flush`",
}
"""Methods of other libraries' clients."""

CALLS = {
    "group": "group('g1', user_id='u1', traits={…})",
    "identify": "identify('u1', traits={…})",
    "page": "page('Pricing', user_id='u1', properties={…})",
    "screen": "screen('Cart', user_id='u1', properties={…})",
    "track": "track('Item Purchased', user_id='u1', properties={…})",
}


def setting_hint(name: str) -> str:
    """Return what a setting of another library is called here; empty if it is not known."""
    return SETTINGS.get(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), "")


def refuse_positional(client: str, call: str) -> NoReturn:
    """Raise TypeError for a call with arguments in the order of other libraries."""
    raise TypeError(f"{client}.{call} takes one argument without a name; write {CALLS[call]}")


class Elsewhere:
    """A method that a client does not have: reading it raises AttributeError with its name here."""

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, client: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no {self._name}: {self._hint}")
