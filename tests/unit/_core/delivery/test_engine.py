"""The engine's table, row by row, in a world whose time is a number and whose server follows a script."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import pytest

from millstream._core.delivery.actions import Done, Send, Wait
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream._core.delivery.retry import judge
from millstream._core.delivery.verdicts import Delivered, Limited, Partial, Refused, Retry, Verdict
from millstream._core.outcome import Outcome
from millstream.errors import (
    Abandoned,
    DeliveryError,
    RateLimitExpired,
    Rejected,
    RetriesExhausted,
    TransportError,
)
from millstream.types import Response

SAFETY_ATTEMPTS, REST = Policy.extra_attempts, Policy.rest

SILENCE = object()
"""An answer that never comes: the HTTP client hangs."""


@dataclass(frozen=True)
class Event:
    data: bytes


@dataclass(frozen=True)
class After:
    """An answer that takes its time."""

    seconds: float
    answer: object


def patience(seconds: float, status: int = 429) -> Response:
    return Response(status, {"Retry-After": str(seconds)})


class World:
    """An engine, a clock that jumps to the next moment, and a server that answers by a script.

    A letter is an event, a word is a batch. An answer is a status, a Response, an exception, or SILENCE; it comes at
    once, unless it is wrapped in `After`. When the script is at its end, `otherwise` is the answer. What happens is
    written down in `log`: `(time, "send abc")`, `(time, "send abc #2")` for a second attempt, then how it ended.
    """

    def __init__(
        self, *script: object, otherwise: object = 200, jitter: float = 0.0, oauth: bool = False, **policy: float
    ) -> None:
        defaults = {"flush_at": 1, "max_batch_events": 2500, "max_in_flight": 1}
        self.engine = Engine(Policy(**{**defaults, **policy}), lambda: jitter)  # type: ignore[arg-type]
        self.now = 0.0
        self.log: list[tuple[float, str]] = []
        self.errors: dict[str, DeliveryError | None] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.judge: Callable[[str], int] | None = None
        """In place of a script: the status for a batch."""
        self._script = list(script)
        self._oauth = oauth
        self._otherwise = otherwise
        self._reports: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def put(self, letters: str, size: int = 1) -> World:
        """Events come, now: one for each letter, `size` bytes long."""
        self.engine.enqueue([Event(letter.encode() * size) for letter in letters], self.now)
        return self

    def flush(self) -> World:
        self.engine.flush()
        return self

    def close(self, deadline: float | None = None) -> World:
        self.engine.close(deadline)
        return self

    def run(self, until: float = math.inf) -> list[tuple[float, str]]:
        """Let time go on, to `until` or to where nothing more will happen; the log so far."""
        while True:
            action = self.engine.next_action(self.now)
            self._note_settled()
            if isinstance(action, Send):
                self._send(action)
            elif isinstance(action, Done):
                self._note("done")
                return self.log
            elif not self._go_on(action, until):
                return self.log

    def sends(self) -> list[tuple[float, str]]:
        return [(when, what.removeprefix("send ")) for when, what in self.log if what.startswith("send ")]

    def _go_on(self, wait: Wait, until: float) -> bool:
        """To the next moment at which something happens; False if that is not before `until`."""
        assert wait.until is None or wait.until > self.now, "the engine would be asked for ever"
        moment = math.inf if wait.until is None else wait.until
        reports = self._reports[0][0] if self._reports else math.inf
        if min(moment, reports) > until or moment == reports == math.inf:
            self.now = self.now if until == math.inf else until
            return False
        self.now = min(moment, reports)
        if reports == self.now:
            heapq.heappop(self._reports)[2]()
        return True

    def _send(self, send: Send) -> None:
        again = f" #{send.attempt}" if send.attempt > 1 else ""
        self._note(f"send {letters(send.batch.items)}{again}")
        answer = self._script.pop(0) if self._script else self._otherwise
        if self.judge is not None:
            answer = self.judge(letters(send.batch.items))
        delay = 0.0
        if isinstance(answer, After):
            delay, answer = answer.seconds, answer.answer
        if answer is not SILENCE:
            report = (self.now + delay, next(self._order), lambda: self._report(send, answer))
            heapq.heappush(self._reports, report)

    def _report(self, send: Send, answer: object) -> None:
        if isinstance(answer, DeliveryError):
            self.engine.failed(send, answer, self.now)
        elif isinstance(answer, Partial):
            self.engine.responded(send, answer, self.now)
        else:
            response = answer if isinstance(answer, Response) else Response(int(str(answer)))
            self.engine.responded(send, judge(response, 0.0, oauth=self._oauth), self.now)

    def _note_settled(self) -> None:
        for items, outcome in self.engine.settled():
            batch = letters(items)
            self._note(f"{type(outcome.error).__name__ if outcome.error else 'delivered'} {batch}")
            for letter in batch:
                assert letter not in self.errors, f"{letter} has two outcomes"
                self.errors[letter] = outcome.error
                self.outcomes[letter] = outcome

    def _note(self, what: str) -> None:
        self.log.append((round(self.now, 6), what))


def letters(items: list) -> str:
    return "".join(chr(item.data[0]) for item in items)


# -- queued → in flight: what makes a batch due -------------------------------------------------------


def test_an_idle_engine_waits_for_something_to_happen():
    """Without events there is nothing to wait for but a fact: no timer runs."""
    world = World()
    assert world.engine.next_action(0.0) == Wait(None)
    assert world.engine.idle()
    world.engine.enqueue([], 0.0)
    assert world.engine.next_action(5.0) == Wait(None)


def test_a_batch_is_due_when_flush_at_events_wait():
    """`flush_at` events are sent at once, as one batch, and no moment earlier."""
    world = World(flush_at=3, flush_interval=10)
    world.put("ab").run(until=1)
    assert world.log == []
    world.put("c").run(until=2)
    assert world.log == [(1, "send abc"), (1, "delivered abc")]


def test_a_batch_is_due_when_its_oldest_event_is_old_enough():
    """`flush_interval` counts from the oldest event, not from the last flush or the latest event."""
    world = World(flush_at=10, flush_interval=10)
    world.run(until=7)
    world.put("a").run(until=12)
    world.put("b").run(until=16.9)
    assert world.sends() == []
    world.run()
    assert world.sends() == [(17, "ab")]


def test_the_age_of_what_is_left_is_its_own():
    """Events that a batch left behind wait for their own age, not for that of the events before them."""
    world = World(flush_at=2, max_batch_events=2, flush_interval=10)
    world.put("a").run(until=4)
    world.put("bc").run()
    assert world.sends() == [(4, "ab"), (14, "c")]


def test_a_batch_is_due_when_its_bytes_are_full():
    """Events that fill a request are sent without waiting for count or age, and the request is not overfilled."""
    world = World(flush_at=100, flush_interval=10, max_batch_bytes=50, overhead=10)  # 40 for events and commas
    world.put("abc", size=10).run(until=1)
    assert world.sends() == []
    world.put("d", size=10).run(until=2)
    assert world.sends() == [(1, "abc")]  # 10 + 3 * 10 + 2 commas = 42; a fourth would make it 53
    world.run()
    assert world.sends() == [(1, "abc"), (11, "d")]


def test_a_body_may_be_exactly_as_long_as_allowed():
    """The limit itself is allowed: wrapper, events, and the commas between them."""
    world = World(flush_at=100, max_batch_bytes=10 + 4 * 10 + 3, overhead=10)
    world.put("abcd", size=10).run(until=0)
    assert world.sends() == [(0, "abcd")]


def test_flush_at_does_not_cap_a_batch():
    """A backlog goes out in as few requests as the limits allow, however small `flush_at` is."""
    world = World(After(5, 200), flush_at=2, max_batch_events=6)
    world.put("ab").run(until=1)
    world.put("cdefghijk").run()
    assert world.sends() == [(0, "ab"), (5, "cdefgh"), (5, "ijk")]


def test_a_batch_has_2500_events_at_most():
    """The API's limit of 2,500 events holds without any setting."""
    engine = Engine(Policy(max_in_flight=3), lambda: 0.0)
    engine.enqueue([Event(b"{}")] * 6000, 0.0)
    batches = [engine.next_action(0.0) for _ in range(3)]
    assert [len(send.batch.items) for send in batches if isinstance(send, Send)] == [2500, 2500, 1000]


