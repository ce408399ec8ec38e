"""One client per driver, all with the same face, so that one suite can hold them to the same truths."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from millstream import Analytics, AsyncAnalytics, FlushResult, Receipt
from millstream._delivery.assemble import Parts, inline
from millstream._delivery.driver import Driver

PATIENCE = 30.0
"""Seconds that a test waits for what must come."""


class InlineAnalytics(Analytics):
    """Analytics where there can be no thread."""

    @staticmethod
    def _build(settings: Any, parts: Parts) -> Driver:
        return inline(parts)


class Driven:
    """A client as a test wants it: what waits takes a deadline, and hooks are written once."""

    drives_itself = True
    """Whether it delivers when nobody calls."""

    def __init__(self, **settings: Any) -> None:
        self.client: Any = self.make(**settings)

    def make(self, write_key: str = "key", **settings: Any) -> Any:
        return Analytics(write_key, **settings)

    def track(self, event: str = "A", **fields: Any) -> Receipt:
        return self.client.track(event, **{"user_id": "u", **fields})

    def wait(self, receipt: Receipt) -> Any:
        return receipt.wait(timeout=PATIENCE)

    def flush(self, timeout: float = PATIENCE) -> FlushResult:
        return self.client.flush(timeout=timeout)

    def close(self, timeout: float = PATIENCE) -> FlushResult:
        return self.client.close_and_flush(timeout=timeout)

    def register(self, *plugins: Any) -> None:
        self.client.register(*plugins)

    def deregister(self, *names: str) -> None:
        self.client.deregister(*names)

    def end(self) -> None:
        self.close(timeout=0.2)


class Inline(Driven):
    drives_itself = False

    def make(self, write_key: str = "key", **settings: Any) -> Any:
        return InlineAnalytics(write_key, **settings)

    def later(self, seconds: float) -> None:
        """Let the driver believe that so much time has passed."""
        worker = self.client._lifecycle.driver.worker
        clock = worker.clock
        worker.clock = lambda: clock() + seconds
        for channel in worker.channels:
            channel.clock = worker.clock


class OnALoop(Driven):
    """An AsyncAnalytics and the event loop that it is used on."""

    def __init__(self, **settings: Any) -> None:
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(settings)), daemon=True)
        self._thread.start()
        self._loop = self._started.result(PATIENCE)

    async def _main(self, settings: Any) -> None:
        self._over = asyncio.Event()
        try:
            self.client = AsyncAnalytics(settings.pop("write_key", "key"), **settings)
        except BaseException as exc:
            self._started.set_exception(exc)
            raise
        self._started.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE + 2)

    def track(self, event: str = "A", **fields: Any) -> Receipt:
        async def on_the_loop() -> Receipt:
            return self.client.track(event, **{"user_id": "u", **fields})

        return self.run(on_the_loop())

    def wait(self, receipt: Receipt) -> Any:
        async def wait() -> Any:
            return await receipt

        return self.run(asyncio.wait_for(wait(), PATIENCE))

    def flush(self, timeout: float = PATIENCE) -> FlushResult:
        return self.run(self.client.flush(timeout=timeout))

    def close(self, timeout: float = PATIENCE) -> FlushResult:
        return self.run(self.client.close_and_flush(timeout=timeout))

    def register(self, *plugins: Any) -> None:
        self.run(self.client.register(*plugins))

    def deregister(self, *names: str) -> None:
        self.run(self.client.deregister(*names))

    def end(self) -> None:
        super().end()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the event loop does not end"


DRIVEN = {"inline": Inline, "thread": Driven, "asyncio": OnALoop}
