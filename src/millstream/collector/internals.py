"""Names of uvicorn's internals that the collector uses: checked at start, because any release may change them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

_HTTP = "uvicorn.protocols.http.httptools_impl"
_PROTOCOL = f"{_HTTP}.HttpToolsProtocol"
_CYCLE = f"{_HTTP}.RequestResponseCycle"
_FLOW = "uvicorn.protocols.http.flow_control.FlowControl"
_STATE = "uvicorn.server.ServerState"

CONNECTION: Mapping[str, tuple[str, ...]] = {
    _PROTOCOL: (
        "cycle", "flow", "headers", "loop", "parser", "pipeline", "server_state", "transport", "url",
        "connection_lost", "connection_made", "on_body", "on_headers_complete", "on_message_complete",
        "on_response_complete", "pause_writing", "resume_writing", "send_400_response",
    ),
    _CYCLE: ("response_complete",),
    _FLOW: ("pause_reading", "resume_reading", "write_paused"),
    _STATE: ("connections", "total_requests"),
}  # fmt: skip
"""Used by `connection.py` and `server.py`: without these the collector cannot serve."""
DIRECT: Mapping[str, tuple[str, ...]] = {
    _PROTOCOL: (
        "access_logger", "connections", "expect_100_continue", "limit_concurrency", "logger", "scope", "tasks",
    ),
    _CYCLE: (
        "body", "default_headers", "disconnected", "flow", "keep_alive", "logger", "message_event", "on_response",
        "receive", "response_complete", "response_started", "scope", "transport",
    ),
    _FLOW: ("drain", "write_paused"),
    _STATE: ("default_headers",),
    _HTTP: ("STATUS_LINE",),
}  # fmt: skip
"""Used by `direct.py` as well: without these all requests go through ASGI."""
CYCLE_TAKES = (
    "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
    "expect_100_continue", "keep_alive", "on_response",
)  # fmt: skip
"""Arguments with which `direct.py` makes a cycle."""


def missing_for_connection(config: Config) -> list[str]:
    """Return the names that `connection.py` uses and this uvicorn lacks. `config` must be loaded."""
    return _missing(config, CONNECTION)


def missing_for_direct(config: Config) -> list[str]:
    """The same for `direct.py`."""
    lacking = _missing(config, DIRECT)
    takes = inspect.signature(resolve_name(_CYCLE)).parameters
    return lacking + [f"{_CYCLE}({name}=)" for name in takes.keys() ^ set(CYCLE_TAKES)]


def _missing(config: Config, used: Mapping[str, tuple[str, ...]]) -> list[str]:
    lacking: list[str] = []
    for where, names in used.items():
        try:
            thing = resolve_name(where)
            if inspect.isclass(thing):  # attributes exist on an instance only: make one, with most arguments None
                known: dict[str, Any] = {
                    "config": config,
                    "server_state": ServerState(),
                    "app_state": {},
                    "_loop": object(),
                }
                thing = thing(**{name: known.get(name) for name in inspect.signature(thing).parameters})
                getattr(thing, "on_message_begin", dict)()  # a request has an attribute only once it begins
        except (ImportError, AttributeError, TypeError) as error:
            lacking.append(f"{where} ({error})")
        else:
            lacking += [f"{where}.{name}" for name in names if not hasattr(thing, name)]
    return lacking
