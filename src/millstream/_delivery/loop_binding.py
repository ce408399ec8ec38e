"""What binds a client to an event loop: one at a time, found late, and lost when it is closed."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop  # the one way to ask that costs no exception; documented for event loops
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from .transport import Command

__all__ = ["Done", "LoopBinding"]

Done = Callable[[Any, "BaseException | None"], object]
"""Told what an awaitable returned, or what it raised."""

AFTER_A_CANCEL = 1.0
"""Seconds until work that somebody cancelled is begun anew. At the end of asyncio.run every task is cancelled, and what
would be begun at once would be cut off again: a second later there is no loop any more, or it was not the end."""
GRACE = 1.0
"""Seconds for cancelled tasks to end."""


class LoopBinding:
    """The event loop of a driver, and the tasks that were started on it.

    Args:
        requeue: is given what an event loop that ended has left requeue: commands that begin it anew.
        ended: called on a loop's thread, when it is about to end.
    """

    def __init__(self, requeue: Callable[[Command], object], ended: Callable[[], object]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._requeue = requeue
        self._ended = ended
        self._left: asyncio.AbstractEventLoop | None = None  # it has ended, or is about to
        self._tail: AsyncGenerator[None, None] | None = None
        self._tasks: dict[asyncio.Task[Any], Command | None] = {}
        self._postponed: list[Command] = []
        self._binding = threading.RLock()

    # -- which loop -----------------------------------------------------------------------------------

    def get(self) -> asyncio.AbstractEventLoop | None:
        """The loop; the one that runs in this thread, if there was none or it is closed."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            return loop
        running = _get_running_loop()
        return None if running is None or running is self._left else self.bind(running)

    def here(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if we are on its thread and it runs."""
        loop = self.loop
        return loop if loop is not None and _get_running_loop() is loop else None

    def runs(self) -> bool:
        """Whether there is a loop that will do what it is told."""
        return self.loop is not None and self.loop.is_running()

    def avoid(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Do not bind to this loop, as if it had ended."""
        self._left = running

    @property
    def at_work(self) -> bool:
        """Whether there are tasks that an event's delivery waits for."""
        return any(requeue is not None for requeue in list(self._tasks.values()))

    def bind(self, running: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """From now on this is the loop. Called on its own thread."""
        with self._binding:
            if self.loop is not None and not self.loop.is_closed():
                return self.loop
            self.release()
            self.loop, self._left = running, None
            self._tail = self._until_it_ends(running)
            try:
                self._tail.__anext__().send(None)
            except StopIteration:  # it has yielded: the loop knows of it now
                pass
        return running

    def release(self) -> None:
        """There is no loop any more. What its tasks had in hand goes back."""
        self.loop = self._tail = None
        tasks, self._tasks = self._tasks, {}
        postponed, self._postponed = self._postponed, []
        for requeue in [*postponed, *tasks.values()]:
            if requeue is not None:
                self._requeue(requeue)

    async def end(self) -> None:
        """The driver is done with its loop."""
        if self._tail is not None:
            await self._tail.aclose()

    async def _until_it_ends(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        """Every loop that ends in good order closes its asynchronous generators: that is how we learn of it."""
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
        """Wait for an awaitable, in a task on the loop whose thread this is.

        Args:
            awaitable: what to wait for.
            done: called once, in a callback of the loop, unless the task is cancelled and there is an `requeue`.
            requeue: begins it anew, should the loop end before it does. Without it, it is a loose end (see `aclose`).
            timeout: seconds; then `done` is told of a TimeoutError, and the task is cancelled and forgotten.
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
        """Whether who asks is one of these tasks."""
        return asyncio.current_task() in self._tasks

    async def aclose(self, timeout: float) -> None:
        """Wait for the loose ends, and let the loop go. Called on the loop."""
        loose = [
            task for task, requeue in self._tasks.items() if requeue is None and task is not asyncio.current_task()
        ]
        if loose:
            await asyncio.wait(loose, timeout=timeout)
        await self.end()

    def _finish(self, task: asyncio.Task[Any], done: Done) -> None:
        exc = None if task.cancelled() else task.exception()  # asked for, or asyncio says that nobody did
        if task not in self._tasks:  # timed out, or given back
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
            task.cancel()  # and not waited for: it may not care
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
