"""logging: a handler that records lines as events, and never a line about events."""

from __future__ import annotations

import logging
from typing import Any

from .._client.calls import EventCalls
from .._public import publish
from ..identity import Identity
from .records import ANONYMOUS_ID, EVENT, PACKAGE, feeds_itself

__all__ = ["EventHandler"]


class EventHandler(logging.Handler):
    """Records log lines as `track` events, with the ids of `millstream.context`.

        logging.getLogger("shop").addHandler(EventHandler(analytics))
        log.warning("Payment failed", extra={"properties": {"order": 17}})

    An event's properties are `level`, `logger`, `message` and those of the line. Lines of Millstream, of its requests,
    and of plugins and listeners while it delivers are left out.

    Args:
        analytics: the client that it records with.
        level: the least level of a line that becomes an event.
        event: the events' name.
        anonymous_id: of events without an identity.
    """

    def __init__(
        self,
        analytics: EventCalls,
        level: int | str = logging.WARNING,
        *,
        event: str = EVENT,
        anonymous_id: str = ANONYMOUS_ID,
    ) -> None:
        super().__init__(level)
        self._analytics = analytics
        self._event = event
        self._nobody = Identity(new_visitor=lambda: anonymous_id)

    def emit(self, record: logging.LogRecord) -> None:
        """Record the line. What that raises goes where logging's own errors go."""
        if record.name.partition(".")[0] == PACKAGE or feeds_itself():
            return
        try:
            about: dict[str, Any] = {
                "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
            }  # fmt: skip
            if record.exc_info and record.exc_info[0] is not None:
                about["exception"] = record.exc_info[0].__name__
            with self._nobody:
                self._analytics.track(self._event, properties={**about, **getattr(record, "properties", {})})
        except Exception:  # noqa: BLE001 - what the line's arguments or an event call raise
            self.handleError(record)


publish("millstream.integrations.logging", EventHandler)
