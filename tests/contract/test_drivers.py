"""What every driver does, whoever turns its wheel: the calling thread, a worker, an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millstream import Abandoned, ClientClosed, Dropped, Plugin, PluginError, QueueFull, Rejected, RetriesExhausted
from support.api import Api, stall, status
from support.background import Background, Heard
from support.driven import DRIVEN, Driven, Inline

Make = Callable[..., Driven]


@pytest.fixture(params=list(DRIVEN))
def make(request: pytest.FixtureRequest, api: Api) -> Iterator[Make]:
    """Makes clients of `api` over one driver, and closes them when the test is over."""
    made: list[Driven] = []

    def make(**settings: Any) -> Driven:
        driven = DRIVEN[request.param](**{"host": api.url, "max_retries": 0, "flush_interval": 100.0, **settings})
        made.append(driven)
        return driven

    yield make
    for driven in made:
        driven.end()


class Noting(Plugin):
    """Writes down that it saw an event."""

    def __init__(self, name: str, kind: str, notes: list[str]) -> None:
        self.name, self.type, self._notes = name, kind, notes

    def track(self, ctx: Any) -> None:
        self._notes.append(self.name)


def balanced(driven: Driven) -> bool:
    stats = driven.client.stats()
    return stats.accepted == stats.delivered + stats.failed + stats.dropped + stats.pending


# -- delivery -------------------------------------------------------------------------------------------


def test_events_arrive_once_and_in_order(api: Api, make: Make) -> None:
    """What was recorded arrives, each event once, in the order of the calls."""
    driven = make()
    for n in range(40):
        driven.track(f"E{n}")
    result = driven.flush()
    assert (result.delivered, result.failed, result.pending) == (40, 0, 0)
    assert [event["event"] for event in api.events] == [f"E{n}" for n in range(40)]


def test_flush_at_starts_a_flush(api: Api, make: Make) -> None:
    """`flush_at` events are sent without anybody asking."""
    driven = make(flush_at=2)
    driven.track("A")
    driven.track("B")
    assert [event["event"] for event in api.wait_for_events(2)] == ["A", "B"]


def test_flush_interval_sends_what_is_old(api: Api, make: Make) -> None:
    """An event that is `flush_interval` old is sent: by itself, or where nothing runs by itself, at the next call."""
    driven = make(flush_interval=0.05)
    driven.track("A")
    if isinstance(driven, Inline):
        driven.later(0.06)
        driven.track("B")
    assert api.wait_for_events(1)[0]["event"] == "A"


def test_a_retry_delivers(api: Api, make: Make) -> None:
    """A batch that met a 500 is sent again, says so, and counts as delivered."""
    api.script(status(500))
    driven = make(max_retries=2)
    receipt = driven.track()
    assert driven.wait(receipt).attempts == 2
    assert [seen.header("X-Retry-Count") for seen in api.requests] == [None, "1"]


def test_retries_end(api: Api, make: Make) -> None:
    """When the attempts are used up the receipt says so, and what the last one met."""
    api.always = status(503)
    driven = make(max_retries=1)
    with pytest.raises(RetriesExhausted) as caught:
        driven.wait(driven.track())
    assert caught.value.attempts == 2
    assert len(api.requests) == 2


def test_a_connection_that_is_refused_is_a_failed_attempt(api: Api, make: Make) -> None:
    """Where nobody listens there is no answer: the event fails, and the client lives."""
    api.close()
    driven = make()
    with pytest.raises(RetriesExhausted):
        driven.wait(driven.track())
    assert balanced(driven)


def test_a_refusal_fails_the_event(api: Api, make: Make) -> None:
    """A 400 fails the event at once."""
    api.always = status(400)
    driven = make()
    with pytest.raises(Rejected) as caught:
        driven.wait(driven.track())
    assert caught.value.status == 400


# -- flush and close ------------------------------------------------------------------------------------


def test_a_flush_waits_for_what_came_before_it_and_for_no_more(api: Api, make: Make) -> None:
    """A flush ends when everything submitted before it has its outcome, whatever came later."""
    held = api.hold()
    driven = make()
    driven.track("Before")
    flush = Background(driven.flush)
    api.wait_for(1)
    after = driven.track("After")
    assert flush.running()
    held.release()
    assert flush.result().delivered == 1
    assert not after.done()


def test_flushes_overlap(api: Api, make: Make) -> None:
    """Two flushes at a time both end, and each knows what became of what came before it."""
    held = api.hold()
    driven = make()
    driven.track("A")
    first = Background(driven.flush)
    api.wait_for(1)
    driven.track("B")
    second = Background(driven.flush)
    held.release()
    assert first.result().delivered == 1
    assert second.result().delivered == 2


def test_a_flush_of_nothing_ends_at_once(make: Make) -> None:
    """With nothing to deliver, a flush has nothing to wait for."""
    result = make().flush()
    assert (result.delivered, result.failed, result.pending) == (0, 0, 0)


def test_a_flush_gives_up_waiting_and_nothing_else(api: Api, make: Make) -> None:
    """What a flush's deadline leaves undecided is counted as pending, and delivered later."""
    held = api.hold()
    driven = make(http_request_timeout=5.0)
    threading.Timer(0.5, held.release).start()
    receipt = driven.track()
    result = driven.flush(timeout=0.1)
    if driven.drives_itself:  # else the flush itself is in the request
        assert result.pending == 1
    driven.wait(receipt)
    assert balanced(driven)


