"""What is `async`, run to its end in the calling thread, and what a loop gives to threads, done at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from millstream._delivery.private_loop import InlineExecutor, PrivateLoop


@pytest.fixture
def loop() -> Iterator[PrivateLoop]:
    private = PrivateLoop()
    yield private
    private.close()


async def here() -> int:
    return threading.get_ident()


async def times_out() -> None:
    raise asyncio.TimeoutError("the host's own")


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_timeout_of_the_code_s_own_is_raised_as_it_is(loop: PrivateLoop, timeout: float | None) -> None:
    """An awaitable that raises a TimeoutError has not taken too long: its own exception comes out."""
    with pytest.raises(asyncio.TimeoutError, match="the host's own"):
        loop.run(times_out(), timeout)


def test_what_takes_too_long_is_cancelled(loop: PrivateLoop) -> None:
    """The wait ends after `timeout` seconds, with a message that names them, and the awaitable is told."""
    told = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    with pytest.raises(TimeoutError, match=r"no end after 0\.01 s"):
        loop.run(forever(), 0.01)
    assert told == ["cancelled"]


def test_a_future_of_the_loop_outlives_one_run(loop: PrivateLoop) -> None:
    """The loop is kept between two runs: an HTTP client's connections belong to it. Any awaitable will do."""

    class Later:
        def __await__(self) -> Any:
            return here().__await__()

    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = loop.run(running(), None)
    assert loop.run(Later(), None) == threading.get_ident()
    assert loop.run(running(), None) is first


def test_after_a_close_there_is_another_loop() -> None:
    """`close` ends what is left on the loop, and what comes later gets a new one."""
    private = PrivateLoop()
    left: list[asyncio.Task[int]] = []

    async def leave() -> asyncio.AbstractEventLoop:
        left.append(asyncio.ensure_future(asyncio.sleep(3600, 1)))
        return asyncio.get_running_loop()

    first = private.run(leave(), None)
    private.close()
    assert first.is_closed()
    assert left[0].cancelled()
    assert private.run(here(), None) == threading.get_ident()
    private.close()
    private.close()


def _raise() -> None:
    raise OSError("no such host")


@pytest.mark.parametrize(("work", "says"), [(threading.get_ident, None), (_raise, "no such host")])
def test_the_executor_works_in_the_calling_thread(loop: PrivateLoop, work: Callable[[], Any], says: str | None) -> None:
    """What an event loop gives to a thread is done where there is none, and what it raises reaches the awaiter."""

    async def delegate() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work)

    waiting: Awaitable[Any] = delegate()
    if says is None:
        assert loop.run(waiting, None) == threading.get_ident()
        assert InlineExecutor().submit(work).result(0) == threading.get_ident()
    else:
        with pytest.raises(OSError, match=says):
            loop.run(waiting, None)