def test_a_full_batch_is_due_also_below_flush_at():
    """As many events as fit in a batch are due, though `flush_at` asks for more than can ever travel together."""
    world = World(flush_at=5, max_batch_events=3)
    world.put("abcd").run(until=1)
    assert world.sends() == [(0, "abc")]


def test_flush_at_1_sends_one_event_a_request():
    """With `flush_at=1`, and the batch limit that the settings derive from it, each event has a request of its own."""
    world = World(flush_at=1, max_batch_events=1)
    world.put("abc").run()
    assert world.sends() == [(0, "a"), (0, "b"), (0, "c")]


def test_an_event_too_large_for_any_batch_travels_alone():
    """An event over the batch limit is neither stuck nor lost: it goes alone, and the server decides."""
    world = World(max_batch_bytes=20)
    world.put("a").put("b", size=100).put("c").run()
    assert world.sends() == [(0, "a"), (0, "b"), (0, "c")]


def test_a_flush_makes_due_what_was_before_it():
    """A flush sends at once what waits."""
    world = World(flush_at=10, flush_interval=10)
    world.put("abc").flush().run()
    assert world.sends() == [(0, "abc")]


def test_a_flush_leaves_alone_what_comes_after_it():
    """An event that comes after a flush waits for its own count or age."""
    world = World(After(2, 200), flush_at=10, flush_interval=10)
    world.put("ab").flush().run(until=1)
    world.put("c").run()
    assert world.sends() == [(0, "ab"), (11, "c")]


def test_a_flush_of_nothing_does_not_count_for_later():
    """A flush with nothing to send is not remembered for the next event."""
    world = World(flush_at=10, flush_interval=10)
    world.flush().put("a").run()
    assert world.sends() == [(10, "a")]


def test_a_flush_while_the_slots_are_taken_is_remembered():
    """What was flushed goes as soon as there is a slot."""
    world = World(After(3, 200), flush_at=2, flush_interval=10)
    world.put("ab").run(until=1)
    world.put("c").flush().run()
    assert world.sends() == [(0, "ab"), (3, "c")]


# -- slots --------------------------------------------------------------------------------------------


def test_no_more_than_max_in_flight_are_under_way():
    """The next batch is cut when an earlier one has its outcome."""
    world = World(otherwise=After(1, 200), max_in_flight=2, max_batch_events=1)
    world.put("abcde").run()
    assert world.sends() == [(0, "a"), (0, "b"), (1, "c"), (1, "d"), (2, "e")]


