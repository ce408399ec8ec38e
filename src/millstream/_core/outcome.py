"""The outcome of an event."""

from __future__ import annotations

import msgspec

from ..errors import Abandoned, DeliveryError, Dropped, QueueFull

__all__ = ["DELIVERED", "Outcome"]


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """The outcome of events that ended together. `error` is None if they were delivered."""

    error: DeliveryError | None = None
    attempts: int = 0
    host: str = ""
    """Where it failed; empty if that was before any request."""
    since: float | None = None
    """When the first attempt began that failed for good, by the engine's clock."""

    @property
    def kind(self) -> str:
        """`delivered`, `failed` or `dropped`.

        Or `kept`: the client has closed, and the event stays in the spool for the next process.
        """
        if self.error is None:
            return "delivered"
        if isinstance(self.error, Abandoned) and self.error.spooled:
            return "kept"
        return "dropped" if isinstance(self.error, Dropped | QueueFull) else "failed"


DELIVERED = Outcome(attempts=1)
