"""A private event loop: at the end of the process, when the application's has closed, and in other threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

__all__ = ["InlineExecutor", "PrivateLoop"]

T = TypeVar("T")


class PrivateLoop:
    """Runs awaitables in the calling thread. The loop is made on first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Awaitable[T], timeout: float | None) -> T:
        """Run an awaitable.

        Raises:
            TimeoutError: it took longer than `timeout` seconds, and was cancelled.
            Exception: any that the awaitable raises.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(InlineExecutor())
        try:
            value, raised = self._loop.run_until_complete(asyncio.wait_for(_answer(awaitable), timeout))
        except asyncio.TimeoutError:  # a different class before Python 3.11
            raise TimeoutError(f"no end after {timeout:g} s") from None
        if raised is not None:
            raise raised
        return cast("T", value)

    def close(self) -> None:
        """Close the loop. Not by asyncio.run, which starts a thread at its end: impossible at exit."""
        loop, self._loop = self._loop, None
        if loop is not None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


class InlineExecutor(ThreadPoolExecutor):
    """Runs executor jobs of an event loop (name look-ups) inline: thread pools refuse work at exit."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 - raised to the caller that waits for the future
            future.set_exception(exc)
        return future


async def _answer(awaitable: Awaitable[T]) -> tuple[T | None, Exception | None]:
    """Return a result or an exception, so that a TimeoutError of the awaitable differs from that of the wait."""
    try:
        return await awaitable, None
    except Exception as exc:  # noqa: BLE001 - raised to the caller that waits
        return None, exc
