"""Delivery of many events: counts outcomes, keeps problems, and finds where to resume."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any

from millstream._core.context import Context
from millstream.client import Analytics
from millstream.errors import (
    Abandoned,
    AuthError,
    DeliveryError,
    Dropped,
    EventTooLarge,
    InvalidEvent,
    PluginError,
    RateLimitExpired,
    Rejected,
    RetriesExhausted,
    TransportError,
)
from millstream.types import Event

from . import output

__all__ = ["QUEUE", "Delivery", "Problem", "remedy"]

QUEUE = 10_000
"""Events in memory, at most: reading of the input waits while these are in progress."""
LAST_CHANCE = 5.0
"""Seconds that a Ctrl-C leaves for events in progress. A second one skips them."""
_KEPT = 20
"""Problems kept for the report. All are counted."""


@dataclass(frozen=True)
class Problem:
    """An event that was not delivered: its place in the input, and the reason."""

    place: str
    error: str
    message_id: str = ""


@dataclass
class Delivery:
    """Submits events to a client, and counts their outcomes.

    Args:
        client: sends them. With `overflow="block"`, `submit` waits while its queue is full.
        rate: events per second, at most.
    """

    client: Analytics
    rate: float | None = None
    delivered: int = 0
    failed: int = 0
    invalid: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])
    halted: DeliveryError | None = None
    """The reason to stop: it would fail all further events as well."""
    interrupted: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        # In order: the places of events without a final outcome.
        self._open: dict[int, object] = {}
        self._began = time.monotonic()

    def run(self, feed: Callable[[], None], timeout: float) -> None:
        """Submit the events of `feed`, then wait for the last outcomes, `timeout` seconds at most.

        The first Ctrl-C stops submitting and leaves a moment for events in progress; a second one stops at once.
        """
        try:
            feed()
        except KeyboardInterrupt:
            self.interrupted = True
        try:
            self.client.close_and_flush(timeout=min(self._patience(), timeout))
        except KeyboardInterrupt:
            self.interrupted = True
            self.client.close_and_flush(timeout=0)  # else the client would wait once more at exit

    def submit(self, place: object, record: Callable[..., object]) -> None:
        """Record an event: `record(callback=…)` calls the client. Waits for queue space, and for the rate limit.

        Args:
            place: the event's place in the input, in words.
            record: records the event.
        """
        number = next(self._numbers)
        if self.rate:
            time.sleep(max(0.0, self._began + number / self.rate - time.monotonic()))
        self._open[number] = place
        try:
            record(callback=partial(self._record_outcome, number))
        except InvalidEvent as exc:
            del self._open[number]
            self.reject(place, str(exc))

    def send(self, place: object, event: Event) -> None:
        """Submit a whole event."""
        self.submit(place, partial(self.client.send, event))

    def reject(self, place: object, why: str) -> None:
        """Count input that is not an event."""
        with self._lock:
            self.invalid += 1
            self._note(place, why)

    @property
    def undecided(self) -> int:
        """Submitted events without a final outcome: they are worth another try."""
        return len(self._open)

    @property
    def ended(self) -> bool:
        """Whether all input was read, and every event has a final outcome."""
        return not (self.undecided or self.interrupted or self.halted)

    @property
    def complete(self) -> bool:
        """Whether every event was delivered."""
        return self.ended and not (self.failed or self.invalid)

    def first_undecided(self) -> Any:
        """The place of the first event without a final outcome; None without one."""
        return next(iter(self._open.values()), None)

    def result(self) -> dict[str, object]:
        """The result, for programs."""
        return {
            "delivered": self.delivered,
            "failed": self.failed,
            "invalid": self.invalid,
            "undecided": self.undecided,
            "interrupted": self.interrupted,
            "stopped": None if self.halted is None else str(self.halted),
            "problems": [asdict(problem) for problem in self.problems],
        }

    def __str__(self) -> str:
        wrong = self.failed + self.invalid
        return f"{self.delivered:,} delivered" + (f", {wrong:,} not" if wrong else "")

    def _record_outcome(self, number: int, error: DeliveryError | None, context: Context) -> None:
        with self._lock:
            if error is None:
                self.delivered += 1
                del self._open[number]
            elif _is_its_own(error):
                self.failed += 1
                self._note(self._open.pop(number), str(error), context.id)
            elif self.halted is None and not isinstance(error, Abandoned):
                self.halted = error

    def _patience(self) -> float:
        if not self.interrupted:
            return 1.0 if self.halted else math.inf
        if self.undecided:
            output.note(f"millstream: interrupted; waiting for {self.undecided:,} events (Ctrl-C again to stop)")
        return LAST_CHANCE

    def _note(self, place: object, why: str, message_id: str = "") -> None:
        if len(self.problems) < _KEPT:
            self.problems.append(Problem(str(place), why, message_id))


def _is_its_own(error: DeliveryError) -> bool:
    """Whether the fault is the event's or its batch's, so that the next event may succeed."""
    if isinstance(error, Rejected):
        return error.status in {400, 413, 422}
    return isinstance(error, EventTooLarge | Dropped | PluginError)


def remedy(error: DeliveryError) -> str:
    """The remedy; empty if the error names it."""
    told = ""
    match error:
        case RetriesExhausted(last=last):
            told = remedy(last)
        case Rejected(status=401 | 403):
            told = "check the write key (--write-key, $MILLSTREAM_WRITE_KEY), and that its source is on this host"
        case Rejected(status=404 | 405):
            told = "check the host: no Tracking API answers at this address"
        case Rejected(status=status) if status >= 500:
            told = "the server failed: try again later"
        case RateLimitExpired():
            told = "try again later, or set a lower --rate"
        case AuthError():
            told = "check the --oauth options, and that the authorization server is the region's"
        case TransportError():
            told = "check the host, and that its server is up; `millstream doctor` checks each step"
        case _:
            pass
    return told
