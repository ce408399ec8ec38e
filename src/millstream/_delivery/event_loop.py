"""The event loop runtime: the worker's turns are callbacks of the application's own event loop. No thread.

    call ──▶ mailbox ──▶ a turn, if none is scheduled ──▶ a task per request, and per hook that awaits
                           ▲                                     │
                           └───────────── results ───────────────┘

The loop is bound when it is first needed: a client may be made, and even used, before there is one. Unfinished work of
a loop that ended goes back into the mailbox, for the next loop; or, without a loop, as at the end of the process, for
the inline runtime.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any

from .._core.pipeline import Answer
from .._core.receipt import Receipt
from ..emitter import Emitter
from .inline import InlineRuntime, nothing
from .loop_binding import Done, LoopBinding
from .private_loop import InlineExecutor, PrivateLoop
from .process.exit_thread import ExitThread
from .thread import LINGER
from .transport import Command
from .worker import Worker, earliest

__all__ = ["LoopRuntime"]

LOOK = 0.1
"""Seconds between two checks of a waiting thread whether the loop still runs."""


class LoopRuntime:
    """Runs turns on the event loop on which the client is used.

    Args:
        emitter: reports exceptions of awaited callbacks.
        hook_timeout: seconds for an awaited hook.
    """

    linger = LINGER
    slice = 0.002
    yields = True
    worker: Worker

    def __init__(self, emitter: Emitter, hook_timeout: float) -> None:
        self.binding = LoopBinding(self.post, self._on_loop_end)
        self.private_loop = PrivateLoop()
        self.exit_thread = ExitThread()
        self._inline = InlineRuntime()
        self._emitter = emitter
        self._hook_timeout = hook_timeout
        self._wake_at = 0  # number of events in the mailbox that is worth a turn
        self._scheduled: asyncio.AbstractEventLoop | None = None  # the loop with a scheduled turn
        self._timer: asyncio.TimerHandle | None = None
        self._timed: asyncio.AbstractEventLoop | None = None  # where few events wait for a timer

    def bind(self, worker: Worker) -> None:
        """Run the turns of this worker."""
        self.worker = worker
        self._inline.bind(worker)

    # -- the callers' side ------------------------------------------------------------------------------

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event. Without a loop it waits in the mailbox."""
        mailbox = self.worker.mailbox
        mailbox.put(receipt)
        if mailbox.qsize() >= self._wake_at or _get_running_loop() is not self._timed:
            self.notify()

    def post(self, command: Command) -> None:
        """Post a command to the worker."""
        self.worker.mailbox.put(command)
        self.notify()

    def wake(self) -> None:
        """Wake the worker."""
        self.post(nothing)

    def notify(self) -> None:
        """Schedule a turn that reads the mailbox."""
        loop = self.binding.get()
        if loop is None:
            self.exit_thread.prepare()
            return
        if self._scheduled is loop:
            return
        self._scheduled = loop
        # In an empty context, as for the tasks that a turn starts: see start_thread.
        try:
            if _get_running_loop() is loop:
                loop.call_soon(self._on_turn, loop, context=Context())
            else:
                loop.call_soon_threadsafe(self._on_turn, loop, context=Context())
        except RuntimeError:  # closed just now: the mail waits for the next loop
            self._scheduled = None
        except BaseException:  # a signal handler's, before or after the turn was scheduled
            self._scheduled = None
            raise

    def runs(self) -> bool:
        """Whether turns run by themselves: while a loop runs."""
        return self.binding.runs()

    def wait_for(self, event: threading.Event, deadline: float | None) -> None:
        """Wait while the loop works; without one, run turns here."""
        while self.binding.runs() and not event.is_set():
            pause = earliest(LOOK, None if deadline is None else deadline - self.worker.clock()) or 0.0
            if pause <= 0.0:
                return
            event.wait(pause)
        if not event.is_set():
            self.binding.release()
            self._inline.wait_for(event, deadline)

    def use_blocking_executor(self) -> None:
        """At the end of the process: run the loop's executor jobs inline, because threads refuse work by then."""
        loop = self.binding.loop
        if loop is not None:
            loop.call_soon_threadsafe(loop.set_default_executor, InlineExecutor())

    def close(self) -> None:
        """Release resources used at the end of the process."""
        self.private_loop.close()
        self.exit_thread.dismiss()

    # -- turns ------------------------------------------------------------------------------------------

    def _on_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._scheduled is loop:
            self._scheduled = None  # first: a caller that posts from here on must schedule a turn
        if self.loop_here() is not loop:
            return
        clock = self.worker.clock
        until: float | None = clock() + 0.05
        if self._inline.turning.acquire(blocking=False):  # else a thread that waited while no loop ran still runs turns
            try:
                with self._inline.turn_here():
                    until = self.worker.guarded_turn()
            finally:
                self._inline.turning.release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if until is not None and self.binding.loop is loop:
            self._timer = loop.call_later(max(0.0, until - clock()), self._on_time, loop)
        self._timed, self._wake_at = loop, self.worker.enough()
        if not self.worker.mailbox.empty():  # from another thread, which saw the previous number
            self.notify()

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run a turn, but first the callbacks due at the same time.

        A loop wakes all tasks due in the same millisecond together, and those after a turn and its request are late.
        After one pass of the loop the callbacks of futures have run, after two the tasks that wait for them.
        """
        loop.call_soon(loop.call_soon, self._on_turn, loop)

    def _on_loop_end(self) -> None:
        if self.worker.ledger.totals().pending:
            self.exit_thread.prepare()

    # -- the worker's side ------------------------------------------------------------------------------

    def in_turn(self) -> bool:
        """Whether the calling thread runs a turn: it must not wait for a turn's result."""
        return self._inline.in_turn()

    def turn_here(self) -> AbstractContextManager[None]:
        """Return a context in which this thread counts as running a turn."""
        return self._inline.turn_here()

    def loop_here(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop, if it runs in this thread."""
        return self.binding.here()

    def run(self, job: Callable[[], Command], deadline: float) -> bool:
        """Run a job here, without a loop, and do what it returns."""
        return self._inline.run(job, deadline)

    def abandoned_senders(self) -> int:
        """Return 0: requests hold no threads here."""
        return 0

    def sync(self, sync: Callable[[], object]) -> None:
        """Run an fsync of the spool on a thread of the loop."""
        loop = self.loop_here()
        if loop is None:
            sync()
        else:
            loop.run_in_executor(None, sync)

    def spawn(self, awaitable: Awaitable[Any], done: Done, requeue: Command | None, timeout: float | None) -> None:
        """Await in a task of the loop; see LoopBinding.spawn."""
        self.binding.spawn(awaitable, done, requeue, timeout)

    def wait_for_hook(
        self, awaitable: Awaitable[Any], done: Callable[[Answer], object], again: Callable[[], object]
    ) -> None:
        """Await a hook of a plugin; `again` calls it once more, if the loop ends first."""
        if self.loop_here() is not None:
            self.spawn(awaitable, lambda value, exc: self.post(lambda: done((value, exc))), again, self._hook_timeout)
        else:
            self._wait_here(awaitable, lambda value, exc: done((value, exc)), self._hook_timeout)

    def wait_for_callback(self, awaitable: Awaitable[object]) -> None:
        """Await what a callback returned; may be called on any thread."""
        self.post(lambda: self.wait_for_awaitable(awaitable, "callback"))

    def wait_for_awaitable(self, awaitable: Awaitable[Any], code: str) -> None:
        """Await, and report exceptions under `code`."""

        def done(_: object, exc: BaseException | None) -> None:
            if exc is not None:
                self._emitter.fault(code, exc)

        if self.loop_here() is not None:
            self.spawn(awaitable, done, None, None)
        else:
            self._wait_here(awaitable, done, None)

    def _wait_here(self, awaitable: Awaitable[Any], done: Done, timeout: float | None) -> None:
        """Wait without a loop, which only happens at the end: until the close's deadline at most."""
        deadline = self.worker.deadline
        left = max(0.0, deadline - self.worker.clock()) if deadline else None
        try:
            value = self.private_loop.run(awaitable, earliest(timeout, left))
        except Exception as exc:  # noqa: BLE001 - it is the user's code
            done(None, exc)
        else:
            done(value, None)
