"""Many events on their way: how many have arrived, what is wrong with the others, and where to go on after a stop."""

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
"""Events in memory, at most: whoever reads a file of any size waits when so many are on their way."""
LAST_CHANCE = 5.0
"""Seconds that a Ctrl-C leaves for what is on its way. Another one takes them."""
_KEPT = 20
"""Problems that are kept to be shown. All are counted."""


@dataclass(frozen=True)
class Problem:
    """One event that did not arrive: where it came from, and why."""

    place: str
    error: str
    message_id: str = ""


@dataclass
class Delivery:
    """Hands events to a client, and counts what becomes of them.

    Args:
        client: what sends them. With `overflow="block"`, `submit` waits when enough is on its way.
        rate: events a second, at most.
    """

    client: Analytics
    rate: float | None = None
    delivered: int = 0
    failed: int = 0
    invalid: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])
    halted: DeliveryError | None = None
    """Why it is no use to go on: what was said of these events would be said of all."""
    interrupted: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        # In order: where the events came from that have not come to an end of their own.
        self._open: dict[int, object] = {}
        self._began = time.monotonic()

    def run(self, feed: Callable[[], None], timeout: float) -> None:
        """Feed events, then wait for the last outcomes, `timeout` seconds at most.

        A Ctrl-C ends the feeding, and leaves a moment for what is on its way; a second one ends at once.
        """
        try:
            feed()
        except KeyboardInterrupt:
            self.interrupted = True
        try:
            self.client.close_and_flush(timeout=min(self._patience(), timeout))
        except KeyboardInterrupt:
            self.interrupted = True
            self.client.close_and_flush(timeout=0)  # given up now, rather than once more when the process ends

    def submit(self, place: object, record: Callable[..., object]) -> None:
        """Record an event: `record(callback=…)` is an event call of the client. Waits for room, and for the rate.

        Args:
            place: where the event came from, in words.
            record: records it.
        """
        number = next(self._numbers)
        if self.rate:
            time.sleep(max(0.0, self._began + number / self.rate - time.monotonic()))
        self._open[number] = place
        try:
            record(callback=partial(self._settle, number))
        except InvalidEvent as exc:
            del self._open[number]
            self.reject(place, str(exc))

    def send(self, place: object, event: Event) -> None:
        """The same for a whole event."""
        self.submit(place, partial(self.client.send, event))

    def reject(self, place: object, why: str) -> None:
        """Count something that is no event."""
        with self._lock:
            self.invalid += 1
            self._note(place, why)

    @property
    def undecided(self) -> int:
        """Events that were handed over and have come to no end of their own: they are worth another try."""
        return len(self._open)

    @property
    def ended(self) -> bool:
        """Whether it went on to its end: every event was read, and came to an end of its own."""
        return not (self.undecided or self.interrupted or self.halted)

    @property
    def complete(self) -> bool:
        """Whether all has arrived."""
        return self.ended and not (self.failed or self.invalid)

    def first_undecided(self) -> Any:
        """Where the first undecided event came from; None if there is none."""
        return next(iter(self._open.values()), None)

    def result(self) -> dict[str, object]:
        """What became of it all, for programs."""
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

    def _settle(self, number: int, error: DeliveryError | None, context: Context) -> None:
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
            output.note(f"millstream: interrupted; a moment for {self.undecided:,} events (Ctrl-C again: none)")
        return LAST_CHANCE

    def _note(self, place: object, why: str, message_id: str = "") -> None:
        if len(self.problems) < _KEPT:
            self.problems.append(Problem(str(place), why, message_id))


def _is_its_own(error: DeliveryError) -> bool:
    """Whether the next event may fare better: the fault is in this event, or in its batch."""
    if isinstance(error, Rejected):
        return error.status in {400, 413, 422}
    return isinstance(error, EventTooLarge | Dropped | PluginError)


def remedy(error: DeliveryError) -> str:
    """What to do about it; empty if the error says so itself."""
    told = ""
    match error:
        case RetriesExhausted(last=last):
            told = remedy(last)
        case Rejected(status=401 | 403):
            told = "check the write key (--write-key, $MILLSTREAM_WRITE_KEY), and that its source is on this host"
        case Rejected(status=404 | 405):
            told = "check the host: there is no Tracking API at this address"
        case Rejected(status=status) if status >= 500:
            told = "the server is in trouble: try again later"
        case RateLimitExpired():
            told = "try again later, or slower with --rate"
        case AuthError():
            told = "check the --oauth options, and that the authorization server is the region's"
        case TransportError():
            told = "check the host, and that its server is up; `millstream doctor` looks at each step of the way"
        case _:
            pass
    return told
