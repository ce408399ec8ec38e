"""Flush and close: what they wait for, and what comes too late."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from millstream import Analytics, ClientClosed
from support.api import Api, stall
from support.background import Background, Heard

Make = Callable[..., Analytics]


def test_drained_after_one_event(client: Make) -> None:
    """N10: `drained` comes when the only event has its outcome."""
    analytics, drained = client(flush_at=1), Heard()
    analytics.on("drained", drained)
    analytics.track("A", user_id="u")
    assert drained.wait_for() == [()]


def test_drained_once_for_many(client: Make) -> None:
    """N11: three events that are delivered together are one `drained`."""
    analytics, drained = client(flush_at=3), Heard()
    analytics.on("drained", drained)
    for name in "ABC":
        analytics.track(name, user_id="u")
    analytics.close_and_flush(timeout=10)
    assert drained.calls == [()]


def test_close_waits_for_callbacks(client: Make) -> None:
    """N12: when `close_and_flush` returns, callbacks have run, and on another thread than the call's."""
    analytics, callback = client(), Heard()
    analytics.track("A", user_id="u", callback=callback)
    assert callback.calls == []
    analytics.close_and_flush(timeout=10)
    assert len(callback.calls) == 1
    assert threading.get_ident() not in callback.threads


def test_close_waits_for_what_callbacks_return(client: Make) -> None:
    """N13: an awaitable that a callback returned has ended when `close_and_flush` returns."""
    ended: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.2)
        ended.append("slow")

    analytics = client()
    analytics.track("A", user_id="u", callback=lambda *_: slow())
    analytics.close_and_flush(timeout=10)
    assert ended == ["slow"]


def test_close_keeps_to_its_deadline(api: Api, client: Make) -> None:
    """N16 (differs): at the deadline it returns, and hands back in `unsent` what it gives up."""
    api.always = stall()
    analytics = client(flush_at=1)
    analytics.track("A", user_id="u", message_id="m1")
    api.wait_for(1)
    begin = time.monotonic()
    result = analytics.close_and_flush(timeout=0.3)
    assert 0.25 < time.monotonic() - begin < 2.0
    assert [event["messageId"] for event in result.unsent] == ["m1"]
    assert (result.delivered, result.failed, result.pending) == (0, 1, 0)


def test_a_closed_client_takes_no_events(api: Api, client: Make) -> None:
    """N17: what came before the close is sent, what comes after is neither sent nor emitted as delivered."""
    analytics, heard = client(), Heard()
    analytics.on("track", heard)
    analytics.track("Before", user_id="u")
    analytics.close_and_flush(timeout=10)
    late = analytics.track("After", user_id="u")
    assert [event["event"] for event in api.events] == ["Before"]
    assert [ctx.event["event"] for (ctx,) in heard.calls] == ["Before"]
    with pytest.raises(ClientClosed):
        late.wait(timeout=1)


def test_late_events_are_handed_back(client: Make) -> None:
    """N18: each event after the close is emitted as `call_after_close`, as the wire's dict."""
    analytics, heard = client(), Heard()
    analytics.on("call_after_close", heard)
    analytics.close_and_flush(timeout=10)
    for name in "AB":
        analytics.track(name, user_id="u", properties={"n": 1})
    (first,), (second,) = heard.calls
    assert (first["event"], second["event"]) == ("A", "B")
    assert first["properties"] == {"n": 1}
    assert first["messageId"] != second["messageId"]


def test_close_with_one_event_to_a_request(api: Api, client: Make) -> None:
    """N19: two events with `flush_at=1` are two requests, both waited for."""
    analytics, heard = client(flush_at=1), Heard()
    analytics.on("track", heard)
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    result = analytics.close_and_flush(timeout=10)
    assert len(api.requests) == len(heard.calls) == 2
    assert result.pending == 0


def test_close_of_an_idle_client_returns_at_once(client: Make) -> None:
    """N20, N21: nothing is waited for, and there is no `drained`."""
    analytics, drained = client(), Heard()
    analytics.on("drained", drained)
    begin = time.monotonic()
    analytics.close_and_flush()
    assert time.monotonic() - begin < 5.0
    assert drained.calls == []


def test_close_sends_what_waits_for_company(api: Api, client: Make) -> None:
    """N22: events that wait in a batch go at once as one request, and not after `flush_interval`."""
    analytics = client(flush_interval=60.0)
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    begin = time.monotonic()
    analytics.close_and_flush()
    assert time.monotonic() - begin < 5.0
    assert [len(seen.events) for seen in api.requests] == [2]


def test_flush_can_be_repeated(api: Api, client: Make) -> None:
    """N24: each flush sends what waits, as one request, and each ends in a `drained`."""
    analytics, drained = client(flush_interval=60.0), Heard()
    analytics.on("drained", drained)
    analytics.track("A", user_id="u")
    assert analytics.flush(timeout=10).delivered == 1
    analytics.track("B", user_id="u")
    analytics.track("C", user_id="u")
    assert analytics.flush(timeout=10).pending == 0
    assert [len(seen.events) for seen in api.requests] == [1, 2]
    assert len(drained.calls) == 2


def test_flush_does_not_wait_for_later_events(api: Api, client: Make) -> None:
    """N25: what is recorded while a flush waits goes with the next one."""
    held = api.hold()
    analytics = client(flush_interval=60.0)
    analytics.track("Early", user_id="u")
    flush = Background(analytics.flush, timeout=10)
    api.wait_for(1)
    late = analytics.track("Late", user_id="u")
    held.release()
    assert flush.result().delivered == 1
    assert not late.done()
    assert analytics.flush(timeout=10).pending == 0
    assert [[e["event"] for e in seen.events] for seen in api.requests] == [["Early"], ["Late"]]


def test_flushes_may_overlap(api: Api, client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """N26 (differs): a second flush is neither ignored nor warned about; both wait for what they must."""
    held = api.hold()
    analytics = client(max_in_flight=2, flush_interval=60.0)
    analytics.track("A", user_id="u")
    first = Background(analytics.flush, timeout=10)
    api.wait_for(1)
    analytics.track("B", user_id="u")
    second = Background(analytics.flush, timeout=10)
    api.wait_for(2)
    assert first.running()
    assert second.running()
    held.release()
    first.result()
    assert second.result().pending == 0
    assert len(api.accepted) == 2
    assert not caplog.records


def test_flush_one_after_another_is_quiet(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """N27: no warning, and no `drained` when there was nothing to send."""
    caplog.set_level(logging.DEBUG, "millstream")
    analytics, drained = client(), Heard()
    analytics.on("drained", drained)
    for _ in range(3):
        analytics.flush(timeout=10)
    assert drained.calls == []
    assert not caplog.records


def test_several_clients_know_nothing_of_each_other(api: Api, client: Make) -> None:
    """N31 (beyond): each has its own key, queue and end."""
    one, other = client("key-one"), client("key-other")
    one.track("A", user_id="u")
    other.track("B", user_id="u")
    one.close_and_flush(timeout=10)
    assert [seen.json["writeKey"] for seen in api.requests] == ["key-one"]
    other.track("C", user_id="u")
    assert other.flush(timeout=10).delivered == 2
    assert [seen.json["writeKey"] for seen in api.requests] == ["key-one", "key-other"]