def test_a_batch_that_backs_off_keeps_its_slot():
    """While the host fails, few batches ask it, and the rest of the queue keeps its attempts."""
    world = World(500, otherwise=200, max_in_flight=1, max_batch_events=1)
    world.put("ab").run()
    assert world.sends() == [(0, "a"), (1, "a #2"), (1, "b")]


def test_one_slot_keeps_the_order_through_retries_and_splits():
    """With `max_in_flight=1` events arrive in the order in which they came, whatever the server answers."""
    script = [503, 413, 413, patience(2), 200, TransportError("reset"), 200, 413, 200, 200]
    world = World(*script, max_in_flight=1, max_batch_events=4, max_retries=5)
    world.put("abcdefgh").run()
    delivered = [what for _, what in world.log if what.startswith("delivered")]
    assert "".join(what.removeprefix("delivered ") for what in delivered) == "abcdefgh"


# -- in flight → settled ------------------------------------------------------------------------------


def test_a_delivered_batch_is_settled_with_its_attempts():
    """An outcome says how many attempts it took."""
    world = World(200, 500, 500, 200, max_batch_events=1)
    world.put("ab").run()
    assert [(o.error, o.attempts) for o in world.outcomes.values()] == [(None, 1), (None, 3)]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 409, 501, 505, 511])
def test_a_refused_batch_fails_at_once(status: int):
    """What trying again would not change is not tried again."""
    world = World(status)
    assert world.put("ab").run() == [(0, "send ab"), (0, "Rejected ab")]
    assert isinstance(world.errors["a"], Rejected)
    assert world.errors["a"].status == status


def test_a_refused_batch_stops_no_other():
    """A poisoned batch fails alone, and at its own cost."""
    world = World(200, 400, 200, max_batch_events=1)
    world.put("abc").run()
    assert [what for _, what in world.log if "send" not in what] == ["delivered a", "Rejected b", "delivered c"]


# -- in flight → backing off --------------------------------------------------------------------------


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 1), (0.5, 1.5), (1.0, 2)])
def test_backoff_doubles_up_to_its_cap_and_keeps_its_jitter(jitter: float, factor: float):
    """Delays go 1, 2, 4 … 30 s, and up to twofold with jitter, also at the cap."""
    world = World(otherwise=500, jitter=jitter, max_retries=8)
    world.put("a").run()
    times = [when for when, _ in world.sends()]
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert delays == [factor * delay for delay in (1, 2, 4, 8, 16, 30, 30, 30)]


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_batch_has_max_retries_attempts_after_its_first(max_retries: int):
    """Then its events fail, and the error knows the attempts and what the last one met."""
    world = World(otherwise=500, max_retries=max_retries)
    world.put("ab").run()
    assert len(world.sends()) == max_retries + 1
    error = world.errors["a"]
    assert isinstance(error, RetriesExhausted)
    assert error.attempts == max_retries + 1
    assert isinstance(error.last, Rejected)
    assert error.last.status == 500


def test_no_answer_counts_as_a_failed_attempt():
    """An exception of the HTTP client is retried, and in the end named as the last thing met."""
    reset = TransportError("reset by peer")
    world = World(otherwise=reset, max_retries=1)
    assert world.put("a").run() == [(0, "send a"), (1, "send a #2"), (1, "RetriesExhausted a")]
    assert isinstance(world.errors["a"], RetriesExhausted)
    assert world.errors["a"].last is reset


def test_attempts_count_up_from_1():
    """`Send.attempt`, from which `X-Retry-Count` is made, counts every attempt of a batch, also uncounted ones."""
    world = World(408, 500, patience(1), 200)
    world.put("a").run()
    assert [what for _, what in world.sends()] == ["a", "a #2", "a #3", "a #4"]
    assert (world.engine.requests, world.engine.retries) == (4, 3)


def test_back_off_ends_when_it_has_taken_too_long():
    """After `max_total_backoff` since its first failure a batch that fails again is given up."""
    world = World(otherwise=500, max_retries=1000, max_total_backoff=7)
    world.put("a").run()
    assert world.log[-2:] == [(15, "send a #5"), (15, "RetriesExhausted a")]


def test_max_total_backoff_counts_from_the_first_failure():
    """Time that a batch spent before its first failure is not held against it."""
    world = World(patience(100), 500, 200, max_total_backoff=10)
    world.put("a").run()
    assert world.log[-1] == (101, "delivered a")


def test_a_hung_request_counts_as_a_failed_attempt():
    """When a request's deadline has passed without a report, the batch is tried again."""
    world = World(SILENCE, 200, send_timeout=11)
    assert world.put("a").run() == [(0, "send a"), (12, "send a #2"), (12, "delivered a")]


@pytest.mark.parametrize("late", [200, 400, 500, patience(60), TransportError("late")])
@pytest.mark.parametrize("seconds", [11.5, 13])
def test_a_report_after_the_deadline_is_ignored(seconds: float, late: object):
    """A report about a request that was given up changes nothing, before the next attempt or during it."""
    world = World(After(seconds, late), After(2, 200), send_timeout=11)
    world.put("a").run()
    assert world.log == [(0, "send a"), (12, "send a #2"), (14, "delivered a")]


