"""The policy of a destination: batch sizes, retries, back-off, rests, and their limits."""

from __future__ import annotations

from dataclasses import dataclass

from ...spec import MAX_BATCH_EVENTS, SENT_BATCH_BYTES
from .batcher import Batcher
from .retry import backoff

__all__ = ["Policy"]


@dataclass(frozen=True)
class Policy:
    """Limits that the engine applies. All times in seconds, all sizes in bytes."""

    flush_at: int = 15
    flush_interval: float = 10.0
    linger: float = 0.0
    max_batch_events: int = MAX_BATCH_EVENTS
    max_batch_bytes: int = SENT_BATCH_BYTES
    overhead: int = 0
    keyed: bool = False
    """Whether events have keys, and share a batch with those of their key only."""
    ordered: bool = False
    """Whether events have queues, and those of a queue are sent in order: a batch at a time, its retries included."""
    max_in_flight: int = 4
    max_unsettled: int = 0
    """Batches in flight or waiting for another attempt, at most. 0: as many as may be in flight."""
    max_retries: int = 3
    extra_attempts: int = 20
    """Attempts beyond `max_retries` after which a batch fails, whatever the answers were (as the reference library)."""
    max_total_backoff: float = 43_200.0
    max_rate_limit: float = 43_200.0
    send_timeout: float = 11.0
    keeps: bool = False
    """Whether events whose retries are exhausted rest and are tried again, instead of failing: for events on disk."""
    rest: float = 30.0
    """Seconds until a batch whose retries are exhausted is tried again, where events are kept."""
    pauses: bool = False
    """Whether refused credentials pause the destination instead of failing events: they can be read again."""

    def batcher(self) -> Batcher:
        """Return an empty queue with these limits."""
        return Batcher(
            flush_at=self.flush_at,
            flush_interval=self.flush_interval,
            max_events=self.max_batch_events,
            max_bytes=self.max_batch_bytes,
            overhead=self.overhead,
            linger=self.linger,
            keyed=self.keyed,
            ordered=self.ordered,
        )

    def delay(self, failures: int, jitter: float) -> float:
        """Return the seconds to wait after the k-th counted failure; `jitter` is a random number from 0 to 1."""
        return backoff(failures, jitter)

    def exhausted(self, failures: int, seconds: float) -> bool:
        """Return whether a batch has used up its retries: by the number of failures, or by the time since the first."""
        return failures > self.max_retries or seconds > self.max_total_backoff

    def over_cap(self, attempts: int) -> bool:
        """Return whether a batch has been sent more often than any answer justifies."""
        return attempts > self.max_retries + self.extra_attempts
