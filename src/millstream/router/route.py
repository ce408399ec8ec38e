"""A route: the events of a log on their way to one destination, from the cursor to their outcomes.

    log ──▶ reader ──▶ prepare ──▶ engine, requests, answers ──▶ outcomes ──▶ cursor
                                                              └▶ dead letters

It runs in turns, on the router's thread, and waits for nothing: a destination that does not answer costs its own route
time, and no other. What it holds in memory is bounded in bytes, and it reads nothing more while that is used up.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from msgspec import Raw

from .._clock import monotonic
from .._core.cursor import Progress
from .._core.delivery.actions import Send, Wait
from .._core.delivery.engine import Engine
from .._core.delivery.policy import Policy
from .._core.events.timestamps import epoch_ms, from_epoch
from .._core.outcome import Outcome
from .._core.record import Position, Record
from .._delivery.channel import Channel
from .._delivery.transport import Transport
from .._logging import Summary
from ..emitter import Emitter
from ..errors import DeliveryError, Dropped, Fenced, PluginError, RateLimitExpired, Rejected, RetriesExhausted
from ..log import CursorStore, Reader, Resumed
from .configuration import RouteSettings
from .dead_letters import MAX_ANSWER, DeadLetter, letter_id
from .frames import Failed, Transformed
from .prepare import Preparer, Routed, RoutedPart
from .status import NOTABLE, Counters, RouteStatus
from .transform_stage import TransformStage

__all__ = ["Letters", "Route", "policy_of"]

_log = logging.getLogger("millstream")

WINDOW = 16 << 20
"""Bytes of events that a route holds in memory, at most."""
CHUNK_EVENTS, CHUNK_BYTES = 1_000, 512 << 10
"""Events, and their bytes, that are read in one turn."""
LINGER = 0.1
"""Seconds that a batch which is not full is given to grow."""
SAVE_EVERY = 0.2
AFTER_A_FAULT = 1.0
"""Seconds until what the disk did not do is tried again."""
RESUME_AFTER = 300.0
"""Seconds until a paused destination is asked again."""
REFUSALS = 100
"""Events refused in a row, without one that was taken, after which a destination pauses: it is not the events."""
REASONS = 100
"""Reasons for which events are dropped that are told apart."""
UNSETTLED_FACTOR = 4
"""Batches under trial for each that may be in flight, at most: how often a destination that is down is asked."""


class Letters(Protocol):
    """Keeps what a destination did not take."""

    lost: int

    def add(self, letter: DeadLetter) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


def policy_of(settings: RouteSettings) -> Policy:
    """Return the policy of a route's engine: in order by queue, and retries that end by age alone."""
    limits = settings.limits
    return Policy(
        flush_at=limits.max_events,
        flush_interval=LINGER,
        max_batch_events=limits.max_events,
        max_batch_bytes=limits.max_bytes,
        overhead=limits.overhead,
        ordered=True,
        max_in_flight=limits.in_flight,
        max_unsettled=UNSETTLED_FACTOR * limits.in_flight,
        max_retries=1 << 30,
        max_total_backoff=settings.retry_for,
        max_rate_limit=settings.retry_for,
        send_timeout=limits.timeout + 1.0,
        pauses=True,
    )