def test_a_report_is_taken_once():
    """A second report about the same request is ignored."""
    world = World(SILENCE)
    world.put("a")
    send = world.engine.next_action(0.0)
    assert isinstance(send, Send)
    world._report(send, 500)
    world._report(send, 500)
    world._report(send, 200)
    assert world.engine.next_action(0.0) == Wait(1.0)


def test_hung_requests_exhaust_a_batch_too():
    """A host that never answers cannot hold a batch for ever."""
    world = World(otherwise=SILENCE, max_retries=1, send_timeout=11)
    assert world.put("a").run()[-1] == (23, "RetriesExhausted a")


# -- in flight → limited: the gate --------------------------------------------------------------------


def test_retry_after_holds_every_batch():
    """A host that asks one request for patience is asked by nobody until then."""
    world = World(patience(60), max_in_flight=3, max_batch_events=1)
    world.put("a").run(until=5)
    world.put("bc").flush().run()
    assert [when for when, _ in world.sends()] == [0, 60, 60, 60]


def test_retry_after_holds_what_backs_off():
    """A batch whose back-off ends while the gate is shut waits for the gate, and is not failed for it."""
    world = World(500, patience(60), max_in_flight=2, max_batch_events=1)
    world.put("ab").run()
    assert world.sends() == [(0, "a"), (0, "b"), (60, "a #2"), (60, "b #2")]


@pytest.mark.parametrize(("header", "wait"), [(0, 1), (1, 1), (30, 30), (300, 300), (600, 300)])
def test_retry_after_is_kept_between_1_and_300_seconds(header: int, wait: float):
    """Zero would be a hot loop, and a day would be a loss."""
    world = World(patience(header))
    world.put("a").run()
    assert world.sends() == [(0, "a"), (wait, "a #2")]


@pytest.mark.parametrize("status", [408, 429, 503, 529])
def test_patience_does_not_count_against_max_retries(status: int):
    """Waiting because the server asked for it is no failure, but it is an attempt."""
    world = World(*[patience(1, status)] * 5, 500, max_retries=1)
    world.put("a").run()
    assert world.log[-1] == (6, "delivered a")
    assert world.outcomes["a"].attempts == 7


def test_the_longest_patience_asked_for_counts():
    """A shorter Retry-After does not open a gate that a longer one has shut."""
    world = World(patience(60), After(1, patience(2)), max_in_flight=2, max_batch_events=1)
    world.put("ab").run()
    assert [when for when, _ in world.sends()] == [0, 0, 60, 60]


def test_a_success_that_was_under_way_does_not_open_the_gate():
    """What was sent before the host asked for patience says nothing about its patience."""
    world = World(patience(60), After(1, 200), max_in_flight=2, max_batch_events=1)
    world.put("abc").run()
    assert world.sends() == [(0, "a"), (0, "b"), (60, "a #2"), (60, "c")]


def test_a_gate_that_expires_fails_those_that_wait_because_of_it():
    """After `max_rate_limit` the limited batch fails; one that backs off and one that is queued have their turn."""
    world = World(patience(60), 500, max_in_flight=2, max_batch_events=1, max_rate_limit=10)
    world.put("abc").run()
    assert isinstance(world.errors.pop("a"), RateLimitExpired)
    assert world.errors == {"b": None, "c": None}
    assert (10, "RateLimitExpired a") in world.log
    assert {when for when, _ in world.sends()} == {0, 10}


def test_patience_is_counted_over_several_requests():
    """`max_rate_limit` runs from the first request for patience, not from the latest."""
    world = World(otherwise=patience(4), max_rate_limit=10)
    assert world.put("a").run()[-1] == (10, "RateLimitExpired a")
    assert [when for when, _ in world.sends()] == [0, 4, 8]


def test_no_patience_at_all_is_possible():
    """With `max_rate_limit=0` a limited batch fails at once."""
    assert World(patience(1), max_rate_limit=0).put("a").run() == [(0, "send a"), (0, "RateLimitExpired a")]


def test_a_success_begins_patience_anew():
    """After a success the server may ask for `max_rate_limit` again, in full."""
    script = [patience(4), patience(4), 200, patience(4), patience(4), 200]
    world = World(*script, max_batch_events=1, max_rate_limit=10)
    world.put("ab").run()
    assert world.errors == {"a": None, "b": None}
    assert world.now == 16


def test_a_success_while_the_gate_is_shut_begins_patience_anew():
    """A server that lets some through is alive: the others' patience counts from there."""
    world = World(patience(14), After(5, 200), 200, max_in_flight=2, max_batch_events=1, max_rate_limit=10)
    world.put("ab").run()
    assert world.log[-1] == (14, "delivered a")
    world = World(patience(60), After(5, 200), max_in_flight=2, max_batch_events=1, max_rate_limit=10)
    world.put("ab").run()
    assert world.log[-1] == (15, "RateLimitExpired a")


def test_a_batch_that_was_limited_once_is_not_for_ever():
    """A batch that has been tried since, and backs off now, does not fail when another one's patience ends."""
    script = [patience(1), patience(1), 500, patience(60), 200]
    world = World(*script, max_in_flight=2, max_batch_events=1, max_rate_limit=10, jitter=1.0, max_retries=1)
    world.put("ab").run()
    assert world.errors["a"] is None
    assert isinstance(world.errors["b"], RateLimitExpired)


