"""The driver of AsyncAnalytics: the operations that its callers await."""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from .._core.receipt import Receipt
from .._core.ticket import Ticket
from ..emitter import Emitter
from ..errors import MillstreamError
from ..types import FlushResult
from .async_runner import AsyncRunner
from .callbacks import Callbacks
from .driver import CLOSE_GRACE, TAKE_OVER_GRACE, Driver
from .event_loop import LoopRuntime
from .process.exit_thread import ExitJob
from .worker import Worker

if TYPE_CHECKING:
    from .process.ending import EndingGate

__all__ = ["AsyncDriver"]

LOOK_PAUSE = 0.001
"""Seconds between two checks whether the last request on a loop has ended."""


class AsyncDriver(Driver):
    """Passes a client's calls to its worker, on an event loop.

    Args:
        worker: delivers.
        runtime: runs the worker's turns.
        runner: runs events through the plugins.
        emitter: reports what callbacks raise.
        hook_timeout: seconds for an awaited hook.
        disabled: every event succeeds in the call itself, and nothing is queued or sent.
    """

    def __init__(
        self,
        worker: Worker,
        runtime: LoopRuntime,
        runner: AsyncRunner,
        emitter: Emitter,
        *,
        hook_timeout: float,
        disabled: bool = False,
    ) -> None:
        super().__init__(worker, runtime, emitter, disabled=disabled)
        self._callbacks = Callbacks(worker.ledger, emitter, runtime.wait_for_callback)
        self._loop_runtime = runtime
        self._runner = runner
        self._hook_timeout = hook_timeout
        self._begun: ExitJob[FlushResult] | None = None  # the flush or close in progress

    async def aflush(self, timeout: float) -> FlushResult:
        """Send everything submitted before now, and wait for its outcome, `timeout` seconds at most."""
        return await self._ticketed("flush", timeout, self.worker.on_flush)

    async def aclose(self, timeout: float) -> FlushResult:
        """Like `aflush`, and then stop. Events without an outcome at the deadline are abandoned, and returned."""
        worker, binding = self.worker, self._loop_runtime.binding
        deadline = worker.clock() + timeout
        result = await self._ticketed(
            "close_and_flush", timeout, lambda ticket: worker.on_close(ticket, deadline), grace=CLOSE_GRACE
        )
        loop, closing = binding.loop, binding.aclose(max(0.0, deadline - worker.clock()))
        if loop is None or binding.here():
            await closing
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(closing, loop))
        return result

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]:
        """Wait for one event's outcome, for `await receipt`."""
        self._need_loop("await receipt")
        yield from super().awaited(receipt)

    def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait for one event's outcome, on a thread without an event loop."""
        if _get_running_loop() is not None:
            raise MillstreamError("Receipt.wait would block the event loop: await it instead (`await receipt`)")
        super().wait(receipt, timeout)

    def begin_flush(self, timeout: float) -> None:
        """Start a `flush` at the end of the process, also without a loop."""
        super().begin_flush(timeout)
        self._begin(super().flush, timeout)

    def begin_close(self, timeout: float) -> None:
        """Start the work that `close` will wait for, also without a loop."""
        self._begin(self._close_here, timeout)

    def _begin(self, what: Callable[[float], FlushResult], timeout: float) -> None:
        runtime = self._loop_runtime
        if not runtime.runs():
            self._begun = runtime.exit_thread.do(lambda: what(timeout))
        elif (
            not threading.main_thread().is_alive()
        ):  # executors refuse work after the end of the main thread, and look-ups need them
            runtime.use_blocking_executor()

    def close(self, timeout: float) -> FlushResult:
        """Deliver remaining events at the end of the process, without an event loop if necessary."""
        close = self._close_here
        return close(timeout) if self._loop_runtime.runs() else self._without_loop(close, timeout)

    def flush(self, timeout: float) -> FlushResult:
        """Like `close`, without stopping: in a thread, for a process that received SIGTERM."""
        flush = super().flush
        return flush(timeout) if self._loop_runtime.runs() else self._without_loop(flush, timeout)

    def detach(self, gate: EndingGate, until: float) -> Iterator[None]:
        """Leave the event loop, in steps that all clients take together.

        First no more requests are started; then those in flight end; then the loop is stopped, and delivery continues
        on a private loop.
        """
        runtime, clock = self._loop_runtime, self.worker.clock
        binding = runtime.binding
        loop = binding.loop
        if loop is None or not binding.runs():
            return
        held = threading.Event()
        plugins = self.worker.plugins
        runtime.post(plugins.hold)
        runtime.post(held.set)
        yield
        held.wait(max(0.0, until - clock()))
        while binding.at_work and clock() < until:
            time.sleep(LOOK_PAUSE)
        yield
        if gate.stop(loop, until):
            binding.release()
        runtime.post(plugins.release)

    def avoid_loop(self) -> None:
        """Deliver without the event loop of this thread: the call must return with the outcome."""
        self._loop_runtime.binding.avoid(_get_running_loop())

    def _without_loop(self, what: Callable[[float], FlushResult], timeout: float) -> FlushResult:
        """Run this on a thread that may hang; without threads, on this one."""
        begun, self._begun = self._begun, None
        job = begun or self._loop_runtime.exit_thread.do(lambda: what(timeout))
        if job is None:
            return what(timeout)
        return job.result(timeout + CLOSE_GRACE + TAKE_OVER_GRACE) or self._undecided()

    def _close_here(self, timeout: float) -> FlushResult:
        try:
            return super().close(timeout)
        finally:
            self._loop_runtime.close()

    def unplug(self, name: str) -> None:
        """Stop running the plugin of this name for later events."""
        plugins = self.worker.plugins
        self._runtime.post(lambda: plugins.change(lambda: plugins.runner.registry.remove(name)))

    async def unplugged(self, name: str) -> None:
        """Wait until its hooks for earlier events have ended: not in a hook, and for `hook_timeout` at most."""
        runtime, plugins = self._loop_runtime, self.worker.plugins
        if runtime.in_turn() or runtime.binding.is_ours():
            return
        loop = asyncio.get_running_loop()
        quiet = loop.create_future()

        def passed() -> None:  # in a turn of its own: the last event's destinations are being called in this one
            runtime.post(lambda: self._runner.when_quiet(name, lambda: _resolve(loop, quiet)))

        runtime.post(lambda: plugins.change(lambda: plugins.when_passed(passed)))
        await asyncio.wait([quiet], timeout=self._hook_timeout)

    async def _ticketed(
        self, what: str, timeout: float, command: Callable[[Ticket], object], grace: float = 0.0
    ) -> FlushResult:
        self._need_loop(what)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ticket = Ticket(lambda: _resolve(loop, done))
        self._runtime.post(lambda: command(ticket))
        try:
            await asyncio.wait([done], timeout=timeout + grace)  # cancelling the caller must not cancel `done`
        finally:
            if not done.done():
                self._runtime.post(lambda: self._ledger.withdraw(ticket))
        return self._result(ticket)

    def _need_loop(self, what: str) -> None:
        """Check that a loop will run, for which a caller waits."""
        self._refuse_on_worker(what)
        binding = self._loop_runtime.binding
        if binding.is_ours():
            raise MillstreamError(
                f"{what} in a callback or hook would wait for itself: call it in a new task (asyncio.create_task)"
            )
        loop = binding.get() or binding.bind(asyncio.get_running_loop())
        if not loop.is_running():
            raise MillstreamError(
                f"{what}: the client belongs to another event loop, which neither runs nor is closed; "
                "close it (asyncio.run does), or make a client for each loop"
            )


def _resolve(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop is closed, and no task waits on it
        pass
