"""Receipts: waiting for one event's outcome, in threads and on event loops."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable

import pytest

from millstream import Analytics, Rejected
from support.api import Api, status
from support.background import Background, Heard

Make = Callable[..., Analytics]


def test_wait_returns_the_context(client: Make) -> None:
    """A delivered event's `wait` returns its Context: the event, its id, and how many requests carried it."""
    receipt = client().track("A", user_id="u", message_id="m1")
    ctx = receipt.wait(timeout=10)
    assert (ctx.id, ctx.event["messageId"], ctx.attempts, ctx.failed_delivery()) == ("m1", "m1", 1, None)
    assert receipt.message_id == "m1"


def test_wait_does_not_sit_out_the_interval(client: Make) -> None:
    """Whoever waits for an event has it sent at once."""
    begin = time.monotonic()
    client(flush_interval=300.0).track("A", user_id="u").wait(timeout=10)
    assert time.monotonic() - begin < 5.0


def test_wait_raises_why_it_failed(api: Api, client: Make) -> None:
    """A failed event's `wait` raises the reason, every time, and never the same object twice."""
    api.always = status(400, b"no")
    receipt = client().track("A", user_id="u")
    errors = []
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            receipt.wait(timeout=10)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert (errors[0].status, errors[0].body) == (errors[1].status, errors[1].body) == (400, b"no")


def test_wait_gives_up_after_its_time(api: Api, client: Make) -> None:
    """A `wait` without an outcome raises TimeoutError, and the event is still on its way."""
    held = api.hold()
    receipt = client().track("A", user_id="u")
    with pytest.raises(TimeoutError, match="still being delivered"):
        receipt.wait(timeout=0.1)
    assert not receipt.done()
    held.release()
    assert receipt.wait(timeout=10)


def test_many_can_wait_for_one(api: Api, client: Make) -> None:
    """All who wait for an event have its outcome."""
    held = api.hold()
    receipt = client().track("A", user_id="u")
    waiting = [Background(receipt.wait, timeout=10) for _ in range(8)]
    api.wait_for(1)
    held.release()
    assert {one.result().id for one in waiting} == {receipt.message_id}


def test_done_says_whether_there_is_an_outcome(api: Api, client: Make) -> None:
    """`done` is False until the outcome is there, and True from then on."""
    held = api.hold()
    receipt = client(flush_at=1).track("A", user_id="u")
    api.wait_for(1)
    assert not receipt.done()
    assert "pending" in repr(receipt)
    held.release()
    receipt.wait(timeout=10)
    assert receipt.done()
    assert "delivered" in repr(receipt)


def test_done_callbacks_are_called_once(api: Api, client: Make) -> None:
    """A done callback that is added before the outcome is called with it; one added after, at once."""
    held = api.hold()
    before, after = Heard(), Heard()
    receipt = client(flush_at=1).track("A", user_id="u")
    receipt.add_done_callback(before)
    api.wait_for(1)
    assert before.calls == []
    held.release()
    receipt.wait(timeout=10)
    receipt.add_done_callback(after)
    assert before.wait_for(1) == after.calls == [(receipt,)]


def test_a_done_callback_that_raises_hurts_nobody(client: Make) -> None:
    """It is reported as an `error` event, and the others are called."""
    errors, other = Heard(), Heard()
    analytics = client()
    analytics.on("error", errors)
    receipt = analytics.track("A", user_id="u")
    receipt.add_done_callback(lambda _: 1 / 0)
    receipt.add_done_callback(other)
    receipt.wait(timeout=10)
    other.wait_for(1)
    assert isinstance(errors.wait_for(1)[0][0].reason, ZeroDivisionError)


@pytest.mark.parametrize("how", ["callback", "add_done_callback"])
def test_a_callback_that_raises_the_events_own_error_keeps_nothing_alive(api: Api, client: Make, how: str) -> None:
    """`raise err` in a callback is reported, and the event is forgotten as any other."""
    api.always = status(400)
    heard = Heard()
    errors: list[weakref.ref[BaseException]] = []

    def callback(err: BaseException | None, _: object) -> None:
        assert err is not None
        errors.append(weakref.ref(err))
        raise err

    analytics = client(max_in_flight=1)
    analytics.on("error", lambda event: heard(event.code))
    for _ in range(3):  # the first request and the last are in their sender's hands, as long as that has nothing to do
        if how == "callback":
            analytics.track("A", user_id="u", callback=callback)
        else:
            analytics.track("A", user_id="u").add_done_callback(lambda r: callback(r.outcome and r.outcome.error, r))
        analytics.flush(timeout=10)
    analytics.close_and_flush(timeout=10)
    gc.collect()
    assert heard.calls.count(("callback",)) == 3
    assert errors[1]() is None


def test_await_on_an_event_loop(api: Api, client: Make) -> None:
    """`await receipt` gives the Context, and raises the reason, without blocking the loop."""
    analytics = client(flush_interval=300.0)
    held = api.hold()
    api.script(status(400))

    async def main() -> None:
        good = asyncio.ensure_future(_awaited(analytics.track("Good", user_id="u")))
        await asyncio.get_running_loop().run_in_executor(None, api.wait_for, 1)
        assert not good.done()
        held.release()
        assert (await good).event["event"] == "Good"
        with pytest.raises(Rejected):
            await analytics.track("Bad", user_id="u")

    asyncio.run(main())


def test_await_what_is_done(client: Make) -> None:
    """A receipt that has its outcome can be awaited as often as one likes."""
    receipt = client().track("A", user_id="u")
    receipt.wait(timeout=10)

    async def main() -> list[str]:
        return [(await receipt).id, (await receipt).id]

    assert asyncio.run(main()) == [receipt.message_id] * 2


def test_many_awaits_at_once(client: Make) -> None:
    """A thousand receipts can be gathered."""
    analytics = client(flush_at=100)

    async def main() -> int:
        receipts = [analytics.track(str(n), user_id="u") for n in range(1000)]
        return len(await asyncio.wait_for(asyncio.gather(*map(_awaited, receipts)), 20))

    assert asyncio.run(main()) == 1000


def test_an_await_can_be_given_up(api: Api, client: Make) -> None:
    """A cancelled await, and a loop that is gone when the outcome comes, hurt nobody."""
    held = api.hold()
    analytics = client(flush_at=1)
    errors = Heard()
    analytics.on("error", errors)
    receipt = analytics.track("A", user_id="u")

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_awaited(receipt), 0.05)

    asyncio.run(main())
    held.release()
    assert receipt.wait(timeout=10)
    assert errors.calls == []


async def _awaited(receipt: object) -> object:
    return await receipt  # type: ignore[misc]
