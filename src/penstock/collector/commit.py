"""Group commit: who comes while the disk is at work shares its next turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple


class _Waiting(NamedTuple):
    """Somebody's lines on their way to the disk. `undo` is called if they do not get there."""

    data: bytes
    undo: Callable[[], object]
    done: asyncio.Future[None]


class Committer:
    """Takes lines from the event loop to the disk, all that wait in one turn, and one turn at a time.

    When a turn fails, those that wait for the next one fail with it: an event among them may have been taken for a
    duplicate of one that is lost now. One event loop uses it, and so does one thread, for all that touches the disk.

    Args:
        write: called in the thread: makes bytes durable, or raises OSError and has kept none of them.
        most: bytes in a turn, roughly.
    """

    def __init__(self, write: Callable[[bytes], object], *, most: int = 8 << 20) -> None:
        self._write = write
        self._most = most
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-commit")

    async def commit(self, data: bytes, undo: Callable[[], object]) -> None:
        """Return when these bytes, and all that came before, are durable.

        Args:
            data: whole lines, or nothing, to wait for what came before.
            undo: called at once if they could not be made durable, before anybody else can act on it.

        Raises:
            OSError: they are not, and none of them is kept.
        """
        if not data and not self._busy:
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append(_Waiting(data, undo, done))
        if not self._busy:
            self._begin(loop)
        await done

    def soon(self, job: Callable[[], object]) -> None:
        """Do something else with the disk, after what is under way."""
        self._thread.submit(job)

    def close(self) -> None:
        """Return when nothing is under way any more. Nothing may be committed afterwards."""
        self._thread.shutdown()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        group = [self._waiting.popleft()]
        size = len(group[0].data)
        while self._waiting and size < self._most:
            size += len(self._waiting[0].data)
            group.append(self._waiting.popleft())
        self._busy = True
        turn = loop.run_in_executor(self._thread, self._write, b"".join([each.data for each in group]))
        turn.add_done_callback(partial(self._end, loop, group))

    def _end(self, loop: asyncio.AbstractEventLoop, group: list[_Waiting], turn: asyncio.Future[object]) -> None:
        self._busy = False
        error = turn.exception()
        if error is not None:
            group += self._waiting
            self._waiting.clear()
            for each in group:
                each.undo()
        elif self._waiting:
            self._begin(loop)
        for each in group:
            if each.done.done():  # who waited has been cancelled
                continue
            if error is None:
                each.done.set_result(None)
            else:
                each.done.set_exception(error)
