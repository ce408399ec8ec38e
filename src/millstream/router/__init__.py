"""The router: a collector's events to its destinations, each at its own pace, none lost on the way.

configuration     what the TOML file says: options, sources, destinations, alerts
values            what values refer to: the environment, files
prepare           what becomes of one event: parts, or why there are none
transform         the application's functions of events, in processes that can be killed
transform_worker  such a process; frames, what goes between the two
route             one destination: reader, engine, outcomes, cursor
router            the thread that all routes of a process share
start             where a route begins
dead_letters      what destinations did not take
trial, resend     one event, or a stretch of the log, to one destination at once
status            the state of a route, for other processes
supervisor        keeps a router's process alive, for a collector
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import lazily

if TYPE_CHECKING:
    from .configuration import Alerts, Configuration, RouteSettings, Source
    from .dead_letters import DeadLetter, letters_in
    from .router import Router
    from .status import Counters, RouteStatus, statuses
    from .supervisor import Supervisor

__all__ = [
    "Alerts",
    "Configuration",
    "Counters",
    "DeadLetter",
    "RouteSettings",
    "RouteStatus",
    "Router",
    "Source",
    "Supervisor",
    "letters_in",
    "statuses",
]

_EXPORTS = {
    "Alerts": ".configuration",
    "Configuration": ".configuration",
    "Counters": ".status",
    "DeadLetter": ".dead_letters",
    "RouteSettings": ".configuration",
    "RouteStatus": ".status",
    "Router": ".router",
    "Source": ".configuration",
    "Supervisor": ".supervisor",
    "letters_in": ".dead_letters",
    "statuses": ".status",
}


__getattr__ = lazily(__name__, _EXPORTS)  # a process that transforms events needs none of it
