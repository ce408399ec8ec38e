"""Callbacks: who is called, when, with what; and what becomes of what they raise and return."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from millstream import Analytics, Rejected
from support.api import Api, status
from support.background import Heard

Make = Callable[..., Analytics]


def test_a_callback_gets_the_context_of_a_delivered_event(client: Make) -> None:
    """N2, C4, C7: no error, and the Context with the event in it."""
    callback = Heard()
    client(flush_at=1).track("Paid", anonymous_id="a1", callback=callback)
    ((error, ctx),) = callback.wait_for()
    assert error is None
    assert (ctx.event["event"], ctx.event["anonymousId"]) == ("Paid", "a1")


def test_a_callback_gets_the_error_of_a_failed_event(api: Api, client: Make) -> None:
    """N3: after a 404 the error says so, and the Context is there."""
    api.always = status(404)
    callback = Heard()
    client(flush_at=1).track("Paid", anonymous_id="a1", callback=callback)
    ((error, ctx),) = callback.wait_for()
    assert isinstance(error, Rejected)
    assert error.status == 404
    assert str(error).startswith("[404]")
    assert ctx.event["event"] == "Paid"
    assert ctx.failed_delivery() is error


def test_a_callback_is_not_delayed(api: Api, client: Make) -> None:
    """C5, C6, C8 (differs): a callback comes with the outcome; the 300 ms that upstream adds help nobody."""
    callback = Heard()
    begin = time.monotonic()
    for _ in range(40):  # with the delay, one after the other, they would take twelve seconds
        client(flush_at=1).track("A", user_id="u", callback=callback)
    callback.wait_for(40)
    assert time.monotonic() - begin < 10.0


def test_without_a_callback_nobody_is_called(client: Make) -> None:
    """C3: a call without a callback is delivered as any other."""
    assert client().track("A", user_id="u").wait(timeout=10).id


def test_a_slow_callback_holds_up_no_delivery_that_is_under_way(api: Api, client: Make) -> None:
    """C9 (differs): a callback is never given up; what has to be awaited is returned, and awaited beside the worker."""
    gate = threading.Event()

    async def slow() -> None:
        await asyncio.get_running_loop().run_in_executor(None, gate.wait)

    analytics = client(flush_at=1)
    analytics.track("A", user_id="u", callback=lambda *_: slow())
    analytics.track("B", user_id="u").wait(timeout=10)
    gate.set()
    assert analytics.close_and_flush(timeout=10).pending == 0
    assert len(api.accepted) == 2


def test_a_callback_that_raises_hurts_nobody(api: Api, client: Make) -> None:
    """C10: the event is delivered, the next one too, and the exception is reported as an `error` event."""
    errors = Heard()
    analytics = client(flush_at=1)
    analytics.on("error", errors)

    def bad(*_: Any) -> None:
        raise ValueError("mine")

    analytics.track("A", user_id="u", callback=bad)
    ((event,),) = errors.wait_for()
    assert (event.code, str(event.reason)) == ("callback", "mine")
    analytics.track("B", user_id="u").wait(timeout=10)
    assert analytics.stats().delivered == 2
    assert len(api.accepted) == 2
