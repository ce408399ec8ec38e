"""The engine: decides when to send what, and with which outcome. It does no I/O.

It is given facts with a time (events, an answer, a failure) and asked for the next action. It never waits, reads a
clock or calls back, and is given its random numbers: a test of twelve hours of rate limiting takes milliseconds.

The states of a batch. A batch holds one of `max_in_flight` slots from its cut to its outcome, also while it backs off:
with one slot the order of events is kept, retries included, and while a host is down, few batches are tried and the
rest of the queue keeps its attempts.

    state       fact                                     next        also
    ─────────── ──────────────────────────────────────── ─────────── ─────────────────────────────────────────
    queued      due (count, age, bytes, flush, close),   in flight   Send
                slot free, gate open, key free if ordered
    in flight   delivered                                settled     the rate-limit window ends; a shut gate stays shut
    in flight   limited: retry after t                   limited     the gate is shut until t; not counted
    in flight   failed, or an answer worth a retry       backing off counted
    in flight   split, several events                    halved      two batches, in order; the first keeps the slot
    in flight   split, one event; or a run of such       settled     failed: Rejected
                answers, without one success; refused
    in flight   a verdict for each part                  settled     those delivered or refused; the rest as one batch
    in flight   paused, where events can be read again   backing off not counted; nothing is sent until `resume`
    in flight   its deadline passed, no report           backing off counted; a later report is ignored
    in flight   recalled (there is a token; or the event backing off not counted; goes again when there is a driver
                loop under it has ended)
    in flight   held back (there is no token)            in flight   no deadline; the request has not left
    in flight   unauthorized, the first time             backing off for no time; not counted
    in flight   unauthorized again                       settled     failed: Rejected
    backing off time reached, gate open                  in flight   Send
    backing off too many or too long                     settled     failed: RetriesExhausted
                (events are kept, and not closing:       resting     its retries start anew)
    resting     REST is over, flush, close, or           in flight   Send
                another batch is delivered
    limited     gate open                                in flight   Send
    limited     max_rate_limit_duration reached          settled     failed: RateLimitExpired; the gate opens
                (events are kept, and not closing:       resting)
    in flight   limited or failed, and more attempts     settled     failed: RetriesExhausted (the safety cap)
                than max_retries + 20
    any         close deadline                           settled     failed: Abandoned

The rate limit (`gate`) is one for all batches: a host that limits a request limits the client. While it is shut nothing
is sent, so that a success in that time belongs to an earlier request, and does not open it. max_rate_limit_duration is
counted from the first limited request to the next success, or until no batch is left that waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...errors import Abandoned, DeliveryError, RateLimitExpired, RetriesExhausted, TransportError
from ..outcome import DELIVERED, Outcome
from . import verdicts
from .actions import Action, Done, Send, Wait
from .batcher import Batch, Item
from .policy import Policy
from .ratelimit import RateLimit
from .under_way import UnderWay
from .verdicts import Verdict, sort_parts

__all__ = ["Engine"]


class Engine:
    """Delivers events to one destination: batches, retries, rate limits, closing."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._queue = policy.batcher()
        self._under_way = UnderWay(policy)
        self._gate = RateLimit(policy.max_rate_limit)
        self._paused = False
        self.paused_by: DeliveryError | None = None
        """The error of a paused destination, about its credentials; else None."""
        self._closing = False
        self._deadline: float | None = None
        self._settled: list[tuple[list[Item], Outcome]] = []
        self._rested: list[tuple[Batch, DeliveryError]] = []
        self.requests = 0
        self.retries = 0

    # -- facts --------------------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Item], now: float) -> None:
        """Add events to deliver, in order."""
        if not items:
            return
        if self.idle():
            self._gate.forget()
        self._queue.put(items, now)
        if self._closing:  # a call concurrent with the close
            self._queue.force()

    def flush(self) -> None:
        """Make all waiting events due now."""
        self._queue.force()
        self._end_rests()

    def never_linger(self) -> None:
        """Cut batches at once from now on: no driver will be there to cut one later."""
        self._queue.linger = 0.0

    def pause(self) -> None:
        """Send nothing until `resume` (a critical plugin is not loaded)."""
        self._paused = True

    def pause_for(self, error: DeliveryError) -> None:
        """Send nothing until `resume`: the destination refuses whatever it is sent."""
        self._paused, self.paused_by = True, error

    def resume(self) -> None:
        """Send again."""
        self._paused = False
        self.paused_by = None

    def close(self, deadline: float | None) -> None:
        """Make all events due, later ones too. Those left at `deadline` are abandoned."""
        self.flush()
        self._closing = True
        self._deadline = deadline

    def responded(self, send: Send, verdict: Verdict, now: float) -> None:
        """Handle an answer."""
        if not self._take_back(send):
            return
        batch = send.batch
        match verdict:
            case verdicts.Delivered():
                self._arrived(batch, batch.items, now)
            case verdicts.Limited(seconds, error):
                self._limit(batch, seconds, error, now)
            case verdicts.Retry(error):
                self._count_failure(batch, error, now)
            case verdicts.Split(error):
                self._split(batch, error, now)
            case verdicts.Partial(parts):
                self._settle_parts(batch, parts, now)
            case verdicts.Unauthorized(error) if not batch.reauthorized:
                batch.reauthorized = True
                self._hold(batch, now, error)
            case verdicts.Paused(error) if self._policy.pauses and not self._closing:
                batch.attempts -= 1
                self._under_way.waiting[batch] = now
                self.pause_for(error)
            case verdicts.Refused(error) | verdicts.Unauthorized(error) | verdicts.Paused(error):
                self._fail(batch, error)

    def failed(self, send: Send, error: DeliveryError, now: float) -> None:
        """Handle a failed request."""
        if self._take_back(send):
            self._count_failure(send.batch, error, now)

    def hold_back(self, send: Send) -> Send:
        """Hold a request back. Report with the returned value: it has no deadline."""
        self.requests -= 1
        self.retries -= send.attempt > 1
        held = self._under_way.sent[send.batch] = replace(send, deadline=math.inf)
        return held

    def recalled(self, send: Send, now: float) -> None:
        """Handle a request that the driver took back before an answer, or no longer holds back.

        It counts as not sent, and waits for its turn.
        """
        if self._take_back(send):
            send.batch.attempts -= 1
            self._under_way.waiting[send.batch] = now

    # -- questions ----------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action:
        """Return the next action. Ask again after doing it, until the answer is Wait or Done."""
        self._expire(now)
        batch = self._ready(now)
        if batch is not None:
            return self._send(batch, now)
        if self._closing and self.idle():
            return Done()
        return Wait(self._next_moment(now))

    def settled(self) -> list[tuple[list[Item], Outcome]]:
        """Return the events settled since the last call, each exactly once."""
        settled, self._settled = self._settled, []
        return settled

    def rested(self) -> list[tuple[Batch, DeliveryError]]:
        """Return the batches that began to rest since the last call, with the error they would have failed with."""
        rested, self._rested = self._rested, []
        return rested

    def is_retried(self, batch: Batch) -> bool:
        """Return whether a batch that has failed waits for another attempt."""
        return batch in self._under_way.waiting

    def fail(self, batch: Batch, error: DeliveryError) -> None:
        """Fail a batch that rests."""
        if self._under_way.waiting.pop(batch, None) is not None:
            self._fail(batch, error)

    @property
    def at_rest(self) -> bool:
        """Whether nothing will be sent for a while: each batch that could be has exhausted its retries."""
        if (
            self._under_way.sent
            or not self._under_way.waiting
            or not all(batch.resting for batch in self._under_way.waiting)
        ):
            return False
        return not self._under_way.slot_free or not (self._queue or self._under_way.halves)

    def missing(self, now: float) -> int | None:
        """The number of further events that would change the next action; None if no number would."""
        if self._closing or not self._queue:  # the first one sets a time
            return 1
        if self._paused or self._gate.is_shut(now) or not self._under_way.slot_free:
            return None
        return self._queue.missing()

    @property
    def hungry(self) -> bool:
        """Whether less than a full batch waits for a slot."""
        return not (self._queue.full or self._under_way.halves)

    def idle(self) -> bool:
        """Whether no event waits or is in flight."""
        return not (self._queue or self._under_way)

    @property
    def troubled_by(self) -> DeliveryError | None:
        """The last error of the batches that wait for another attempt; None if none waits."""
        return next((batch.last for batch in reversed(self._under_way.waiting) if batch.last is not None), None)

    def limited_until(self, now: float) -> float | None:
        """When the rate limit of the server ends, if there is one."""
        return self._gate.opens_at(now) if self._gate.is_shut(now) else None

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return len(self._under_way.sent)

    # -- decisions ----------------------------------------------------------------------------------

    def _ready(self, now: float) -> Batch | None:
        """The next batch that may be sent now, if any: those that hold a slot first, then in order of arrival."""
        if self._paused or self._gate.is_shut(now) or not self._under_way.may_send:
            return None
        self._gate.opened()
        batch = self._under_way.take_waiting(now)
        if batch is None and self._under_way.slot_free:
            batch = self._under_way.take_next(self._queue, now)
        return batch

    def _send(self, batch: Batch, now: float) -> Send:
        batch.attempts += 1
        batch.began = now if batch.began is None else batch.began
        batch.limited = batch.resting = False
        self.requests += 1
        self.retries += batch.attempts > 1
        send = Send(batch, batch.attempts, now + self._policy.send_timeout)
        self._under_way.sent[batch] = send
        return send

    def _take_back(self, send: Send) -> bool:
        """Whether this report is about a request that still counts."""
        if self._under_way.sent.get(send.batch) is not send:
            return False
        del self._under_way.sent[send.batch]
        return True

    def _arrived(self, batch: Batch, items: list[Item], now: float) -> None:
        self._gate.succeeded(now)
        batch.accepted()
        outcome = DELIVERED if batch.attempts == 1 else Outcome(attempts=batch.attempts)
        self._settled.append((items, outcome))
        self._end_rests()

    def _settle_parts(self, batch: Batch, said: Sequence[verdicts.PartVerdict], now: float) -> None:
        """Settle each part by its own verdict; those that are worth a retry go on as one batch, in order."""
        if len(said) != len(batch.items):
            why = f"{len(said)} verdicts for {len(batch.items)} events: a fault of the destination's `judge`"
            self._count_failure(batch, TransportError(why), now)
            return
        parts = sort_parts(batch.items, said)
        rest = batch.part(parts.again)
        if parts.delivered:
            self._arrived(batch, parts.delivered, now)
        for reason, items in parts.refused.items():
            self._settled.append((items, Outcome(reason, batch.attempts, since=batch.began)))
        match parts.retry:
            case verdicts.Limited(seconds, error):
                self._limit(rest, seconds, error, now)
            case verdicts.Retry(error):
                self._count_failure(rest, error, now)
            case None:
                pass

    def _limit(self, batch: Batch, seconds: float, error: DeliveryError, now: float) -> None:
        self._gate.shut(now, seconds)
        batch.limited = True
        self._hold(batch, now, error)

    def _count_failure(self, batch: Batch, error: DeliveryError, now: float) -> None:
        batch.failures += 1
        if batch.first_failure is None:
            batch.first_failure = now
        exhausted = self._policy.exhausted(batch.failures, now - batch.first_failure)
        self._hold(batch, now, error, self._policy.delay(batch.failures, self._random()), exhausted=exhausted)

    def _hold(
        self, batch: Batch, now: float, error: DeliveryError, delay: float = 0.0, *, exhausted: bool = False
    ) -> None:
        """Schedule the next attempt of a batch, unless its retries are exhausted."""
        batch.last = error
        if exhausted or self._policy.over_cap(batch.attempts - batch.attempts_before):
            self._end_attempts(batch, now, RetriesExhausted(batch.attempts, error))
        else:
            self._under_way.waiting[batch] = now + delay

    def _end_attempts(self, batch: Batch, now: float, error: DeliveryError) -> None:
        """End the attempts of a batch: it fails, or rests where events are kept."""
        if not self._policy.keeps or self._closing:
            self._fail(batch, error)
            return
        batch.rest()
        self._under_way.waiting[batch] = now + self._policy.rest
        self._rested.append((batch, error))

    def _end_rests(self) -> None:
        """Retry batches that rest: on a flush or close, or when the host answers."""
        for batch in self._under_way.waiting:
            if batch.resting:
                batch.resting = False
                self._under_way.waiting[batch] = -math.inf

    def _split(self, batch: Batch, error: DeliveryError, now: float) -> None:
        if not batch.worth_splitting():
            self._fail(batch, error)
            return
        first, second = batch.halves()
        self._under_way.waiting[first] = now
        self._under_way.halves.appendleft(second)

    def _fail(self, batch: Batch, error: DeliveryError) -> None:
        self._settled.append((batch.items, Outcome(error, batch.attempts, since=batch.began)))

    def _expire(self, now: float) -> None:
        """Apply deadlines."""
        for send in [s for s in self._under_way.sent.values() if s.deadline <= now]:
            self.failed(send, TransportError("the HTTP client did not come back in time"), now)
        limit = self._gate.patience_ends()
        if limit is not None and limit <= now:
            for batch in [b for b in self._under_way.waiting if b.limited]:  # the next batch may be tried
                del self._under_way.waiting[batch]
                self._end_attempts(batch, now, RateLimitExpired(batch.attempts, self._policy.max_rate_limit))
            self._gate.expire()
        if self._closing and self._deadline is not None and self._deadline <= now:
            self._abandon()

    def _abandon(self) -> None:
        for batch in self._under_way:
            self._fail(batch, batch.abandoned(under_way=batch in self._under_way.sent))
        self._under_way.clear()
        if self._queue:
            self._settled.append((self._queue.clear(), Outcome(Abandoned())))

    def _next_moment(self, now: float) -> float | None:
        """The next time at which something is due without a new fact."""
        moments = [send.deadline for send in self._under_way.sent.values() if send.deadline < math.inf]
        if not self._paused and self._under_way.may_send:
            gate = self._gate.opens_at(now)
            moments += [max(due, gate) for due in self._under_way.waiting.values()]
            # Without one, they wait for a slot, not for a time.
            due_at = self._under_way.next_due(self._queue, now) if self._under_way.slot_free else None
            if due_at is not None:
                moments.append(max(due_at, gate))
        limit = self._gate.patience_ends()
        if limit is not None:
            moments.append(limit)
        if self._closing and self._deadline is not None:
            moments.append(self._deadline)
        return min(moments, default=None)