def test_close_delivers(api: Api, make: Make) -> None:
    """Close delivers what is left."""
    driven = make()
    driven.track()
    assert driven.close().delivered == 1
    assert len(api.events) == 1


def test_close_hands_back_what_it_gives_up(api: Api, make: Make) -> None:
    """At its deadline a close returns every event without an outcome, and the receipt says Abandoned."""
    api.always = stall()
    driven = make(http_request_timeout=0.5, max_retries=9)
    receipt = driven.track(message_id="m1")
    result = driven.close(timeout=0.3)
    assert [event["messageId"] for event in result.unsent] == ["m1"]
    with pytest.raises(Abandoned):
        driven.wait(receipt)
    assert balanced(driven)


def test_a_closed_client_takes_no_events(api: Api, make: Make) -> None:
    """A call after close is reported and fails its receipt, and nothing is sent."""
    driven, late = make(), Heard()
    driven.client.on("call_after_close", late)
    driven.close()
    receipt = driven.track("Late")
    with pytest.raises(ClientClosed):
        driven.wait(receipt)
    assert late.calls[0][0]["event"] == "Late"
    assert api.events == []


def test_to_close_twice_is_to_close_once(make: Make) -> None:
    """A second close finds nothing to do."""
    driven = make()
    driven.track()
    driven.close()
    assert driven.close().pending == 0


# -- who is told ----------------------------------------------------------------------------------------


def test_a_callback_is_called_once(make: Make) -> None:
    """A delivered event's callback is called once, without an error, with the event's context."""
    driven, callback = make(), Heard()
    receipt = driven.track("A", callback=callback)
    driven.close()
    [(error, context)] = callback.calls
    assert (error, context.id, context.event["event"]) == (None, receipt.message_id, "A")


def test_a_callback_learns_why(api: Api, make: Make) -> None:
    """A failed event's callback gets the reason."""
    api.always = status(400)
    driven, callback = make(), Heard()
    driven.track(callback=callback)
    driven.close()
    assert isinstance(callback.calls[0][0], Rejected)


def test_close_waits_for_what_callbacks_return(make: Make) -> None:
    """An awaitable that a callback returned has ended when close returns."""
    ended: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.1)
        ended.append("slow")

    driven = make()
    driven.track(callback=lambda *_: slow())
    driven.close()
    assert ended == ["slow"]


def test_a_callback_that_raises_is_reported(make: Make) -> None:
    """What a callback raises, at once or when it is awaited, is reported and stops nothing."""
    driven, heard = make(), Heard()
    driven.client.on("error", heard)

    async def late() -> None:
        raise ValueError("late")

    def soon(*_: object) -> None:
        raise ValueError("soon")

    driven.track(callback=lambda *_: late())
    driven.track(callback=soon)
    assert driven.close().delivered == 2
    assert sorted((e.code, str(e.reason)) for (e,) in heard.calls) == [("callback", "late"), ("callback", "soon")]


def test_a_listener_that_raises_stops_nothing(api: Api, make: Make) -> None:
    """Listeners' exceptions are reported; the event is delivered and the other listeners hear of it."""
    driven, heard, errors = make(), Heard(), Heard()

    def bad(_: object) -> None:
        raise ValueError("listener")

    driven.client.on("track", bad)
    driven.client.on("track", heard)
    driven.client.on("error", errors)
    driven.track()
    assert driven.close().delivered == 1
    assert len(heard.calls) == 1
    assert [event.code for (event,) in errors.calls] == ["listener"]


def test_requests_and_answers_are_emitted(make: Make) -> None:
    """Every request and its answer can be heard, and the end of all work as well."""
    driven, names = make(), []
    for name in ("http_request", "http_response", "track", "drained"):
        driven.client.on(name, lambda *_, name=name: names.append(name))
    driven.track()
    driven.close()
    assert set(names) == {"http_request", "http_response", "track", "drained"}
    assert names.index("http_request") < names.index("track") < names.index("drained")