def test_closing_waits_for_a_half_behind_the_gate():
    """A half that no slot or gate has let through is not forgotten when its other half fails."""
    world = World(*[patience(1)] * SAFETY_ATTEMPTS, 413, max_rate_limit=1000, max_retries=1)
    world._script += [patience(60), 200]
    world.put("ab").close().run()
    assert isinstance(world.errors["a"], RetriesExhausted)
    assert world.log[-2:] == [(80, "delivered b"), (80, "done")]


def test_patience_is_not_carried_over_a_pause():
    """A limit of hours ago, with nothing waiting since, is not held against the next event."""
    world = World(patience(1), *[500] * 4, patience(1), 200, max_retries=3, max_rate_limit=60)
    world.put("a").run()
    assert isinstance(world.errors["a"], RetriesExhausted)
    world.now += 3600
    world.put("b").run()
    assert world.errors["b"] is None


def test_asked_late_the_engine_tries_again_before_it_gives_up():
    """When the process slept through both, the gate's opening counts and not the end of the patience after it."""
    world = World(patience(5), max_rate_limit=60)
    world.put("a").run(until=1)
    world.now = 3600.0
    assert world.run()[1:] == [(3600, "send a #2"), (3600, "delivered a")]


def test_the_safety_cap_ends_patience_without_end():
    """More than `max_retries` + 20 attempts are not made, whatever the answers were."""
    world = World(otherwise=patience(0), max_retries=2)
    world.put("a").run()
    assert len(world.sends()) == 2 + SAFETY_ATTEMPTS + 1 == 23
    assert isinstance(world.errors["a"], RetriesExhausted)


def test_the_safety_cap_holds_for_a_mix_of_answers():
    """A failure that could still be retried is not, when the attempts are used up by patience."""
    world = World(*[patience(0)] * 22, 500, max_retries=2)
    world.put("a").run()
    assert len(world.sends()) == 23
    assert isinstance(world.errors["a"], RetriesExhausted)


def test_twelve_hours_of_rate_limiting_take_no_time():
    """The engine does nothing between two moments, so twelve virtual hours are milliseconds, and end as they should."""
    world = World(otherwise=patience(60), max_retries=10_000, max_in_flight=4, max_batch_events=1)
    began = time.thread_time()
    world.put("abcdef").run()
    assert time.thread_time() - began < 1
    assert world.log[-2:] == [(86_400, "RateLimitExpired e"), (86_400, "RateLimitExpired f")]
    assert (43_200, "RateLimitExpired d") in world.log


# -- in flight → in flight: what has not left, or came back -------------------------------------------


def test_unauthorized_is_tried_once_more_at_once():
    """With OAuth a batch has one more try with another token, at once, and not counted against `max_retries`."""
    world = World(401, 500, 200, oauth=True, max_retries=1)
    assert world.put("a").run()[:3] == [(0, "send a"), (0, "send a #2"), (1, "send a #3")]
    assert world.errors["a"] is None


def test_unauthorized_again_is_refused():
    """A batch whose second token is no good either fails: there is no end to tokens."""
    world = World(401, 500, 401, 200, oauth=True)
    world.put("a").run()
    assert world.log[-1] == (1, "Rejected a")
    assert isinstance(world.errors["a"], Rejected)
    assert world.errors["a"].status == 401


def test_each_batch_has_its_own_second_token():
    """What one batch has used up, another has not."""
    world = World(401, 200, 401, 200, oauth=True, max_batch_events=1)
    world.put("ab").run()
    assert world.errors == {"a": None, "b": None}


def held(world: World) -> Send:
    """The next batch, held back."""
    send = world.engine.next_action(world.now)
    assert isinstance(send, Send)
    return world.engine.hold_back(send)


def test_what_is_held_back_keeps_its_slot_and_has_no_deadline():
    """A request that waits for a token is not hung, and nothing overtakes it in its slot."""
    world = World(send_timeout=11)
    world.put("a")
    held(world)
    assert world.put("b").run(until=1000) == []
    assert world.engine.next_action(world.now) == Wait(None)


def test_what_is_no_longer_held_back_goes_as_if_for_the_first_time():
    """Waiting for a token is no attempt: neither `X-Retry-Count` nor the counters know of it."""
    world = World(500)
    world.put("a")
    send = held(world)
    world.now = 50
    world.engine.recalled(send, 50)
    assert world.run() == [(50, "send a"), (51, "send a #2"), (51, "delivered a")]
    assert (world.engine.requests, world.engine.retries) == (2, 1)


def test_what_is_no_longer_held_back_waits_for_the_gate():
    """A token does not open the gate."""
    world = World(patience(60), max_in_flight=2, max_batch_events=1)
    world.put("a")
    send = held(world)
    world.put("b").run(until=5)
    world.engine.recalled(send, 5)
    world.run()
    assert world.sends() == [(0, "b"), (60, "b #2"), (60, "a")]


def test_what_is_held_back_may_be_given_up():
    """A token that is not to be had is a failed attempt, or the end; the report is for what `hold_back` returned."""
    world = World(max_in_flight=2, max_batch_events=1)
    world.put("ab")
    first, second = held(world), held(world)
    world.engine.failed(first, TransportError("no token"), 0)
    world._report(second, 403)
    assert world.run() == [(0, "Rejected b"), (1, "send a #2"), (1, "delivered a")]


def test_what_is_held_back_is_abandoned_at_the_close():
    """The close deadline is everybody's, and a token that comes later sends nothing."""
    world = World()
    world.put("a")
    send = held(world)
    assert world.close(deadline=5).run() == [(5, "Abandoned a"), (5, "done")]
    world.engine.recalled(send, 6)
    assert world.engine.next_action(6) == Done()


