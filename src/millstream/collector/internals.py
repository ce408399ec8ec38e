"""Names of uvicorn's internals that the collector uses. Any release may change them, so they are looked for first."""

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
"""What `connection.py` and `server.py` use: without it nothing can be served."""
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
"""What `direct.py` uses beside that: without it everything is served by ASGI."""
CYCLE_TAKES = (
    "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
    "expect_100_continue", "keep_alive", "on_response",
)  # fmt: skip
"""What `direct.py` makes a cycle of."""


def missing_for_connection(config: Config) -> list[str]:
    """The names that `connection.py` uses and this uvicorn does not have. `config` has to be loaded."""
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
            if inspect.isclass(thing):  # one is made of it, with most arguments None: what it has is not there before
                known: dict[str, Any] = {
                    "config": config,
                    "server_state": ServerState(),
                    "app_state": {},
                    "_loop": object(),
                }
                thing = thing(**{name: known.get(name) for name in inspect.signature(thing).parameters})
                getattr(thing, "on_message_begin", dict)()  # a request has an attribute only when it begins
        except (ImportError, AttributeError, TypeError) as error:
            lacking.append(f"{where} ({error})")
        else:
            lacking += [f"{where}.{name}" for name in names if not hasattr(thing, name)]
    return lacking
