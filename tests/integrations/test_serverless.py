"""`flush_on_return`: what a handler has recorded is delivered when it returns."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from millstream import Analytics, AsyncAnalytics, MillstreamError, SettingsError, flush_on_return
from millstream._logging import logger
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
    assert "1 event not delivered" in caplog.text
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


# -- functions of every kind ------------------------------------------------------------------------------


def test_a_generator_s_events_have_left_when_it_ends(api: Api, patient: Analytics) -> None:
    """What a generator records while it is iterated leaves at its end; it gets what is sent and thrown into it."""

    @flush_on_return(patient)
    def handler(event: str) -> Generator[str, str, str]:
        patient.track("Began", user_id="u")
        try:
            received = yield event
        except LookupError:
            received = "thrown"
        patient.track("Ended", user_id="u", properties={"received": received})
        return received

    assert inspect.isgeneratorfunction(handler)
    for number, go_on in enumerate((lambda g: g.send("sent"), lambda g: g.throw(LookupError))):
        running = handler("first")
        assert next(running) == "first"
        assert len(api.accepted) == 2 * number
        with pytest.raises(StopIteration) as end:
            go_on(running)
        assert end.value.value == ["sent", "thrown"][number]
        assert len(api.accepted) == 2 * number + 2
    running = handler("first")
    next(running)
    running.close()
    assert [event["event"] for event in api.accepted] == ["Began", "Ended", "Began", "Ended", "Began"]


def test_an_asynchronous_generator_s_events_have_left_when_it_ends(api: Api, patient: Analytics) -> None:
    """The same for an asynchronous one, also below `asynccontextmanager`, which throws exceptions into it."""
    seen: list[str] = []

    @flush_on_return(patient)
    async def items(event: str) -> AsyncGenerator[str, str]:
        try:
            seen.append((yield event))
        except LookupError:
            seen.append("thrown")
        except GeneratorExit:
            seen.append("closed")
            raise
        finally:
            patient.track("Ended", user_id="u")

    async def main() -> None:
        running = items("first")
        assert await running.__anext__() == "first"
        with pytest.raises(StopAsyncIteration):
            await running.asend("sent")
        assert len(api.accepted) == 1
        async with contextlib.asynccontextmanager(items)("first"):
            raise LookupError
        assert len(api.accepted) == 2
        running = items("first")
        await running.__anext__()
        await running.aclose()
        assert len(api.accepted) == 3

    assert inspect.isasyncgenfunction(items)
    asyncio.run(asyncio.wait_for(main(), 20))
    assert seen == ["sent", "thrown", "closed"]


class Handler:
    """An object that is called like a function."""

    def __init__(self, record: Callable[[], object]) -> None:
        self.record = record

    async def __call__(self, event: str) -> str:
        await asyncio.sleep(0)
        self.record()
        return event


def test_whatever_is_called_is_flushed_after_its_body(api: Api, patient: Analytics) -> None:
    """An object with `async __call__`, a partial, a method, and a `def` that returns a coroutine or a generator."""

    def record() -> None:
        patient.track("A", user_id="u")

    def items(event: str) -> Iterator[str]:
        record()
        yield event

    def hands_on(event: str) -> Any:
        return items(event) if event == "items" else handler(event)

    handler = Handler(record)
    awaited = [handler, functools.partial(handler.__call__), handler.__call__, hands_on]
    for number, fn in enumerate(awaited, 1):
        decorated = flush_on_return(patient)(fn)
        assert inspect.iscoroutinefunction(decorated) == (fn is not awaited[-1])
        assert asyncio.run(decorated("done")) == "done"
        assert len(api.accepted) == number
    for number, fn in enumerate([items, functools.partial(items), hands_on], len(awaited) + 1):
        assert list(flush_on_return(patient)(fn)("items")) == ["items"]
        assert len(api.accepted) == number


def test_a_receipt_that_is_returned_stays_one(api: Api, patient: Analytics) -> None:
    """It can be awaited, and need not be: what a plain function returns is the caller's."""
    receipt = patient.track("A", user_id="u")
    assert flush_on_return(patient)(lambda: receipt)() is receipt


