"""The engine: decides what is sent when, and what became of it. It does nothing itself.

It is told facts with a time (events came, an answer came, no answer came) and asked what to do next. It never waits,
reads a clock or calls back, and is given its random numbers: twelve hours of rate limiting take milliseconds in a test.

A batch's life. A batch holds one of `max_in_flight` slots from its cut to its end, also while it backs off: with one
slot the order of events is kept, retries included, and a host that is down is asked by few batches while the rest
of the queue keeps its attempts.

    state       fact                                     next        also
    ─────────── ──────────────────────────────────────── ─────────── ─────────────────────────────────────────
    queued      due (count, age, bytes, flush, close),   in flight   Send
                slot free, gate open
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

The gate is one for all batches: a host that asks for patience asks it of the client, not of one request. While it is
shut nothing is sent, so a success that comes then was sent before, and does not open it. The window, in which
max_rate_limit_duration is counted, runs from the first request for patience to the next success, or until nothing
is left that waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...errors import Abandoned, DeliveryError, RateLimitExpired, RetriesExhausted, TransportError
from ..outcome import DELIVERED, Outcome
from . import verdicts
from .actions import Action, Done, Send, Wait
from .batcher import Batch, Item
from .policy import Policy
from .ratelimit import RateLimit
from .verdicts import Verdict, sort_parts

__all__ = ["Engine"]


class Engine:
    """Delivers events to one destination: batches, retries, rate limits, closing."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._queue = policy.batcher()
        self._halves: deque[Batch] = deque()  # cut already, in order, waiting for a slot
        self._sent: dict[Batch, Send] = {}  # in flight
        self._waiting: dict[Batch, float] = {}  # backing off or limited, and when they may go
        self._gate = RateLimit(policy.max_rate_limit)
        self._paused = False
        self.paused_by: DeliveryError | None = None
        """Why the destination is paused: what it said of the credentials; None while it is not."""
        self._closing = False
        self._deadline: float | None = None
        self._settled: list[tuple[list[Item], Outcome]] = []
        self._rested: list[tuple[Batch, DeliveryError]] = []
        self.requests = 0
        self.retries = 0

    # -- facts --------------------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Item], now: float) -> None:
        """Events to deliver, in order."""
        if not items:
            return
        if self.idle():
            self._gate.forget()
        self._queue.put(items, now)
        if self._closing:  # a call that crossed the close
            self._queue.force()

    def flush(self) -> None:
        """All that is here is due now."""
        self._queue.force()
        self._wake()

    def never_linger(self) -> None:
        """Nobody will be there to cut a batch a moment later."""
        self._queue.linger = 0.0

    def pause(self) -> None:
        """Send nothing for now (a critical plugin is not loaded)."""
        self._paused = True

    def resume(self) -> None:
        """Send again."""
        self._paused = False
        self.paused_by = None

    def close(self, deadline: float | None) -> None:
        """All that is here, and what may still come, is due now. What is left at `deadline` is given up."""
        self.flush()
        self._closing = True
        self._deadline = deadline

    def responded(self, send: Send, verdict: Verdict, now: float) -> None:
        """The world answered."""
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
                self._waiting[batch] = now
                self._paused, self.paused_by = True, error
            case verdicts.Refused(error) | verdicts.Unauthorized(error) | verdicts.Paused(error):
                self._fail(batch, error)

    def failed(self, send: Send, error: DeliveryError, now: float) -> None:
        """The world did not answer."""
        if self._take_back(send):
            self._count_failure(send.batch, error, now)

    def hold_back(self, send: Send) -> Send:
        """The request cannot leave yet. Report with what this returns: it has no deadline."""
        self.requests -= 1
        self.retries -= send.attempt > 1
        held = self._sent[send.batch] = replace(send, deadline=math.inf)
        return held

    def recalled(self, send: Send, now: float) -> None:
        """The driver took the request back before there was an answer, or held it back and no longer does.

        It counts as not sent, and takes its turn.
        """
        if self._take_back(send):
            send.batch.attempts -= 1
            self._waiting[send.batch] = now

    # -- questions ----------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action:
        """What to do now. Ask again after doing it, until the answer is Wait or Done."""
        self._expire(now)
        batch = self._ready(now)
        if batch is not None:
            return self._send(batch, now)
        if self._closing and self.idle():
            return Done()
        return Wait(self._next_moment(now))

    def settled(self) -> list[tuple[list[Item], Outcome]]:
        """Who has an outcome since this was last asked. Each event appears exactly once."""
        settled, self._settled = self._settled, []
        return settled

    def rested(self) -> list[tuple[Batch, DeliveryError]]:
        """Which batches have begun to rest since this was last asked, and what they would have failed of."""
        rested, self._rested = self._rested, []
        return rested

    def is_retried(self, batch: Batch) -> bool:
        """Return whether a batch that has failed waits for another attempt."""
        return batch in self._waiting

    def fail(self, batch: Batch, error: DeliveryError) -> None:
        """A batch that rests is not to be kept any longer."""
        if self._waiting.pop(batch, None) is not None:
            self._fail(batch, error)

    @property
    def at_rest(self) -> bool:
        """Whether nothing will be tried for a while: each batch that could be has exhausted its retries."""
        if self._sent or not self._waiting or not all(batch.resting for batch in self._waiting):
            return False
        return not self._slot_free() or not (self._queue or self._halves)

    def missing(self, now: float) -> int | None:
        """How many more events would change what is done next; None if no number would."""
        if self._closing or not self._queue:  # the first one sets a time
            return 1
        if self._paused or self._gate.is_shut(now) or not self._slot_free():
            return None
        return self._queue.missing()

    @property
    def hungry(self) -> bool:
        """Whether there is less than a full batch that waits for a slot."""
        return not (self._queue.full or self._halves)

    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not (self._queue or self._halves or self._sent or self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests on their way."""
        return len(self._sent)

    # -- decisions ----------------------------------------------------------------------------------

    def _ready(self, now: float) -> Batch | None:
        """The next batch that may go now, if any: those that hold a slot first, then in order of arrival."""
        if self._paused or self._gate.is_shut(now):
            return None
        self._gate.opened()
        for batch, due in self._waiting.items():
            if due <= now:
                del self._waiting[batch]
                return batch
        if not self._slot_free():
            return None
        if self._halves:
            return self._halves.popleft()
        due_at = self._queue.due_at(now)
        return self._queue.cut(now) if due_at is not None and due_at <= now else None

    def _slot_free(self) -> bool:
        return len(self._sent) + len(self._waiting) < self._policy.max_in_flight

    def _send(self, batch: Batch, now: float) -> Send:
        batch.attempts += 1
        batch.limited = batch.resting = False
        self.requests += 1
        self.retries += batch.attempts > 1
        send = Send(batch, batch.attempts, now + self._policy.send_timeout)
        self._sent[batch] = send
        return send

    def _take_back(self, send: Send) -> bool:
        """Whether this report is about a request that still counts."""
        if self._sent.get(send.batch) is not send:
            return False
        del self._sent[send.batch]
        return True

    def _arrived(self, batch: Batch, items: list[Item], now: float) -> None:
        self._gate.succeeded(now)
        batch.accepted()
        outcome = DELIVERED if batch.attempts == 1 else Outcome(attempts=batch.attempts)
        self._settled.append((items, outcome))
        self._wake()

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
            self._settled.append((items, Outcome(reason, batch.attempts)))
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
        """Have a batch wait for its next attempt, unless it has had them all."""
        batch.last = error
        if exhausted or self._policy.over_cap(batch.attempts - batch.attempts_before):
            self._give_up(batch, now, RetriesExhausted(batch.attempts, error))
        else:
            self._waiting[batch] = now + delay

    def _give_up(self, batch: Batch, now: float, error: DeliveryError) -> None:
        """It has been tried enough: it fails, or has a rest where events are kept."""
        if not self._policy.keeps or self._closing:
            self._fail(batch, error)
            return
        batch.rest()
        self._waiting[batch] = now + self._policy.rest
        self._rested.append((batch, error))

    def _wake(self) -> None:
        """The batches that rest may try again: somebody wants it, or the host answers."""
        for batch in self._waiting:
            if batch.resting:
                batch.resting = False
                self._waiting[batch] = -math.inf

    def _split(self, batch: Batch, error: DeliveryError, now: float) -> None:
        if not batch.worth_splitting():
            self._fail(batch, error)
            return
        first, second = batch.halves()
        self._waiting[first] = now
        self._halves.appendleft(second)

    def _fail(self, batch: Batch, error: DeliveryError) -> None:
        self._settled.append((batch.items, Outcome(error, batch.attempts)))

    def _expire(self, now: float) -> None:
        """What time alone decides."""
        for send in [s for s in self._sent.values() if s.deadline <= now]:
            self.failed(send, TransportError("the HTTP client did not come back in time"), now)
        limit = self._gate.patience_ends()
        if limit is not None and limit <= now:
            for batch in [b for b in self._waiting if b.limited]:  # the next batch may try its luck
                del self._waiting[batch]
                self._give_up(batch, now, RateLimitExpired(batch.attempts, self._policy.max_rate_limit))
            self._gate.give_up()
        if self._closing and self._deadline is not None and self._deadline <= now:
            self._abandon()

    def _abandon(self) -> None:
        for batch in [*self._sent, *self._waiting, *self._halves]:
            self._fail(batch, batch.abandoned(under_way=batch in self._sent))
        for emptied in (self._sent, self._waiting, self._halves):
            emptied.clear()
        if self._queue:
            self._settled.append((self._queue.clear(), Outcome(Abandoned())))

    def _next_moment(self, now: float) -> float | None:
        """When time alone will change something."""
        moments = [send.deadline for send in self._sent.values() if send.deadline < math.inf]
        if not self._paused:
            gate = self._gate.opens_at(now)
            moments += [max(due, gate) for due in self._waiting.values()]
            due_at = gate if self._halves else self._queue.due_at(now)
            if due_at is not None and self._slot_free():  # else it is not time that they wait for
                moments.append(max(due_at, gate))
        limit = self._gate.patience_ends()
        if limit is not None:
            moments.append(limit)
        if self._closing and self._deadline is not None:
            moments.append(self._deadline)
        return min(moments, default=None)