def test_what_is_recalled_goes_again_uncounted():
    """A request that the driver had to take back counts as not sent, and a report about it is ignored."""
    world = World(After(5, 400), 200, max_retries=0)
    world.put("a").run(until=1)
    (send,) = world.engine._under_way.sent.values()
    world.engine.recalled(send, 1)
    world.engine.recalled(send, 1)
    assert world.run() == [(0, "send a"), (1, "send a"), (1, "delivered a")]


# -- resting ------------------------------------------------------------------------------------------


def resting(*script: object, **policy: Any) -> World:
    """A world in which events are kept, and the first batch, `a`, has exhausted its one attempt at time 0."""
    world = World(503, *script, **{"max_retries": 0, "keeps": True, **policy}).put("a")
    world.run(until=1)
    assert world.sends() == [(0, "a")]
    return world


def test_where_events_are_kept_exhausted_retries_end_in_a_rest():
    """The batch does not fail: it rests, and then has all its attempts again."""
    world = World(503, 503, max_retries=1, keeps=True).put("a")
    world.run(until=1)
    assert [error.attempts for _, error in world.engine.rested()] == [2]  # type: ignore[attr-defined]
    assert world.engine.rested() == []
    assert world.outcomes == {}
    world.run()
    assert [what for _, what in world.sends()] == ["a", "a #2", "a #3"]
    assert world.sends()[-1][0] == pytest.approx(world.sends()[1][0] + REST)
    assert world.errors == {"a": None}


def test_a_rest_is_over_when_somebody_flushes():
    """Whoever waits for an event does not wait for the end of a rest."""
    world = resting()
    assert world.engine.at_rest
    world.flush()
    assert not world.engine.at_rest
    world.run(until=2)
    assert world.sends() == [(0, "a"), (1, "a #2")]


def test_a_rest_is_over_when_another_batch_is_delivered():
    """The host is there again: nothing rests any longer."""
    world = resting(max_in_flight=2)
    world.put("b").run(until=2)
    assert world.sends() == [(0, "a"), (1, "b"), (1, "a #2")]


def test_a_batch_that_rests_keeps_its_slot():
    """With one slot the order of events outlasts a host that is away."""
    world = resting()
    world.put("b").run(until=2)
    assert world.engine.at_rest
    world.run()
    assert [what for _, what in world.sends()] == ["a", "a #2", "b"]


def test_nothing_is_at_rest_while_anything_can_be_tried():
    """Only when each batch that could go has exhausted its retries is there nothing to wait for."""
    world = resting(max_in_flight=2)
    assert world.engine.at_rest
    world.put("b")
    assert not world.engine.at_rest
    world.engine.next_action(world.now)
    assert not world.engine.at_rest


def test_a_close_ends_a_rest_and_there_is_no_other():
    """At the close every batch has its attempts once more, and then fails like any other."""
    world = resting(otherwise=503)
    world.close(deadline=100).run()
    assert [what for _, what in world.sends()] == ["a", "a #2"]
    assert isinstance(world.errors["a"], RetriesExhausted)


def test_a_batch_that_rests_can_be_failed():
    """Whoever keeps events can have enough of it."""
    world = resting()
    ((batch, error),) = world.engine.rested()
    world.engine.fail(batch, error)
    world.run()
    assert isinstance(world.errors["a"], RetriesExhausted)
    world.engine.fail(batch, error)
    assert world.engine.settled() == []


def test_a_rate_limit_that_lasts_too_long_ends_in_a_rest_too():
    """Where events are kept, nothing that the host says about its own state makes one fail."""
    world = World(patience(60), max_rate_limit=10, keeps=True).put("a")
    world.run(until=11)
    assert [type(error) for _, error in world.engine.rested()] == [RateLimitExpired]
    assert world.outcomes == {}


def test_the_safety_cap_counts_the_attempts_since_the_last_rest():
    """A batch that has been through many rounds has all its attempts in the next one."""
    world = World(otherwise=503, max_retries=2, keeps=True).put("a")
    world.run(until=100 * REST)
    rounds = [error.attempts for _, error in world.engine.rested()]  # type: ignore[attr-defined]
    assert rounds[-1] > 2 + SAFETY_ATTEMPTS
    assert {after - before for before, after in pairwise(rounds)} == {3}


def test_the_engine_is_hungry_until_a_full_batch_waits():
    """More is read back only while there is less than a batch that waits for a slot."""
    world = World(SILENCE, max_batch_events=2)
    assert world.engine.hungry
    world.put("a").run(until=1)
    assert world.engine.hungry
    world.put("b")
    assert world.engine.hungry
    world.put("c")
    assert not world.engine.hungry


# -- pausing ------------------------------------------------------------------------------------------


def test_nothing_is_sent_while_paused():
    """A pause holds everything, also what is flushed or backs off; nothing is lost by it, and nothing wakes for it."""
    world = World(500, max_batch_events=1)
    world.put("a").run(until=0)
    world.engine.pause()
    assert world.put("b").flush().run(until=100) == [(0, "send a")]
    assert world.engine.next_action(100) == Wait(None)
    world.engine.resume()
    assert world.run()[1:] == [(100, "send a #2"), (100, "delivered a"), (100, "send b"), (100, "delivered b")]


