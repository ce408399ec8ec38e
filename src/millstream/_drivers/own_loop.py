"""An event loop for when there is none any more: at the end of the process, and off the loop's thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..types import HTTPClient, Request

__all__ = ["Here", "OwnLoop", "Synchronous"]

T = TypeVar("T")


class OwnLoop:
    """Runs what is `async` to its end, in the calling thread. The loop is made when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Awaitable[T], timeout: float | None) -> T:
        """Wait for an awaitable.

        Raises:
            TimeoutError: it took longer than `timeout` seconds, and was cancelled.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(Here())
        try:
            return self._loop.run_until_complete(asyncio.wait_for(_coroutine(awaitable), timeout))
        except asyncio.TimeoutError:  # which is another one before Python 3.11
            raise TimeoutError(f"no end after {timeout:g} s") from None

    def close(self) -> None:
        """Let go of the loop. Not asyncio.run: it ends by starting a thread, which at exit cannot be had."""
        loop, self._loop = self._loop, None
        if loop is not None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


class Synchronous:
    """An HTTP client that may be `async`, as one that is not."""

    def __init__(self, client: HTTPClient, loop: OwnLoop) -> None:
        self._client = client
        self._loop = loop

    def send(self, request: Request) -> Any:
        return self._wait(self._client.send(request), request.timeout + 1.0)

    def close(self) -> None:
        self._wait(self._client.close(), 1.0)

    def _wait(self, answer: Any, timeout: float) -> Any:
        return self._loop.run(answer, timeout) if inspect.isawaitable(answer) else answer


class Here(ThreadPoolExecutor):
    """Does at once what an event loop gives to threads (looking up a host's name): executors refuse work at exit."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 - it is for whoever waits for the future
            future.set_exception(exc)
        return future


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
