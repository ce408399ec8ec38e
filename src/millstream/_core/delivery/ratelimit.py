"""The gate: shut while the host asks for patience, and for all batches at once."""

from __future__ import annotations

__all__ = ["RateLimit"]


class RateLimit:
    """Shut until a moment, and again until a later one; but for no longer than patience lasts.

    The window in which `patience` (seconds) is counted runs from the first request for patience to the next success.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._until: float | None = None
        self._since: float | None = None

    def is_shut(self, now: float) -> bool:
        """Whether nothing may be sent."""
        return self._until is not None and now < self._until

    def shut(self, now: float, seconds: float) -> None:
        """The host asks for patience."""
        if self._since is None:
            self._since = now
        until = now + seconds
        self._until = until if self._until is None else max(until, self._until)

    def opened(self) -> None:
        """It has been seen open: the moment is over."""
        self._until = None

    def succeeded(self, now: float) -> None:
        """A new window begins with the next request for patience; or now, if this success was sent before the last."""
        self._since = now if self.is_shut(now) else None

    def forget(self) -> None:
        """Nobody waits any more: no window runs."""
        self._since = None

    def give_up(self) -> None:
        """Patience is at its end: whoever comes next may try."""
        self._until = self._since = None

    def opens_at(self, now: float) -> float:
        """When something may be sent."""
        return now if self._until is None else self._until

    def patience_ends(self) -> float | None:
        """When patience ends, if not after the gate opens: a late look must not take the one for the other."""
        if self._until is None or self._since is None:
            return None
        end = self._since + self._patience
        return end if end <= self._until else None
