"""An event as callbacks, listeners and plugins see it."""

from __future__ import annotations

from typing import Any

from ..errors import DeliveryError
from ..types import Event
from .encoding import decode

__all__ = ["Context"]


class Context:
    """One event on its way: what it says, and how far it has come.

    Decoding is put off until somebody looks at `event`, because most events are never looked at.
    """

    __slots__ = ("_data", "_error", "_event", "attempts", "id")

    def __init__(self, data: bytes, message_id: str, attempts: int = 0, error: DeliveryError | None = None) -> None:
        self._data = data
        self._event: Event | None = None
        self._error = error
        self.id = message_id
        """The event's `messageId`."""
        self.attempts = attempts
        """How many requests have carried the event."""

    def __repr__(self) -> str:
        return f"<Context {self.id}>"

    @property
    def event(self) -> Event:
        """The event as it goes over the wire: a dict with camelCase keys."""
        event = self._event
        if event is None:
            event = self._event = decode(self._data)
        return event

    def failed_delivery(self) -> DeliveryError | None:
        """Why the event was not delivered; None if it was, or is still on its way."""
        return self._error

    def to_dict(self) -> dict[str, Any]:
        """The context as plain values: `id`, `event`, `attempts`, `error` (text or None)."""
        error = None if self._error is None else str(self._error)
        return {"id": self.id, "event": self.event, "attempts": self.attempts, "error": error}
