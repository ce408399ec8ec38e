"""How an event ended."""

from __future__ import annotations

import msgspec

from ..errors import Abandoned, DeliveryError, Dropped, QueueFull

__all__ = ["DELIVERED", "Outcome"]


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """How it ended, for all the events that ended together. `error` is None when they were delivered."""

    error: DeliveryError | None = None
    attempts: int = 0
    host: str = ""
    """Where it failed; empty if that was before any request."""

    @property
    def kind(self) -> str:
        """`delivered`, `failed` or `dropped`: the three ways an event can end.

        Or `kept`: the client has ended, the event has not. It is in the spool, for whoever opens that next.
        """
        if self.error is None:
            return "delivered"
        if isinstance(self.error, Abandoned) and self.error.spooled:
            return "kept"
        return "dropped" if isinstance(self.error, Dropped | QueueFull) else "failed"


DELIVERED = Outcome(attempts=1)