def test_done_callbacks_are_called(make: Make) -> None:
    """A receipt's done callback is called with it, also when it is added late."""
    driven, soon, late = make(), Heard(), Heard()
    receipt = driven.track()
    receipt.add_done_callback(soon)
    driven.wait(receipt)
    receipt.add_done_callback(late)
    assert soon.wait_for(1) == late.wait_for(1) == [(receipt,)]


def test_a_receipt_does_not_wait_for_the_interval(make: Make) -> None:
    """Who waits for a receipt has its event sent at once."""
    driven = make()
    receipt = driven.track("A")
    assert not receipt.done()
    assert driven.wait(receipt).event["event"] == "A"
    assert receipt.done()


# -- plugins --------------------------------------------------------------------------------------------


def test_plugins_run_stage_after_stage(make: Make) -> None:
    """Whatever order they were registered in: before, enrichment, destination, after; within a stage, that order."""
    driven, notes = make(), []
    kinds = ("after", "destination", "enrichment", "before", "before")
    driven.register(*[Noting(f"{kind}{n}", kind, notes) for n, kind in enumerate(kinds)])
    driven.track()
    driven.close()
    assert notes == ["before3", "before4", "enrichment2", "destination1", "after0"]


def test_a_plugin_changes_the_event(api: Api, make: Make) -> None:
    """What an enrichment writes into the event is what is sent."""

    class Stamp(Plugin):
        def track(self, ctx: Any) -> None:
            ctx.update_event("properties.stamp", 7)

    driven = make()
    driven.register(Stamp())
    driven.track()
    driven.flush()
    assert api.events[0]["properties"] == {"stamp": 7}


def test_a_plugin_drops_an_event(api: Api, make: Make) -> None:
    """A cancelled event is dropped: not sent, counted, and its receipt says why."""

    class Gate(Plugin):
        type = "before"

        def track(self, ctx: Any) -> None:
            ctx.cancel("not today")

    driven = make()
    driven.register(Gate())
    with pytest.raises(Dropped, match="not today"):
        driven.wait(driven.track())
    assert (driven.client.stats().dropped, api.events) == (1, [])


def test_a_destination_that_fails_is_reported(make: Make) -> None:
    """A destination's exception is reported, and the event is delivered all the same."""

    class Broken(Plugin):
        type = "destination"

        def track(self, ctx: Any) -> None:
            raise ValueError("no")

    driven, errors = make(), Heard()
    driven.client.on("error", errors)
    driven.register(Broken())
    driven.track()
    assert driven.close().delivered == 1
    assert [(event.code, event.reason.plugin) for (event,) in errors.calls] == [("plugin", "Broken")]


def test_a_deregistered_plugin_runs_no_more(make: Make) -> None:
    """After `deregister` a plugin has been unloaded and sees no event."""
    notes: list[str] = []

    class Leaving(Noting):
        def unload(self, ctx: Any, analytics: Any) -> None:
            notes.append("unloaded")

    driven = make()
    driven.register(Leaving("leaving", "enrichment", notes))
    driven.track()
    driven.flush()
    driven.deregister("leaving")
    driven.track()
    driven.close()
    assert notes == ["leaving", "unloaded"]


def test_without_its_critical_plugin_nothing_goes(api: Api, make: Make) -> None:
    """When a critical plugin cannot be loaded nothing is delivered, and close hands the events back."""

    class Vital(Plugin):
        critical = True

        def load(self, ctx: Any, analytics: Any) -> None:
            raise ValueError("no")

    driven = make()
    with pytest.raises(PluginError):
        driven.register(Vital())
    driven.track(message_id="m1")
    assert [event["messageId"] for event in driven.close().unsent] == ["m1"]
    assert api.events == []


# -- counters -------------------------------------------------------------------------------------------


def test_the_books_balance(api: Api, make: Make) -> None:
    """Accepted is delivered, failed, dropped and pending together, whatever happens."""
    api.script(status(200), status(400))
    driven = make(max_queue_events=3)
    driven.track()
    driven.flush()
    driven.track()
    driven.flush()
    driven.track(properties={"x": "y" * 40_000})
    assert balanced(driven)
    full = [driven.track() for _ in range(4)]
    with pytest.raises(QueueFull):
        driven.wait(full[-1])
    assert balanced(driven)
    driven.close()
    stats = driven.client.stats()
    assert (stats.accepted, stats.delivered, stats.failed, stats.dropped, stats.pending) == (7, 4, 2, 1, 0)
    assert stats.queue_bytes == 0


def test_a_disabled_client_sends_nothing(api: Api, make: Make) -> None:
    """With `disable` receipts succeed, and nothing is sent."""
    driven = make(disable=True)
    driven.wait(driven.track())
    assert driven.close().delivered == 1
    assert api.requests == []
