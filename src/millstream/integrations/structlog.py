"""structlog: a processor that records lines as events, and never a line about events."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from .._client.calls import EventCalls
from .._logging import warn
from .._public import publish
from ..identity import Identity
from .records import ANONYMOUS_ID, EVENT, feeds_itself

__all__ = ["EventProcessor"]


class EventProcessor:
    """Records log lines as `track` events, with the ids of `millstream.context`, and passes them on.

        structlog.configure(processors=[EventProcessor(analytics), structlog.processors.JSONRenderer()])
        log.info("Order Placed", order=17, track=True)

    The line's `event` is the event's name, and the rest its properties. Lines that are written while an event is
    recorded or delivered are left out.

    Args:
        analytics: the client that it records with.
        key: a line becomes an event where this is true; it is taken out. None: every line does.
        anonymous_id: of events without an identity.
    """

    def __init__(self, analytics: EventCalls, *, key: str | None = "track", anonymous_id: str = ANONYMOUS_ID) -> None:
        self._analytics = analytics
        self._key = key
        self._nobody = Identity(new_visitor=lambda: anonymous_id)

    def __call__(self, _: object, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        wanted = self._key is None or bool(line.pop(self._key, False))
        if wanted and not feeds_itself():
            properties = {"level": method, **{name: value for name, value in line.items() if name != "event"}}
            try:
                with self._nobody:
                    self._analytics.track(str(line.get("event") or EVENT), properties=properties)
            except Exception as exc:  # noqa: BLE001 - a setting has event calls raise; the line goes on
                warn(f"a log line was not recorded: {type(exc).__name__}: {exc}")
        return line


publish("millstream.integrations.structlog", EventProcessor)