def test_a_report_is_taken_while_paused():
    """What was on its way already gets its outcome."""
    world = World(After(5, 200))
    world.put("a").run(until=1)
    world.engine.pause()
    assert world.run() == [(0, "send a"), (5, "delivered a")]


def test_a_close_ends_a_pause_that_lasts():
    """What a pause has held is abandoned at the close deadline, and not sooner."""
    world = World()
    world.engine.pause()
    assert world.put("a").close(deadline=5).run() == [(5, "Abandoned a"), (5, "done")]


# -- in flight → halved -------------------------------------------------------------------------------


def test_a_batch_that_is_too_large_is_sent_in_halves():
    """A 413 halves the batch until it fits, at once and in order."""
    world = World(413, 413, otherwise=200)
    world.put("abcdefgh").run()
    assert world.sends() == [(0, "abcdefgh"), (0, "abcd #2"), (0, "ab #3"), (0, "cd #3"), (0, "efgh #2")]
    assert [what for _, what in world.log if "deliv" in what] == ["delivered ab", "delivered cd", "delivered efgh"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_bad_event_among_many_is_found(status: int):
    """A server that refuses a batch for one event costs that event alone, after about log2(n) requests."""
    events = "abcdefghijklmnop"
    for bad in events:
        world = World()
        world.judge = lambda batch, bad=bad: status if bad in batch else 200
        world.put(events).run()
        assert [letter for letter, error in world.errors.items() if error] == [bad]
        assert isinstance(world.errors[bad], Rejected)
        assert len(world.sends()) == 9


def test_a_host_that_refuses_every_event_is_not_asked_twice_for_each():
    """A bisection that finds only bad events ends: what is refused from there on fails as it is."""
    world = World(otherwise=400)
    letters = "".join(chr(0x21 + n) for n in range(93))
    world.put(letters).run()
    assert {type(error) for error in world.errors.values()} == {Rejected}
    assert len(world.errors) == 93
    assert len(world.sends()) <= 2 * (7 + 8)


def test_several_bad_events_are_found():
    """A success in between gives the bisection its patience back."""
    world = World()
    world.judge = lambda batch: 400 if set("cgkoy") & set(batch) else 200
    world.put("abcdefghijklmnopqrstuvwxyz").run()
    assert {letter for letter, error in world.errors.items() if error} == set("cgkoy")


def test_a_single_event_that_is_too_large_fails_alone():
    """Halving ends at one event, which fails as Rejected; all others arrive, in order."""
    world = World(413, 200, 413, 413, 200)
    world.put("abcd").run()
    assert world.sends() == [(0, "abcd"), (0, "ab #2"), (0, "cd #2"), (0, "c #3"), (0, "d #3")]
    assert isinstance(world.errors.pop("c"), Rejected)
    assert world.errors == {"a": None, "b": None, "d": None}


def test_halves_keep_the_history_of_the_whole():
    """Halving gives no batch its retries back."""
    world = World(500, 413, otherwise=500, max_retries=1)
    world.put("ab").run()
    assert world.sends() == [(0, "ab"), (1, "ab #2"), (1, "a #3"), (1, "b #3")]
    assert all(isinstance(error, RetriesExhausted) for error in world.errors.values())


def test_the_second_half_waits_for_a_slot():
    """Halving does not exceed `max_in_flight`; the half without a slot goes before anything that is queued."""
    world = World(413, otherwise=After(1, 200), max_in_flight=1, max_batch_events=2)
    world.put("abcd").run()
    assert world.sends() == [(0, "ab"), (0, "a #2"), (1, "b #2"), (2, "cd")]


def test_halves_wait_for_the_gate():
    """The second half is held by the gate like every other batch."""
    world = World(413, patience(60), otherwise=200, max_in_flight=2)
    world.put("ab")
    world.run()
    assert world.sends() == [(0, "ab"), (0, "a #2"), (0, "b #2"), (60, "a #3")]
    world = World(413, patience(60), otherwise=200, max_in_flight=1)
    world.put("ab").run()
    assert world.sends() == [(0, "ab"), (0, "a #2"), (60, "a #3"), (60, "b #2")]


# -- a verdict for each part --------------------------------------------------------------------------

BAD = Rejected(400, b"no such property")


def test_each_part_is_settled_by_its_own_verdict():
    """Partial success: what arrived is delivered, what is refused fails, the rest is tried again, in order."""
    again = Retry(Rejected(500))
    world = World(Partial((Delivered(), again, Refused(BAD), again, Delivered())))
    world.put("abcde").run()
    assert world.sends() == [(0, "abcde"), (1, "bd #2")]
    assert world.errors == {"a": None, "b": None, "c": BAD, "d": None, "e": None}
    assert {letter: outcome.attempts for letter, outcome in world.outcomes.items()} == dict.fromkeys("ace", 1) | {
        "b": 2,
        "d": 2,
    }


def test_a_part_that_is_limited_holds_what_is_left():
    """One part's Retry-After holds all that is left of the request; the attempt does not count."""
    limited: list[Verdict] = [Limited(seconds, Rejected(429)) for seconds in (3.0, 7.0)]
    world = World(Partial((limited[0], Delivered(), limited[1], Retry(BAD))), max_retries=0)
    world.put("abcd").run()
    assert world.sends() == [(0, "abcd"), (7, "acd #2")]
    assert set(world.errors.values()) == {None}


def test_verdicts_of_the_wrong_number_are_no_success():
    """A destination that answers for more or fewer parts than it was sent is tried again, and fails in the end."""
    world = World(otherwise=Partial((Delivered(),)), max_retries=1)
    world.put("ab").run()
    assert [what for _, what in world.sends()] == ["ab", "ab #2"]
    assert all(isinstance(error, RetriesExhausted) for error in world.errors.values())
    assert "1 verdicts for 2 events" in str(world.errors["a"])


# -- refused credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause_where_events_can_be_read_again(status: int):
    """With `pauses` nothing is lost to a wrong key: the destination stops, and goes on from there."""
    world = World(status, pauses=True)
    world.put("ab").run(until=1000)
    assert world.sends() == [(0, "ab")]
    assert world.errors == {}
    assert world.engine.paused_by.status == status
    world.put("c").engine.resume()
    world.run()
    assert [what for _, what in world.sends()] == ["ab", "ab", "c"]
    assert set(world.errors.values()) == {None}
    assert world.engine.paused_by is None


# -- closing ------------------------------------------------------------------------------------------


def test_close_makes_everything_due():
    """At close nothing waits for count or age, and Done is said when everything has its outcome."""
    world = World(After(2, 200), After(2, 500), flush_at=10, max_batch_events=2)
    assert world.put("abc").close().run() == [
        (0, "send ab"),
        (2, "delivered ab"),
        (2, "send c"),
        (5, "send c #2"),
        (5, "delivered c"),
        (5, "done"),
    ]


def test_an_idle_engine_is_done_at_once():
    """Closing with nothing left takes no time."""
    world = World()
    assert world.close(deadline=5).run() == [(0, "done")]
    assert world.engine.next_action(9.0) == Done()


def test_what_crosses_the_close_is_due_too():
    """An event whose call met the close on its way is not left to sit out `flush_interval`."""
    world = World(flush_at=10, flush_interval=10)
    assert world.close().put("a").run() == [(0, "send a"), (0, "delivered a"), (0, "done")]


def test_what_comes_after_the_deadline_is_abandoned():
    """An event that comes when the time is over has an outcome all the same."""
    world = World()
    world.close(deadline=1).run()
    world.now = 2
    assert world.put("a").run()[-2:] == [(2, "Abandoned a"), (2, "done")]


def test_the_close_deadline_abandons_all_that_is_left():
    """In flight, backing off, limited, halved or queued: at the deadline each event fails as Abandoned, and once."""
    world = World(500, 413, SILENCE, SILENCE, max_in_flight=3, max_batch_events=2, max_retries=9, flush_at=10)
    world.put("abcdefgh").close(deadline=0.5).run()
    assert [what for when, what in world.log if when == 0.5] == [
        "Abandoned ef",  # in flight
        "Abandoned c",
        "Abandoned ab",  # backing off
        "Abandoned d",  # halved, without a slot
        "Abandoned gh",  # queued
        "done",
    ]
    assert all(isinstance(error, Abandoned) for error in world.errors.values())


def test_the_close_deadline_abandons_what_is_limited():
    """A gate that is shut for longer does not hold up the close."""
    world = World(patience(60), max_batch_events=1)
    assert world.put("ab").close(deadline=5).run()[1:] == [(5, "Abandoned a"), (5, "Abandoned b"), (5, "done")]


def test_a_report_after_the_abandonment_is_ignored():
    """What was given up has its outcome: a success that comes later gives it no second one."""
    world = World(After(5, 200))
    world.put("a").close(deadline=1).run()
    assert world.log[-2:] == [(1, "Abandoned a"), (1, "done")]
    for _, _, report in world._reports:
        report()
    assert world.engine.settled() == []
    assert world.engine.next_action(9.0) == Done()


def test_a_close_without_a_deadline_waits_as_long_as_it_takes():
    """Without a deadline the retry rules alone decide, and nothing is abandoned."""
    world = World(otherwise=500, max_retries=3)
    assert world.put("a").close().run()[-2:] == [(7, "RetriesExhausted a"), (7, "done")]


def test_a_close_keeps_back_off_and_gate():
    """A closing client does not press a host that is down."""
    world = World(500, patience(60), 200)
    world.put("a").close(deadline=100).run()
    assert world.log == [(0, "send a"), (1, "send a #2"), (61, "send a #3"), (61, "delivered a"), (61, "done")]


# -- questions ----------------------------------------------------------------------------------------


def test_settled_tells_each_outcome_once():
    """What was handed out is forgotten."""
    world = World()
    world.put("a")
    send = world.engine.next_action(0.0)
    assert isinstance(send, Send)
    world._report(send, 200)
    assert [letters(items) for items, _ in world.engine.settled()] == ["a"]
    assert world.engine.settled() == []


def test_in_flight_counts_requests_on_their_way():
    """A batch that backs off is under way, but not in flight."""
    world = World(SILENCE, 500, SILENCE, max_in_flight=3, max_batch_events=1)
    world.put("abc").run(until=0)
    assert world.engine.in_flight == 2
    assert not world.engine.idle()


def test_the_engine_wakes_for_no_reason_but_a_change():
    """While no slot is free, neither age nor gate of what is queued is a moment to wake for."""
    world = World(SILENCE, flush_at=1, max_batch_events=1, max_in_flight=1, send_timeout=11)
    world.put("ab").run(until=0)
    assert world.engine.next_action(0.0) == Wait(11.0)
