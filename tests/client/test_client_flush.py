"""flush and close where upstream has no tests: batches in flight, overlaps, the worker itself, sending again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Abandoned, Analytics, ClientClosed, FlushResult, InvalidEvent, MillstreamError, SettingsError
from support.api import Api, stall, status
from support.background import Background, Heard

Make = Callable[..., Analytics]


def test_flush_waits_for_batches_that_are_under_way(api: Api, client: Make) -> None:
    """A flush ends when what was in flight before it has its outcome, and sends what waited at once."""
    held = api.hold()
    analytics = client(max_in_flight=2, flush_at=2, flush_interval=300.0)
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    api.wait_for(1)
    analytics.track("C", user_id="u")
    flush = Background(analytics.flush, timeout=10)
    api.wait_for(2)
    assert flush.running()
    held.release()
    assert flush.result() == FlushResult(delivered=3)


def test_flush_under_traffic_comes_to_an_end(client: Make) -> None:
    """A flush does not wait for events that others go on recording."""
    analytics = client(flush_at=1)
    stop = threading.Event()

    def record() -> None:
        while not stop.is_set():
            analytics.track("A", user_id="u").wait(timeout=10)

    traffic = [Background(record) for _ in range(2)]
    results = [analytics.flush(timeout=10) for _ in range(5)]
    stop.set()
    for one in traffic:
        one.result()
    assert all(result.pending == 0 for result in results)


def test_a_flush_that_runs_out_of_time_gives_nothing_up(api: Api, client: Make) -> None:
    """At its deadline a flush says what is pending; the events stay on their way."""
    held = api.hold()
    analytics = client()
    receipt = analytics.track("A", user_id="u")
    result = analytics.flush(timeout=0.1)
    assert (result.delivered, result.pending, result.unsent) == (0, 1, [])
    held.release()
    assert receipt.wait(timeout=10)


def test_flush_counts_each_kind_of_outcome(api: Api, client: Make) -> None:
    """What was delivered, what failed and what was dropped since the last flush stands in the result."""
    api.always = lambda seen: status(400 if seen.events[0]["event"] == "Bad" else 200)
    analytics = client(flush_at=1, max_in_flight=1)
    for name in ("Good", "Bad", "Good"):
        analytics.track(name, user_id="u")
    analytics.track("Large", user_id="u", properties={"t": "x" * 40_000})
    result = analytics.flush(timeout=10)
    assert (result.delivered, result.failed, result.dropped, result.pending) == (2, 2, 0, 0)


@pytest.mark.parametrize("how", ["flush", "close"])
def test_close_beside_another(api: Api, client: Make, how: str) -> None:
    """A close during a flush, or during another close, waits for the same events and closes."""
    held = api.hold()
    analytics = client()
    analytics.track("A", user_id="u")
    first = Background(getattr(analytics, how), timeout=10)
    api.wait_for(1)
    second = Background(analytics.close, timeout=10)
    assert first.running()
    held.release()
    assert first.result().pending == second.result().pending == 0
    assert len(api.accepted) == 1
    with pytest.raises(ClientClosed):
        analytics.track("B", user_id="u").wait(timeout=1)


def test_the_earlier_of_two_closes_decides(api: Api, client: Make) -> None:
    """An impatient close beside a patient one gives up at its own deadline, and both return."""
    api.always = stall()
    analytics = client(flush_at=1)
    analytics.track("A", user_id="u")
    api.wait_for(1)
    patient = Background(analytics.close, timeout=30)
    begin = time.monotonic()
    impatient = analytics.close(timeout=0.3)
    assert time.monotonic() - begin < 5.0
    assert len(impatient.unsent) == 1
    assert patient.result().pending == 0


def test_closing_again_is_quiet(client: Make) -> None:
    """A second close, and a flush after a close, return at once and have nothing to say."""
    analytics = client()
    analytics.track("A", user_id="u")
    assert analytics.close(timeout=10).delivered == 1
    begin = time.monotonic()
    for result in (analytics.close(), analytics.flush()):
        assert (result.failed, result.pending, result.unsent) == (0, 0, [])
    assert time.monotonic() - begin < 2.0


def test_a_close_of_no_patience(api: Api, client: Make) -> None:
    """`close(timeout=0)` hands everything back, in order, whatever state it was in."""
    api.always = stall()
    analytics = client(flush_at=2, max_in_flight=1)
    receipts = [analytics.track(str(n), user_id="u") for n in range(5)]
    api.wait_for(1)
    result = analytics.close(timeout=0)
    assert sorted(event["event"] for event in result.unsent) == list("01234")
    assert analytics.stats().pending == 0
    for receipt in receipts:
        with pytest.raises(Abandoned):
            receipt.wait(timeout=1)


def test_with_closes(api: Api) -> None:
    """At the end of a `with` block everything is delivered, also when the block raises."""

    def block() -> None:
        with Analytics("key", host=api.url) as analytics:
            analytics.track("A", user_id="u")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        block()
    assert len(api.accepted) == 1


def test_what_was_not_sent_can_be_sent_again(api: Api, client: Make) -> None:
    """What `unsent` and `call_after_close` hand back goes through `send` as the same event: id, time and content."""
    api.script(stall())
    first, late = client(flush_at=1), Heard()
    first.on("call_after_close", late)
    first.track("A", user_id="u", properties={"n": 1}, timestamp="2020-01-01T00:00:00Z")
    api.wait_for(1)
    (unsent,) = first.close(timeout=0).unsent
    first.identify("u", traits={"plan": "pro"})
    ((after_close,),) = late.calls
    second = client()
    for event in (unsent, after_close):
        second.send(event)
    assert second.flush(timeout=10).delivered == 2
    assert api.accepted == [unsent, after_close]
    assert api.accepted[0] == api.events[0]


def test_send_keeps_what_it_is_given(api: Api, client: Make) -> None:
    """A whole event keeps its id, timestamp, context and unknown keys, and is not changed."""
    event = {
        "type": "track",
        "event": "A",
        "userId": "u",
        "messageId": "m1",
        "timestamp": "2020-01-01T00:00:00.000Z",
        "context": {"ip": "1.2.3.4", "library": {"name": "other", "version": "1"}},
        "integrations": {"All": False},
        "properties": {"n": 1},
        "originalTimestamp": "2019-12-31T23:59:59.000Z",
    }
    before = repr(event)
    client().send(event).wait(timeout=10)
    assert api.events == [event]
    assert repr(event) == before


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "track"},
        {"type": "track", "event": "A"},
        {"type": "sell", "userId": "u"},
        {"type": "track", "event": "A", "userId": "u", "properties": [1]},
        {"type": "track", "event": "A", "userId": "u", "timestamp": "yesterday"},
        [],
        None,
        "track",
    ],
    ids=repr,
)
def test_send_refuses_what_the_api_would_discard(client: Make, event: Any) -> None:
    """As the calls do; what only the calls require of new events is not asked of whole ones."""
    with pytest.raises(InvalidEvent):
        client().send(event)


@pytest.mark.parametrize("method", ["flush", "close_and_flush", "close", "wait"])
@pytest.mark.parametrize("where", ["callback", "listener", "done callback"])
def test_the_worker_does_not_wait_for_itself(client: Make, method: str, where: str) -> None:
    """flush, close and wait on the client's own worker raise MillstreamError at once."""
    analytics = client(flush_at=1)
    other = client(flush_interval=300.0).track("Later", user_id="u")
    raised = Heard()

    def misuse(*_: Any) -> None:
        pending = analytics.track("More", user_id="u")
        try:
            pending.wait(timeout=10) if method == "wait" else getattr(analytics, method)(timeout=10)
        except MillstreamError as exc:
            raised(exc)

    if where == "listener":
        analytics.once("track", misuse)
    receipt = analytics.track("A", user_id="u", callback=misuse if where == "callback" else None)
    if where == "done callback":
        receipt.add_done_callback(misuse)
    ((error,),) = raised.wait_for(1)
    assert "own worker" in str(error)
    assert not other.done()


