"""The engine and the ledger under anything that can happen, in any order and at any moment.

Beside them runs a `Model`: the same rules a second time, as plainly as they can be said, on lists and without regard
for speed. Whatever the engine does is compared with it; whatever the ledger says is compared with the receipts.

`MILLSTREAM_HYPOTHESIS=deep` looks for much longer.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from millstream._core.delivery.actions import Done, Send, Wait
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream._core.delivery.retry import backoff
from millstream._core.delivery.verdicts import (
    Delivered,
    Limited,
    Partial,
    Paused,
    Refused,
    Retry,
    Split,
    Unauthorized,
    Verdict,
)
from millstream._core.ledger import Ledger
from millstream._core.outcome import Outcome
from millstream._core.receipt import Receipt
from millstream._core.ticket import Ticket
from millstream.destinations.tracking_api import TrackingAPI
from millstream.errors import (
    Abandoned,
    EventTooLarge,
    QueueFull,
    RateLimitExpired,
    Rejected,
    RetriesExhausted,
    TransportError,
)

API = TrackingAPI("key", host="http://localhost")
REJECTED = Rejected(400)
NO_ANSWER = TransportError("reset")

Report = Verdict | TransportError
REPORTS: st.SearchStrategy[Report] = st.one_of(
    st.just(Delivered()),
    st.just(Retry(REJECTED)),
    st.sampled_from([1.0, 2.0, 20.0, 300.0]).map(lambda seconds: Limited(seconds, REJECTED)),
    st.just(Split(REJECTED)),
    st.just(Refused(REJECTED)),
    st.just(Unauthorized(REJECTED)),
    st.just(Paused(REJECTED)),
    st.just(NO_ANSWER),
    st.lists(
        st.sampled_from([Delivered(), Delivered(), Retry(REJECTED), Limited(2.0, REJECTED), Refused(REJECTED)]),
        min_size=1,
        max_size=4,
    ).map(lambda some: Partial(tuple(some))),
)
POLICIES = st.builds(
    Policy,
    flush_at=st.sampled_from([1, 2, 4, 20]),
    flush_interval=st.sampled_from([0.5, 10.0, 100.0]),
    linger=st.sampled_from([0.0, 0.0, 0.2]),
    max_batch_events=st.sampled_from([1, 2, 5, 2500]),
    max_batch_bytes=st.sampled_from([API.limits.overhead + extra for extra in (20, 41, 100, 10_000)]),
    overhead=st.just(API.limits.overhead),
    max_in_flight=st.sampled_from([1, 1, 2, 4]),
    max_retries=st.sampled_from([0, 1, 3]),
    max_total_backoff=st.sampled_from([0.0, 5.0, 43_200.0]),
    max_rate_limit=st.sampled_from([0.0, 5.0, 30.0, 43_200.0]),
    send_timeout=st.just(11.0),
    keeps=st.booleans(),
    pauses=st.booleans(),
)
MAX_EVENTS, MAX_BYTES = 40, 1500
TOO_LARGE = 1000
"""An event of this size is refused at the call."""


def body_length(items: Sequence[Receipt]) -> int:
    """The length of the body that is really sent."""
    return len(API.request(items, 1, 1_767_225_600.0).body)


# -- the model ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Group:
    """A batch as the model knows it."""

    receipts: list[Receipt]
    attempts: int = 0
    failures: int = 0
    first_failure: float | None = None
    limited: bool = False
    reauthorized: bool = False
    resting: bool = False
    attempts_before: int = 0
    search: list[int] | None = None  # refusals in a row, in all parts of the batch that was split first
    most: int = 0  # so many of them end the search
    ready: float = 0.0


@dataclass
class Model:
    """What should be sent when, and what should become of it."""

    policy: Policy
    jitter: float
    queue: list[tuple[Receipt, float]] = field(default_factory=list)  # with the time of arrival
    due_since: float | None = None  # since when there are flush_at of them
    forced: int = 0  # so many of them, from the front, are due
    halves: list[Group] = field(default_factory=list)
    waiting: list[Group] = field(default_factory=list)
    flying: dict[Send, Group] = field(default_factory=dict)
    gate: float | None = None
    since: float | None = None
    paused: bool = False
    closing: bool = False
    deadline: float | None = None
    ended: list[tuple[Receipt, type | None]] = field(default_factory=list)

    def empty(self) -> bool:
        return not (self.queue or self.halves or self.waiting or self.flying)

    # facts

    def arrive(self, receipts: list[Receipt], now: float) -> None:
        if self.empty():
            self.since = None
        self.queue += [(receipt, now) for receipt in receipts]
        self.count(now)
        if self.closing:
            self.flush()

    def count(self, now: float | None = None) -> None:
        if len(self.queue) < min(self.policy.flush_at, self.policy.max_batch_events):
            self.due_since = None
        elif self.due_since is None:
            self.due_since = now

    def flush(self) -> None:
        self.forced = len(self.queue)
        self.wake()

    def wake(self) -> None:
        for group in self.waiting:
            if group.resting:
                group.ready = -math.inf

    def close(self, deadline: float | None) -> None:
        self.flush()
        self.closing, self.deadline = True, deadline

    def sent(self, send: Send, group: Group, now: float) -> None:
        group.attempts += 1
        group.limited = group.resting = False
        self.flying[send] = group
        if group in self.waiting:
            self.waiting.remove(group)
        elif group in self.halves:
            self.halves.remove(group)
        else:
            del self.queue[: len(group.receipts)]
            self.forced = max(0, self.forced - len(group.receipts))
            self.due_since = None
            self.count(now)

    def reported(self, send: Send, report: Report, now: float) -> None:
        group = self.flying.pop(send, None)
        if group is None:
            return
        match report:
            case Delivered():
                self.arrived(group, now)
            case Partial(verdicts) if len(verdicts) == len(group.receipts):
                self.in_parts(group, verdicts, now)
            case Paused() if self.policy.pauses and not self.closing:
                group.attempts -= 1
                group.ready = now
                self.waiting.append(group)
                self.paused = True
            case Refused() | Paused():
                self.end(group, Rejected)
            case Split():
                self.split(group, now)
            case Limited(seconds):
                self.limit(group, now, seconds)
            case Unauthorized() if group.reauthorized:
                self.end(group, Rejected)
            case Unauthorized():
                group.reauthorized = True
                self.go_again(group, now)
            case _:
                self.fail(group, now)

    def arrived(self, group: Group, now: float) -> None:
        if group.search is not None:
            group.search[0] = 0
        self.end(group, None)
        self.since = now if self.shut(now) else None
        self.wake()

    def in_parts(self, group: Group, verdicts: tuple[Verdict, ...], now: float) -> None:
        def those(*kinds: type) -> list[Receipt]:
            return [r for r, verdict in zip(group.receipts, verdicts, strict=True) if isinstance(verdict, kinds)]

        delivered, refused, again = those(Delivered), those(Refused), those(Retry, Limited)
        if delivered:
            self.arrived(replace(group, receipts=delivered), now)
        if refused:
            self.end(replace(group, receipts=refused), Rejected)
        if those(Limited):
            self.limit(replace(group, receipts=again), now, max(v.seconds for v in verdicts if isinstance(v, Limited)))
        elif again:
            self.fail(replace(group, receipts=again), now)

    def fail(self, group: Group, now: float) -> None:
        policy = self.policy
        group.failures += 1
        group.first_failure = now if group.first_failure is None else group.first_failure
        too_long = now - group.first_failure > policy.max_total_backoff
        if group.failures > policy.max_retries or too_long or self.over_cap(group):
            self.give_up(group, RetriesExhausted, now)
        else:
            group.ready = now + backoff(group.failures, self.jitter)
            self.waiting.append(group)

    def limit(self, group: Group, now: float, seconds: float) -> None:
        self.since = now if self.since is None else self.since
        self.gate = max(self.gate or 0.0, now + seconds)
        group.limited = True
        self.go_again(group, now)

    def go_again(self, group: Group, now: float) -> None:
        """At once, as far as gate and safety cap allow; not counted."""
        if self.over_cap(group):
            self.give_up(group, RetriesExhausted, now)
        else:
            group.ready = now
            self.waiting.append(group)

    def undo(self, send: Send, now: float) -> None:
        """The attempt has not happened."""
        group = self.flying.pop(send, None)
        if group is not None:
            group.attempts -= 1
            group.ready = now
            self.waiting.append(group)

    def held_back(self, send: Send, held: Send) -> None:
        self.flying = {held if each is send else each: group for each, group in self.flying.items()}

    def split(self, group: Group, now: float) -> None:
        size = len(group.receipts)
        if group.search is None:
            group.search, group.most = [0], size.bit_length() + 8
        group.search[0] += 1
        if size == 1 or group.search[0] > group.most:
            self.end(group, Rejected)
            return
        first = replace(group, receipts=group.receipts[: size // 2], limited=False, ready=now)
        second = replace(group, receipts=group.receipts[size // 2 :], limited=False, ready=0.0)
        self.waiting.append(first)
        self.halves.insert(0, second)

    def over_cap(self, group: Group) -> bool:
        return group.attempts - group.attempts_before > self.policy.max_retries + Policy.extra_attempts

    def give_up(self, group: Group, error: type, now: float) -> None:
        """The end; or, where events are kept, all its retries once more after a rest."""
        if not self.policy.keeps or self.closing:
            self.end(group, error)
            return
        group.resting, group.ready = True, now + Policy.rest
        group.attempts_before = group.attempts
        group.failures, group.first_failure, group.reauthorized = 0, None, False
        self.waiting.append(group)

    def end(self, group: Group, error: type | None) -> None:
        self.ended += [(receipt, error) for receipt in group.receipts]

    # time

    def look(self, now: float) -> None:
        """What time alone has decided by now."""
        for send in [send for send in self.flying if send.deadline <= now]:
            self.reported(send, NO_ANSWER, now)
        patience = self.patience_ends()
        if patience is not None and patience <= now:
            for group in [group for group in self.waiting if group.limited]:
                self.waiting.remove(group)
                self.give_up(group, RateLimitExpired, now)
            self.gate = self.since = None
        if self.closing and self.deadline is not None and self.deadline <= now:
            self.abandon()
        if not self.shut(now):
            self.gate = None

    def abandon(self) -> None:
        for group in [*self.flying.values(), *self.waiting, *self.halves]:
            self.end(group, Abandoned)
        self.ended += [(receipt, Abandoned) for receipt, _ in self.queue]
        self.flying, self.waiting, self.halves, self.queue, self.forced = {}, [], [], [], 0
        self.count()

    def shut(self, now: float) -> bool:
        return self.gate is not None and now < self.gate

    def patience_ends(self) -> float | None:
        if self.gate is None or self.since is None:
            return None
        end = self.since + self.policy.max_rate_limit
        return end if end <= self.gate else None

    # decisions

    def slot_free(self) -> bool:
        return len(self.flying) + len(self.waiting) < self.policy.max_in_flight

    def due_at(self, now: float) -> float | None:
        """When the queue is due: by count, bytes, flush, close or age."""
        if not self.queue:
            return None
        receipts = [receipt for receipt, _ in self.queue]
        full = len(receipts) >= self.policy.max_batch_events or body_length(receipts) >= self.policy.max_batch_bytes
        if full or self.forced:
            return now
        by_age = self.queue[0][1] + self.policy.flush_interval
        by_count = by_age if self.due_since is None else self.due_since + self.policy.linger
        return max(now, min(by_age, by_count))

    def next_group(self, now: float) -> Group | None:
        """What must be sent now, if anything must."""
        if self.paused or self.shut(now):
            return None
        for group in self.waiting:
            if group.ready <= now:
                return group
        if not self.slot_free():
            return None
        if self.halves:
            return self.halves[0]
        return self.cut() if self.due_at(now) == now else None

    def cut(self) -> Group:
        receipts = [receipt for receipt, _ in self.queue]
        size = 1
        while size < min(len(receipts), self.policy.max_batch_events):
            if body_length(receipts[: size + 1]) > self.policy.max_batch_bytes:
                break
            size += 1
        return Group(receipts[:size])

    def next_moment(self, now: float) -> float | None:
        """When time alone will change something."""
        gate = self.gate or now
        moments = [send.deadline for send in self.flying if send.deadline != math.inf]
        moments += [] if self.paused else [max(group.ready, gate) for group in self.waiting]
        if self.slot_free() and not self.paused:
            due = now if self.halves else self.due_at(now)
            moments += [] if due is None else [max(due, gate)]
        if self.closing and self.deadline is not None:
            moments.append(self.deadline)
        patience = self.patience_ends()
        return min(moments if patience is None else [*moments, patience], default=None)


@dataclass(eq=False)
class Flush:
    """A flush, and the events whose outcomes it must tell."""

    ticket: Ticket
    members: list[Receipt]
    settled_before: set[Receipt]
    done: int = 0


# -- the machine --------------------------------------------------------------------------------------


class Delivery(RuleBasedStateMachine):
    """Plays driver, callers, server and clock."""

    @initialize(policy=POLICIES, jitter=st.sampled_from([0.0, 0.3, 1.0]), prompt=st.sampled_from([True, True, False]))
    def start(self, policy: Policy, jitter: float, prompt: bool) -> None:
        """A prompt driver asks after every fact; one that is not lets facts and time pile up."""
        self.policy = policy
        self.prompt = prompt
        self.engine = Engine(policy, lambda: jitter)
        self.model = Model(policy, jitter)
        self.ledger = Ledger(_NoLock(), lambda *_: None, MAX_EVENTS, MAX_BYTES)
        self.now = 0.0
        self.until: float | None = None
        self.finished = False
        self.receipts: list[Receipt] = []
        self.numbers: dict[Receipt, int] = {}
        self.last_settled = -1
        self.answered_in_parts = False
        self.sends: list[Send] = []
        self.flushes: list[Flush] = []
        self.told: Counter[Receipt] = Counter()

    # the callers

    @rule(sizes=st.lists(st.sampled_from([10, 10, 10, 21, 45, 150, TOO_LARGE]), min_size=1, max_size=6))
    def call(self, sizes: list[int]) -> None:
        """Events are accepted; those refused at the call have their outcome, the others are handed over together."""
        fresh = [receipt for size in sizes if (receipt := self.accepted(size)).outcome is None]
        self.ledger.enter(fresh)
        if self.finished:  # as the driver does with what crosses the close
            self.settle(fresh, Outcome(Abandoned()))
            return
        self.engine.enqueue(fresh, self.now)
        if fresh:
            self.model.arrive(fresh, self.now)
        self.something_happened()

    @rule()
    def flush(self) -> None:
        self.engine.flush()
        self.model.flush()
        self.open_ticket()
        self.something_happened()

    @precondition(lambda self: len(self.receipts) > 15)
    @rule(grace=st.sampled_from([None, 0.0, 3.0, 50.0]))
    def close(self, grace: float | None) -> None:
        deadline = None if grace is None else self.now + grace
        self.engine.close(deadline)
        self.model.close(deadline)
        self.open_ticket()
        self.something_happened()

    def made(self, size: int) -> Receipt:
        number = len(self.receipts)
        receipt = Receipt(f'"{number:0{size - 2}}"'.encode(), "track", str(number), None)  # type: ignore[arg-type]
        self.receipts.append(receipt)
        self.numbers[receipt] = number
        self.ledger.watch(receipt, lambda settled: self.told.update([settled]))
        return receipt

    def accepted(self, size: int) -> Receipt:
        receipt = self.made(size)
        if size == TOO_LARGE:
            self.ledger.settle_at_once(receipt, Outcome(EventTooLarge(size, 1, "properties")))
            return receipt
        waiting = [each for each in self.receipts[:-1] if each.outcome is None]
        too_many = len(waiting) >= MAX_EVENTS
        too_much = bool(waiting) and sum(len(each.data) for each in [*waiting, receipt]) > MAX_BYTES
        full = self.ledger.accept(receipt)
        assert (full is not None) == (too_many or too_much)
        if full:
            self.ledger.settle_at_once(receipt, Outcome(QueueFull(full)))
        return receipt

    def open_ticket(self) -> None:
        """A flush tells of all that no flush before it has told of."""
        flush = Flush(Ticket(lambda: setattr(flush, "done", flush.done + 1)), [], set())
        old = {each for flush in self.flushes for each in flush.members if each.outcome is not None}
        flush.members = [receipt for receipt in self.receipts if receipt not in old]
        flush.settled_before = {receipt for receipt in self.receipts if receipt.outcome is not None}
        self.flushes.append(flush)
        self.ledger.open(flush.ticket)

    # the server, and the clock

    @precondition(lambda self: self.model.flying)
    @rule(data=st.data(), report=REPORTS)
    def one_is_answered(self, data: st.DataObject, report: Report) -> None:
        self.report(data.draw(st.sampled_from(list(self.model.flying))), report)

    @precondition(lambda self: self.model.flying)
    @rule(reports=st.lists(REPORTS, min_size=2, max_size=8))
    def many_are_answered(self, reports: list[Report]) -> None:
        """One after the other, the oldest first, with what time brings between them."""
        for report in reports:
            if self.model.flying:
                self.report(next(iter(self.model.flying)), report)
            elif self.until is not None:
                self.the_next_moment_comes()

    @precondition(lambda self: self.sends)
    @rule(data=st.data(), report=REPORTS)
    def one_is_answered_again_or_late(self, data: st.DataObject, report: Report) -> None:
        self.report(data.draw(st.sampled_from(self.sends)), report)

    @precondition(lambda self: self.on_the_wire())
    @rule(data=st.data())
    def one_is_held_back(self, data: st.DataObject) -> None:
        """For want of a token, say."""
        send = data.draw(st.sampled_from(self.on_the_wire()))
        held = self.engine.hold_back(send)
        assert held.deadline == math.inf
        self.model.held_back(send, held)
        self.sends.append(held)
        self.something_happened()

    @precondition(lambda self: self.sends)
    @rule(data=st.data())
    def one_is_recalled(self, data: st.DataObject) -> None:
        """Held back or not; and once more, or late, which must not count."""
        send = data.draw(st.sampled_from([*self.model.flying] * 3 + self.sends))
        self.engine.recalled(send, self.now)
        self.model.undo(send, self.now)
        self.something_happened()

    @rule(paused=st.sampled_from([True, False, False]))
    def the_driver_pauses_or_goes_on(self, paused: bool) -> None:
        (self.engine.pause if paused else self.engine.resume)()
        self.model.paused = paused
        self.something_happened()

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 7.5, 11.0, 60.0, 50_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.something_happened()

    @precondition(lambda self: self.until is not None)
    @rule()
    def the_next_moment_comes(self) -> None:
        self.now = max(self.now, self.until or 0.0)
        self.ask()

    def on_the_wire(self) -> list[Send]:
        return [send for send in self.model.flying if send.deadline != math.inf]

    def report(self, send: Send, report: Report) -> None:
        if isinstance(report, TransportError):
            self.engine.failed(send, report, self.now)
        else:
            self.engine.responded(send, report, self.now)
        self.model.reported(send, report, self.now)
        self.answered_in_parts |= isinstance(report, Partial)
        self.something_happened()

    # the driver

    def something_happened(self) -> None:
        if self.prompt:
            self.ask()

    @rule()
    def ask(self) -> None:
        """One turn of a driver: do what the engine says until it says to wait."""
        action = self.next_action()
        while isinstance(action, Send):
            self.check_send(action)
            action = self.next_action()
        group = self.model.next_group(self.now)
        assert group is None, "this should have been sent"
        if isinstance(action, Done):
            assert self.model.closing
            assert self.model.empty()
            self.finished, self.until = True, None
        else:
            assert isinstance(action, Wait)
            assert not (self.model.closing and self.model.empty())
            assert action.until == self.model.next_moment(self.now)
            assert action.until is None or action.until > self.now
            self.until = action.until

    def next_action(self) -> Send | Wait | Done:
        self.model.look(self.now)
        action = self.engine.next_action(self.now)
        self.take_outcomes()
        return action

    def check_send(self, send: Send) -> None:
        """Nothing is sent too early, out of turn, too large, or more often than allowed."""
        group = self.model.next_group(self.now)
        assert group is not None, "nothing should be sent"
        items = send.batch.items
        assert items == group.receipts
        assert len(items) <= self.policy.max_batch_events
        assert len(items) == 1 or body_length(items) <= self.policy.max_batch_bytes
        assert group.failures <= self.policy.max_retries
        assert (send.attempt, send.deadline) == (group.attempts + 1, self.now + self.policy.send_timeout)
        self.model.sent(send, group, self.now)
        self.sends.append(send)

    def take_outcomes(self) -> None:
        outcomes: list[tuple[Receipt, type | None]] = []
        for items, outcome in self.engine.settled():
            outcomes += [(receipt, type(outcome.error) if outcome.error else None) for receipt in items]
            self.settle(items, outcome)
            self.check_order(items)
        assert outcomes == self.model.ended
        self.model.ended = []

    def settle(self, receipts: list[Receipt], outcome: Outcome) -> None:
        assert all(receipt.outcome is None for receipt in receipts), "settled twice"
        self.ledger.settle(receipts, outcome)

    def check_order(self, receipts: list[Receipt]) -> None:
        """With one slot events end in the order in which they came, those of a request accepted in part excepted."""
        numbers = [self.numbers[receipt] for receipt in receipts]
        assert numbers == sorted(numbers)
        if self.policy.max_in_flight == 1 and not self.answered_in_parts:
            assert numbers[0] > self.last_settled
            self.last_settled = numbers[-1]

    # what is true at every moment

    @invariant()
    def no_event_is_lost_or_doubled(self) -> None:
        """What is pending is in exactly one place, found by looking and not by subtracting."""
        engine = self.engine
        held = [item for queue in engine._queue._queues.values() for item in queue.items]
        for batch in [*engine._under_way.halves, *engine._under_way.sent, *engine._under_way.waiting]:
            held += batch.items
        for items, _ in engine._settled:
            held += items
        pending = [receipt for receipt in self.receipts if receipt.outcome is None]
        assert sorted(held, key=self.numbers.__getitem__) == pending
        assert self.ledger.totals().pending == len(pending)
        assert self.ledger.totals().queue_bytes == sum(len(receipt.data) for receipt in pending)

    @invariant()
    def counters_agree_with_receipts(self) -> None:
        totals = self.ledger.totals()
        kinds = Counter(receipt.outcome.kind for receipt in self.receipts if receipt.outcome is not None)
        assert totals.accepted == len(self.receipts)
        assert (totals.delivered, totals.failed, totals.dropped) == tuple(
            kinds[kind] for kind in ("delivered", "failed", "dropped")
        )

    @invariant()
    def slots_are_respected(self) -> None:
        assert self.engine.in_flight + len(self.engine._under_way.waiting) <= self.policy.max_in_flight

    @invariant()
    def everybody_is_told_once(self) -> None:
        assert self.told == Counter({receipt: 1 for receipt in self.receipts if receipt.outcome is not None})

    @invariant()
    def flushes_add_up(self) -> None:
        for flush in self.flushes:
            outcomes = [receipt.outcome for receipt in flush.members]
            kinds = Counter("pending" if outcome is None else outcome.kind for outcome in outcomes)
            result = flush.ticket.result()
            assert {"delivered": result.delivered, "failed": result.failed, "dropped": result.dropped} == {
                kind: kinds[kind] for kind in ("delivered", "failed", "dropped")
            }
            assert result.pending == kinds["pending"]
            assert flush.done == (not kinds["pending"])
            assert sorted(map(int, result.unsent)) == [self.numbers[each] for each in self.unsent(flush)]

    def unsent(self, flush: Flush) -> list[Receipt]:
        return [
            receipt
            for receipt in flush.members
            if receipt not in flush.settled_before
            and receipt.outcome is not None
            and isinstance(receipt.outcome.error, Abandoned)
        ]

    def teardown(self) -> None:
        """Whatever happened: a server that comes back and a close leave nothing without an outcome."""
        if sys.exc_info()[0] or not hasattr(self, "engine"):  # it has failed before, or not begun
            return
        self.prompt = True
        self.the_driver_pauses_or_goes_on(False)
        self.close(None)
        for _ in range(1000):
            if self.finished:
                break
            for send in list(self.model.flying):
                self.report(send, Delivered())
            if self.until is not None:
                self.the_next_moment_comes()
        assert self.finished
        assert all(receipt.outcome is not None for receipt in self.receipts)
        self.no_event_is_lost_or_doubled()
        self.flushes_add_up()


class _NoLock:
    """One thread needs none."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


DEEP = os.environ.get("MILLSTREAM_HYPOTHESIS") == "deep"
Delivery.TestCase.settings = settings(
    max_examples=5000 if DEEP else 150,
    stateful_step_count=150 if DEEP else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestDelivery = pytest.mark.timeout(3600 if DEEP else 60)(Delivery.TestCase)
