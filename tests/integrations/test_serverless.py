"""`flush_on_return`: what a handler has recorded is delivered when it returns."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, MillstreamError, flush_on_return
from support.api import Api

Make = Callable[..., Analytics]


class LambdaContext:
    """As much of AWS Lambda's context object as says how much time is left."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@pytest.fixture
def patient(client: Make) -> Analytics:
    """A client that sends nothing of its own accord for a long time."""
    return client(flush_at=100, flush_interval=900)


def test_events_have_left_when_the_handler_returns(api: Api, patient: Analytics) -> None:
    """Everything is delivered before the return, without waiting for `flush_interval`; the result is the handler's."""

    @flush_on_return(patient)
    def handler(event: dict[str, str], context: Any) -> dict[str, int]:
        """Handles."""
        patient.track("Order Placed", user_id=event["user"])
        return {"statusCode": 200}

    begin = time.monotonic()
    assert handler({"user": "u"}, LambdaContext(10)) == {"statusCode": 200}
    assert time.monotonic() - begin < 5
    assert [event["event"] for event in api.accepted] == ["Order Placed"]
    assert (handler.__name__, handler.__doc__) == ("handler", "Handles.")


def test_events_have_left_when_the_handler_raises(api: Api, patient: Analytics) -> None:
    """What led to the failure is what one wants to see: it is delivered, and the exception goes on."""

    @flush_on_return(patient)
    def handler(event: Any, context: Any) -> None:
        patient.track("Order Failed", user_id="u")
        raise LookupError("no stock")

    with pytest.raises(LookupError, match="no stock"):
        handler({}, None)
    assert len(api.accepted) == 1


@pytest.mark.parametrize("as_keyword", [False, True])
def test_the_remaining_time_is_the_deadline(
    api: Api, patient: Analytics, caplog: pytest.LogCaptureFixture, as_keyword: bool
) -> None:
    """With a server that does not answer, the handler returns before Lambda ends it, and the log says what is left."""
    held = api.hold()

    @flush_on_return(patient, timeout=60, margin=5.7)
    def handler(event: Any, context: Any) -> None:
        patient.track("A", user_id="u")

    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, "millstream"):
        if as_keyword:
            handler({}, context=LambdaContext(6.0))
        else:
            handler({}, LambdaContext(6.0))
    assert 0.2 < time.monotonic() - begin < 6.0
    assert "1 events were not delivered" in caplog.text
    held.release()


def test_no_time_left_is_no_error(api: Api, patient: Analytics) -> None:
    """If less than the margin remains, the handler returns at once; the events go out with the next call."""
    held = api.hold()

    @flush_on_return(patient)
    def handler(event: Any, context: Any) -> None:
        patient.track("A", user_id="u")

    handler({}, LambdaContext(0.1))
    held.release()
    handler({}, LambdaContext(10))
    assert len(api.accepted) == 2


def test_any_function_will_do(api: Api, patient: Analytics) -> None:
    """Without a Lambda context `timeout` is the deadline, whatever the function takes."""
    held = api.hold()

    @flush_on_return(patient, timeout=0.2)
    def job(*, user: str) -> str:
        patient.track("A", user_id=user)
        return user

    begin = time.monotonic()
    assert job(user="u") == "u"
    assert 0.1 < time.monotonic() - begin < 2
    held.release()


def test_a_coroutine_flushes_without_holding_up_its_loop(api: Api, patient: Analytics) -> None:
    """An `async def` handler flushes too; other tasks of the loop run meanwhile."""
    held = api.hold()
    ticks: list[int] = []

    @flush_on_return(patient)
    async def handler(event: Any, context: Any) -> str:
        patient.track("A", user_id="u")
        return "done"

    async def main() -> str:
        task = asyncio.create_task(handler({}, None))
        while not api.requests:
            ticks.append(1)
            await asyncio.sleep(0.001)
        held.release()
        return await task

    assert asyncio.run(asyncio.wait_for(main(), 10)) == "done"
    assert len(api.accepted) == 1


def test_an_awaitable_flush_is_awaited() -> None:
    """A client whose `flush` is a coroutine is awaited, and refused for a plain `def` when it is decorated."""
    flushed: list[float | None] = []

    class Awaited:
        async def flush(self, timeout: float | None = None) -> Any:
            from millstream import FlushResult

            flushed.append(timeout)
            return FlushResult()

    @flush_on_return(Awaited(), timeout=3)
    async def handler() -> str:
        return "done"

    assert asyncio.run(handler()) == "done"
    assert flushed == [3]
    with pytest.raises(MillstreamError, match="plain `def`"):

        @flush_on_return(Awaited())
        def plain() -> None: ...


def test_waiting_for_a_receipt_needs_no_flush(api: Api, patient: Analytics) -> None:
    """`track(…).wait()` sends what is needed to settle that receipt, and does not sit out `flush_interval`."""
    begin = time.monotonic()
    patient.track("A", user_id="u").wait(timeout=10)
    assert time.monotonic() - begin < 5
    assert len(api.accepted) == 1
