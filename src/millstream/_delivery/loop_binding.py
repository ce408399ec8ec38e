"""Binds a client to an event loop: one at a time, found on first use, and released when it closes."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop  # the one query that raises nothing; documented for event loops
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from .transport import Command

__all__ = ["Done", "LoopBinding"]

Done = Callable[[Any, "BaseException | None"], object]
"""Called with the result of an awaitable, or its exception."""

AFTER_A_CANCEL = 1.0
"""Seconds until cancelled work is restarted. At its end asyncio.run cancels all tasks, and work restarted at once would
be cancelled again; a second later the loop is closed, or it was not the end."""
GRACE = 1.0
"""Seconds for cancelled tasks to end."""


class LoopBinding:
    """The event loop of a driver, and the tasks started on it.

    Args:
        requeue: receives the unfinished work of a loop that ended, as commands that restart it.
        ended: called on a loop's thread, when it is about to close.
    """

    def __init__(self, requeue: Callable[[Command], object], ended: Callable[[], object]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._requeue = requeue
        self._ended = ended
        self._left: asyncio.AbstractEventLoop | None = None  # a loop that has closed, or is about to
        self._tail: AsyncGenerator[None, None] | None = None
        self._tasks: dict[asyncio.Task[Any], Command | None] = {}
        self._postponed: list[Command] = []
        self._binding = threading.RLock()

    # -- which loop -----------------------------------------------------------------------------------

    def get(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop; the running one, if there was none or it is closed."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            return loop
        running = _get_running_loop()
        return None if running is None or running is self._left else self.bind(running)

    def here(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop, if it runs in this thread."""
        loop = self.loop
        return loop if loop is not None and _get_running_loop() is loop else None

    def runs(self) -> bool:
        """Whether there is a running loop."""
        return self.loop is not None and self.loop.is_running()

    def avoid(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Never bind to this loop, as if it had closed."""
        self._left = running

    @property
    def at_work(self) -> bool:
        """Whether there are tasks for which an event's delivery waits."""
        return any(requeue is not None for requeue in list(self._tasks.values()))

    def bind(self, running: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """Bind to this loop. Called on its own thread."""
        with self._binding:
            if self.loop is not None and not self.loop.is_closed():
                return self.loop
            self.release()
            self.loop, self._left = running, None
            self._tail = self._until_it_ends(running)
            try:
                self._tail.__anext__().send(None)
            except StopIteration:  # it has yielded: the loop knows the generator
                pass
        return running

    def release(self) -> None:
        """Release the loop. Unfinished work of its tasks is requeued."""
        self.loop = self._tail = None
        tasks, self._tasks = self._tasks, {}
        postponed, self._postponed = self._postponed, []
        for requeue in [*postponed, *tasks.values()]:
            if requeue is not None:
                self._requeue(requeue)

    async def end(self) -> None:
        """Release the loop, because the driver is done."""
        if self._tail is not None:
            await self._tail.aclose()

    async def _until_it_ends(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        """Release the loop when it closes: a loop that ends in good order closes its asynchronous generators."""
        try:
            yield
        finally:
            if self.loop is loop:
                tasks = list(self._tasks)
                self._left = loop
                self.release()
                self._ended()
                await _cancel(tasks)

    # -- tasks on it ----------------------------------------------------------------------------------

    def spawn(
        self, awaitable: Awaitable[Any], done: Done, requeue: Command | None = None, timeout: float | None = None
    ) -> None:
        """Await in a task, on the loop of this thread.

        Args:
            awaitable: the awaitable.
            done: called once, in a callback of the loop, unless the task is cancelled and there is a `requeue`.
            requeue: restarts the work, if the loop closes first. Without it, the task is awaited by `aclose`.
            timeout: seconds; then `done` gets a TimeoutError, and the task is cancelled and forgotten.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(_as_coroutine(awaitable))
        self._tasks[task] = requeue
        timer = None if timeout is None else loop.call_later(timeout, self._expire, task, done, timeout)

        def finish(task: asyncio.Task[Any]) -> None:
            if timer is not None:
                timer.cancel()
            self._finish(task, done)

        task.add_done_callback(finish)

    def is_ours(self) -> bool:
        """Whether the calling code runs in one of these tasks."""
        return asyncio.current_task() in self._tasks

    async def aclose(self, timeout: float) -> None:
        """Wait for tasks without `requeue`, and release the loop. Called on the loop."""
        loose = [
            task for task, requeue in self._tasks.items() if requeue is None and task is not asyncio.current_task()
        ]
        if loose:
            await asyncio.wait(loose, timeout=timeout)
        await self.end()

    def _finish(self, task: asyncio.Task[Any], done: Done) -> None:
        exc = None if task.cancelled() else task.exception()  # retrieved, or asyncio logs it
        if task not in self._tasks:  # timed out, or requeued
            return
        requeue = self._tasks.pop(task)
        if not task.cancelled():
            done(None if exc else task.result(), exc)
        elif requeue is None:
            done(None, asyncio.CancelledError())
        else:
            self._postponed.append(requeue)
            asyncio.get_running_loop().call_later(AFTER_A_CANCEL, self._catch_up)

    def _catch_up(self) -> None:
        postponed, self._postponed = self._postponed, []
        for requeue in postponed:
            self._requeue(requeue)

    def _expire(self, task: asyncio.Task[Any], done: Done, timeout: float) -> None:
        if task in self._tasks:
            del self._tasks[task]
            task.cancel()  # not awaited: it may ignore this
            done(None, TimeoutError(f"no end after {timeout:g} s"))


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    others = [task for task in tasks if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=GRACE)


def _as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    return awaitable if asyncio.iscoroutine(awaitable) else _wait_for(awaitable)


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