class Route:
    """Takes events from a log to one destination.

    Args:
        settings: of the route.
        reader: of the log; it becomes the route's.
        cursors: where its cursor is stored.
        revision: of the cursor that is stored; 0 if none is.
        resumed: where to go on.
        letters: keeps what the destination did not take.
        transport: exchanges requests.
        transform: what events go through; it becomes the route's.
        counters: what became of events before.
        until: the position where the route ends; None is never.
        select: whether a record is wanted; the others are settled and not counted.
    """

    def __init__(
        self,
        settings: RouteSettings,
        reader: Reader,
        cursors: CursorStore,
        revision: int,
        resumed: Resumed,
        letters: Letters,
        transport: Transport,
        *,
        transform: TransformStage | None = None,
        counters: Counters | None = None,
        until: Position | None = None,
        select: Callable[[Record], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.counters = counters or Counters()
        self.stopped: BaseException | None = None
        """Why it has ended for good: another router has taken it."""
        self._engine = Engine(policy_of(settings), random.random)
        self._channel = Channel(
            settings.destination,
            self._engine,
            transport,
            _silent(),
            Summary(),
            None,
            monotonic,
            host=settings.name,
            masks=True,
        )
        self._preparer = Preparer(settings, transforms=transform is not None)
        self._transform = transform
        self._reader = reader
        self._cursors = cursors
        self._revision = revision
        self._fallback = resumed.fallback
        self._progress = Progress(resumed.cursor)
        self._at = self._progress.low
        self._letters = letters
        self._until = until
        self._select = select
        self._pending: dict[Position, Routed] = {}
        self._pending_bytes = 0
        self._fault = ""
        """What the disk does not do at present; empty: it does."""
        self._unwritten: deque[Routed] = deque()
        self._unsaved = True
        self._save_at = 0.0
        self._try_at = 0.0  # when the disk is tried again that did not do what it should
        self._resume_at = 0.0
        self._refusals = 0
        self._closing = False
        self._retries_before = self.counters.retried
        self._requests_before = self.counters.requests
        self._errors = _Errors()
        self._rate = _Rate()
        self._recent: deque[tuple[int, str, str]] = deque(maxlen=NOTABLE)
        self._state = ("", 0.0)

    # -- turns ------------------------------------------------------------------------------------------

    def turn(self, now: float) -> tuple[bool, float | None]:
        """Do what there is to do now, a chunk of the log at most.

        Returns whether there is more to do at once, and when time alone will bring more; None: it will not.
        """
        if self.stopped is not None:
            return False, None
        self._resume(now)
        more = not self._closing and self._read(now)
        due = self._send(now)
        self._write_letters(now)
        self._save(now)
        moments = [due, self._save_at if self._unsaved else None, now + AFTER_A_FAULT if self._unwritten else None]
        if self._engine.paused_by is not None:
            moments.append(self._resume_at)
        return more, min((moment for moment in moments if moment is not None), default=None)

    def close(self) -> None:
        """Send nothing more, and read nothing: what is in flight may be answered."""
        self._closing = True

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._engine.in_flight > 0

    @property
    def waits_for_more(self) -> bool:
        """Whether there is room for more events, once the log has some."""
        return self.stopped is None and not self._closing and self._has_room()

    @property
    def finished(self) -> bool:
        """Whether everything up to `until` has its outcome."""
        return self._until is not None and self._progress.low >= self._until and not self._unwritten

    def release(self) -> None:
        """Store the cursor, and release everything. What has no outcome is sent again by the next router."""
        if self.stopped is None:
            self._channel.settle(self._settled)  # what was answered since the last turn
            self._write_letters(monotonic())
            self._save(monotonic(), at_once=True)
        if self._transform is not None:
            self._transform.close()
        self._letters.close()
        self._channel.close()
        self._reader.close()

    # -- reading ----------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return self._pending_bytes < WINDOW and self._engine.paused_by is None and not self._unwritten

    def _read(self, now: float) -> bool:
        """Read the next chunk, if there is room for it. Returns whether there may be another."""
        if now < self._try_at or not self._has_room() or self.finished:
            return False
        try:
            records, end = self._reader.read(self._at, CHUNK_EVENTS, CHUNK_BYTES)
        except OSError as error:
            self._blocked(f"the log cannot be read: {error.strerror}", now)
            return False
        if end == self._at:
            return False
        self._unsaved = True  # what ends a fault, if there was one
        if not records:
            self._progress.skip(self._at, end)
        self._at = end
        self._take([record for record in records if self._is_wanted(record)], now)
        return True

    def _is_wanted(self, record: Record) -> bool:
        if record.start in self._progress or (self._until is not None and record.start >= self._until):
            return False
        if self._select is None or self._select(record):
            return True
        self._progress.settle(record)
        return False

    def _take(self, records: Sequence[Record], now: float) -> None:
        """Take records in, and hand the events among them to the transformation, or to the engine."""
        admitted: list[Routed] = []
        for record in records:
            routed, error = self._preparer.admit(record)
            self._pending[record.start] = routed
            self._pending_bytes += routed.size
            if error is None:
                admitted.append(routed)
            else:
                self._end(routed, Outcome(error))
        if self._transform is not None:
            self._transform.submit(admitted, self._on_transformed)
        else:
            self._enqueue([(routed, (routed.record.data,)) for routed in admitted], now)

    def _on_transformed(self, events: Sequence[Routed], outcomes: Sequence[Failed | Transformed]) -> None:
        ready: list[tuple[Routed, Sequence[bytes]]] = []
        for routed, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Failed):
                self._end(routed, Outcome(PluginError("transform", outcome.reason)))
            elif not outcome.events:
                self._end(routed, Outcome(Dropped("its transformation drops it")))
            else:
                ready.append((routed, outcome.events))
        self._enqueue(ready, monotonic())

    def _enqueue(self, events: Sequence[tuple[Routed, Sequence[bytes]]], now: float) -> None:
        """Give the engine the parts of events."""
        parts: list[RoutedPart] = []
        for routed, made in events:
            before = routed.size
            prepared = self._preparer.parts(routed, made)
            self._pending_bytes += routed.size - before
            if isinstance(prepared, DeliveryError):
                self._end(routed, Outcome(prepared))
            else:
                parts += prepared
        self._engine.enqueue(parts, now)

    # -- sending ----------------------------------------------------------------------------------------

    def _send(self, now: float) -> float | None:
        """Send what is due, and settle what has an outcome. Returns when the engine is due again."""
        while True:
            action = Wait(None) if self._closing else self._channel.next_action(now)
            self._channel.settle(self._settled)
            if not isinstance(action, Send):
                return action.until if isinstance(action, Wait) else None
            self._channel.send(action)

    def _resume(self, now: float) -> None:
        if self._engine.paused_by is None:
            self._resume_at = 0.0
        elif not self._resume_at:
            self._resume_at = now + RESUME_AFTER
            self._errors.note(str(self._engine.paused_by))
            _log.warning("%s is paused, and loses nothing: %s", self.name, self._engine.paused_by)
        elif self._resume_at <= now:
            self._resume_at = 0.0
            self._engine.resume()

    # -- outcomes ---------------------------------------------------------------------------------------

    def _settled(self, items: Sequence[object], outcome: Outcome) -> None:
        for part in cast("Sequence[RoutedPart]", items):
            routed = cast("Routed", part.routed)
            if outcome.error is not None and routed.outcome.error is None:
                routed.outcome, routed.refused = outcome, part.key
            routed.parts -= 1
            if not routed.parts:
                self._end(routed, routed.outcome if routed.outcome.error is not None else outcome)

    def _end(self, routed: Routed, outcome: Outcome) -> None:
        error = outcome.error
        if error is None:
            self.counters.delivered += 1
            self._refusals = 0
            if outcome.attempts > 1:
                self._note(routed, f"delivered: with attempt {outcome.attempts}")
        elif isinstance(error, Dropped):
            dropped = self.counters.dropped
            reason = error.reason if error.reason in dropped or len(dropped) < REASONS else "other reasons"
            dropped[reason] = dropped.get(reason, 0) + 1
            self._note(routed, str(error))
        else:
            routed.outcome = outcome
            self._unwritten.append(routed)
            self._note_refusal(error)
            return
        self._settle(routed)

    def _note(self, routed: Routed, what: str) -> None:
        self._recent.append((routed.record.start, routed.message_id, what))

    def _note_refusal(self, error: DeliveryError) -> None:
        self._errors.note(str(error))
        if not isinstance(error, RetriesExhausted | RateLimitExpired):
            self._refusals += 1
        if self._refusals == REFUSALS:
            self._engine.pause_for(error)
            self._refusals = 0

    def _settle(self, routed: Routed) -> None:
        del self._pending[routed.record.start]
        self._pending_bytes -= routed.size
        self._progress.settle(routed.record)
        self._rate.count += 1
        self._unsaved = True

    def _write_letters(self, now: float) -> None:
        """Write dead letters. An event is settled when its letter is written."""
        if now < self._try_at:
            return
        while self._unwritten:
            routed = self._unwritten[0]
            try:
                self._letters.add(self._letter(routed))
            except OSError as error:
                self._blocked(f"dead letters cannot be written: {error.strerror}", now)
                return
            self._unwritten.popleft()
            self.counters.dead += 1
            self._note(routed, f"dead letter: {routed.outcome.error}")
            self._settle(routed)

    def _blocked(self, why: str, now: float) -> None:
        """Note what the disk did not do: it is tried again a little later, and nothing is lost meanwhile."""
        if not self._fault:
            _log.warning("%s waits: %s", self.name, why)
        self._fault = why
        self._errors.note(why)
        self._try_at = now + AFTER_A_FAULT

    def _letter(self, routed: Routed) -> DeadLetter:
        error = cast("DeliveryError", routed.outcome.error)
        answer = error.last if isinstance(error, RetriesExhausted) else error
        since, wall = routed.outcome.since, time.time()
        return DeadLetter(
            id=letter_id(routed.record.start, routed.record.data),
            destination=self.name,
            code=_CODES.get(type(error).__name__, type(error).__name__),
            reason=str(error),
            attempts=routed.outcome.attempts,
            event=Raw(routed.record.data),
            message_id=routed.message_id,
            position=routed.record.start,
            status=answer.status if isinstance(answer, Rejected) else None,
            response=answer.body[:MAX_ANSWER].decode("utf-8", "replace") if isinstance(answer, Rejected) else "",
            part=routed.refused,
            received_at=routed.received_at,
            first_attempted_at="" if since is None else from_epoch(wall - (monotonic() - since)),
            last_attempted_at=from_epoch(wall),
        )

    # -- the cursor -------------------------------------------------------------------------------------

    def _save(self, now: float, *, at_once: bool = False) -> None:
        """Store the cursor: after the dead letters of what it says is settled."""
        if not self._unsaved or (now < self._save_at and not at_once):
            return
        self._save_at = now + SAVE_EVERY
        low = self._progress.low
        try:
            self._letters.sync()
            self._revision = self._cursors.save(self.name, "0", self._progress.cursor, self._revision)
            self._reader.hold(self.name, low)
            self._unsaved = False
            if not self._unwritten:
                self._fault = ""
        except Fenced as error:
            self.stopped = error
            _log.error("%s is stopped: %s", self.name, error)
        except OSError as error:
            self._blocked(f"the cursor cannot be stored: {error.strerror}", now)
            self._save_at = now + AFTER_A_FAULT

    # -- the status -------------------------------------------------------------------------------------

    def status(self, now: float) -> RouteStatus:
        """Return the state of the route; `now` is monotonic."""
        wall = time.time()
        state = self._state_at(now)
        if state != self._state[0]:
            self._state = (state, wall)
        self.counters.requests = self._requests_before + self._engine.requests
        self.counters.retried = self._retries_before + self._engine.retries
        self.counters.dead_lost = self._letters.lost
        if (error := self._engine.troubled_by) is not None:
            self._errors.note(str(error))
        end = self._reader.durable()
        oldest = next(iter(self._pending.values()), None)
        behind = max(0, end - self._at)
        lag = len(self._pending) + (round(behind / self._event_size()) if behind else 0)
        return RouteStatus(
            name=self.name,
            type=self.settings.type,
            state=state,
            updated_at=wall,
            since=self._state[1],
            position=self._progress.low,
            end=end,
            lag_events=lag,
            lag_seconds=0.0 if oldest is None else max(0.0, wall - _seconds(oldest.received_at, wall)),
            rate=self._rate.at(now),
            pending=len(self._pending),
            in_flight=self._engine.in_flight,
            counters=self.counters,
            last_error=self._fault or self._errors.last,
            last_error_at=self._errors.at,
            lost=self._reader.lost(self.name),
            fallback=self._fallback,
            recent=list(self._recent),
            violations=self._preparer.violations,
        )

    def _event_size(self) -> float:
        return self._pending_bytes / len(self._pending) if self._pending_bytes else 600.0

    def _state_at(self, now: float) -> str:
        if self.stopped is not None:
            return "fenced"
        if self._fault:
            return "blocked"
        if self._engine.paused_by is not None:
            return "paused"
        if self._engine.limited_until(now) is not None:
            return "limited"
        return "retrying" if self._engine.troubled_by is not None else "running"


_CODES = {
    "Rejected": "rejected",
    "RetriesExhausted": "retries_exhausted",
    "RateLimitExpired": "rate_limit_expired",
    "PluginError": "not_prepared",
    "TransportError": "no_answer",
    "AuthError": "no_token",
}


class _Errors:
    """The last error, and when it was met first."""

    def __init__(self) -> None:
        self.last = ""
        self.at = 0.0

    def note(self, text: str) -> None:
        if text != self.last:
            self.last, self.at = text, time.time()


class _Rate:
    """Events per second, over the last seconds."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: deque[tuple[float, int]] = deque(maxlen=10)

    def at(self, now: float) -> float:
        self._seen.append((now, self.count))
        (since, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - since) if until > since else 0.0


def _seconds(received_at: str, default: float) -> float:
    try:
        return epoch_ms(received_at) / 1000
    except ValueError:
        return default


def _silent() -> Emitter:
    return Emitter(lambda _: None, lambda: False)
