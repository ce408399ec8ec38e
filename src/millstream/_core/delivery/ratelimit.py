"""The rate limit of a host, for all batches at once: nothing is sent while it is shut."""

from __future__ import annotations

__all__ = ["RateLimit"]


class RateLimit:
    """Shut until a time that the host names, and again for later ones; but not longer than `patience` in all.

    `patience` (seconds) is counted from the first limited request to the next success.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._until: float | None = None
        self._since: float | None = None

    def is_shut(self, now: float) -> bool:
        """Whether sending is blocked."""
        return self._until is not None and now < self._until

    def shut(self, now: float, seconds: float) -> None:
        """Block sending, as the host asks, for these seconds."""
        if self._since is None:
            self._since = now
        until = now + seconds
        self._until = until if self._until is None else max(until, self._until)

    def opened(self) -> None:
        """Forget the time, which is over."""
        self._until = None

    def succeeded(self, now: float) -> None:
        """Reset the window at the next limited request; or now, if this success was sent before the last one."""
        self._since = now if self.is_shut(now) else None

    def forget(self) -> None:
        """Stop the window: no batch waits any more."""
        self._since = None

    def expire(self) -> None:
        """Open early, because `patience` is exhausted: the next batch may be tried."""
        self._until = self._since = None

    def opens_at(self, now: float) -> float:
        """When sending is possible again."""
        return now if self._until is None else self._until

    def patience_ends(self) -> float | None:
        """When `patience` is exhausted, if not after the rate limit opens: a late check must not confuse the two."""
        if self._until is None or self._since is None:
            return None
        end = self._since + self._patience
        return end if end <= self._until else None