def test_what_cannot_work_is_refused_when_it_is_decorated(patient: Analytics) -> None:
    """A class, no function at all, the client forgotten, milliseconds, and a generator that cannot await."""
    for wrong in (Handler, 5, classmethod(len)):
        with pytest.raises(MillstreamError, match="decorate the function or method that runs"):
            flush_on_return(patient)(wrong)  # type: ignore[type-var]
    with pytest.raises(MillstreamError, match=r"write @flush_on_return\(analytics\)"):
        flush_on_return(lambda event, context: None)  # type: ignore[arg-type]
    for wrong in ({"timeout": 5000}, {"margin": -1}):
        with pytest.raises(SettingsError, match="seconds"):
            flush_on_return(patient, **wrong)
    awaiting = AsyncAnalytics("key", disable=True)
    with pytest.raises(MillstreamError, match="plain `def`"):

        @flush_on_return(awaiting)
        def items() -> Iterator[str]:
            yield "one"

    with pytest.raises(MillstreamError, match="plain `def`"):
        flush_on_return(awaiting)(functools.partial(print))
    flush_on_return(awaiting)(Handler(print))


# -- the function's own result ------------------------------------------------------------------------------


class Raising:
    """An argument whose attributes cannot be read, such as a proxy outside of its request."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request")


class Odd:
    """One whose answer is of no use."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_remaining_time_in_millis(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


ODD = [Mock(), MagicMock(), Raising(), Odd(None), Odd("10"), Odd(LookupError()), Odd(float("nan")), Odd(-5)]


@pytest.mark.parametrize("argument", ODD, ids=lambda argument: type(argument).__name__)
def test_an_odd_argument_costs_neither_result_nor_events(api: Api, patient: Analytics, argument: Any) -> None:
    """If an argument cannot say how much time is left, `timeout` is the deadline."""

    @flush_on_return(patient)
    def handler(event: Any, context: Any) -> str:
        patient.track("A", user_id="u")
        return "done"

    assert handler({}, argument) == "done"
    assert handler({}, context=argument) == "done"
    api.wait_for(1)


class Broken:
    """A client whose flush raises."""

    def flush(self, timeout: float | None = None) -> Any:
        raise MillstreamError("it was called on the client's own worker")


class BrokenLater:
    async def flush(self, timeout: float | None = None) -> Any:
        raise MillstreamError("it was called on another loop")


def test_what_a_flush_raises_replaces_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The result and the exception of a function are its caller's; what the flush raised is in the log."""

    def returns() -> str:
        return "done"

    def raises() -> str:
        raise LookupError("no stock")

    async def awaited() -> str:
        return returns()

    async def awaited_raises() -> str:
        return raises()

    assert flush_on_return(Broken())(returns)() == "done"
    with pytest.raises(LookupError, match="no stock"):
        flush_on_return(Broken())(raises)()
    for broken in (Broken(), BrokenLater()):
        assert asyncio.run(flush_on_return(broken)(awaited)()) == "done"
        with pytest.raises(LookupError, match="no stock"):
            asyncio.run(flush_on_return(broken)(awaited_raises)())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6
    assert all(line.startswith("events were not delivered before the function returned: Mill") for line in said)


def test_a_log_handler_that_raises_replaces_nothing() -> None:
    """Nor does what the line about it meets."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("no context")

    handler = Handler()
    logger.addHandler(handler)
    try:
        assert flush_on_return(Broken())(lambda: "done")() == "done"
    finally:
        logger.removeHandler(handler)


def test_waiting_for_a_receipt_needs_no_flush(api: Api, patient: Analytics) -> None:
    """`track(…).wait()` sends what is needed to settle that receipt, and does not sit out `flush_interval`."""
    begin = time.monotonic()
    patient.track("A", user_id="u").wait(timeout=10)
    assert time.monotonic() - begin < 5
    assert len(api.accepted) == 1