def test_close_waits_for_awaitables_within_its_time(client: Make) -> None:
    """An awaitable that does not end keeps `close` no longer than its timeout."""
    analytics = client()
    analytics.track("A", user_id="u", callback=lambda *_: asyncio.sleep(60))
    begin = time.monotonic()
    analytics.close_and_flush(timeout=0.5)
    assert time.monotonic() - begin < 5.0


def test_an_awaitable_that_raises_is_reported(client: Make) -> None:
    """What a callback's awaitable raises is an `error` event with code `callback`."""
    errors = Heard()
    analytics = client()
    analytics.on("error", errors)

    async def bad() -> None:
        raise ValueError("mine")

    analytics.track("A", user_id="u", callback=lambda *_: bad())
    analytics.close_and_flush(timeout=10)
    ((event,),) = errors.wait_for(1)
    assert (event.code, str(event.reason)) == ("callback", "mine")


@pytest.mark.parametrize("timeout", [5000, -1, float("nan"), "5", True])
def test_a_timeout_is_in_seconds(client: Make, timeout: Any) -> None:
    """A timeout that is no number of seconds is refused, and the client stays open."""
    analytics = client()
    for method in (analytics.flush, analytics.close_and_flush):
        with pytest.raises(SettingsError, match="timeout"):
            method(timeout=timeout)
    assert analytics.track("A", user_id="u").wait(timeout=10)


def test_close_cuts_back_off_short(api: Api, client: Make) -> None:
    """Events that wait for their next attempt are given up at the deadline, and not a second later."""
    api.always = status(500)
    answered = Heard()
    analytics = client(flush_at=1, max_retries=5)
    analytics.on("http_response", answered)
    analytics.track("A", user_id="u")
    answered.wait_for(1)
    begin = time.monotonic()
    result = analytics.close(timeout=0.2)
    assert time.monotonic() - begin < 2.0
    assert (len(result.unsent), result.failed) == (1, 1)
