"""Group commit: requests that arrive during a write share the next write and fsync."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from .._core.record import Position
from .base import Done

_log = logging.getLogger("millstream")


class _Waiting(NamedTuple):
    """Lines that wait for a commit, and their callback."""

    data: bytes
    done: Done


class Committer:
    """Commits lines from the event loop in a thread: all that wait in one write, one write at a time.

    When a write fails, the lines that wait for the next one fail too: they may lack an event that was taken for a
    duplicate of one that is lost now. Made for one event loop; one thread does all disk access.

    Args:
        write: called in the thread: makes bytes durable and returns their position, or raises OSError and has kept
            none of them.
        position: where the next bytes will be.
        most: bytes in a turn, roughly.
    """

    def __init__(self, write: Callable[[bytes], Position], position: Position, *, most: int = 8 << 20) -> None:
        self._write = write
        self._position = position
        self._most = most
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millstream-commit")

    def commit(self, data: bytes, done: Done) -> None:
        """Make bytes durable.

        The callback runs in the turn of the event loop that learns of the write's end, so that after a failure
        every waiting request is handled before a new one is taken.

        Args:
            data: whole lines, or nothing, to wait for what came before.
            done: called on the event loop with their position when these bytes, and all that came before, are durable;
                or with the error because of which none of them is kept. At once if there is nothing to wait for.
        """
        if not data and not self._busy:
            done(self._position)
            return
        self._waiting.append(_Waiting(data, done))
        if not self._busy:
            self._begin(asyncio.get_running_loop())

    def soon(self, job: Callable[[], object]) -> None:
        """Run another job in the disk thread, after the current one."""
        self._thread.submit(job)

    def close(self) -> None:
        """Wait until nothing is in progress. Commit nothing afterwards."""
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

    def _end(self, loop: asyncio.AbstractEventLoop, group: list[_Waiting], turn: asyncio.Future[Position]) -> None:
        self._busy = False
        position = -1
        error = turn.exception()
        if error is not None:
            group += self._waiting
            self._waiting.clear()
        else:
            position = turn.result()
            self._position = position + sum([len(each.data) for each in group])
            if self._waiting:
                self._begin(loop)
        for each in group:
            try:
                if error is not None:
                    each.done(error)
                else:
                    each.done(position)
                    position += len(each.data)
            except Exception:  # noqa: BLE001 (whatever it is, the others hear of theirs)
                _log.exception(
                    "a request could not be answered after its events were %s", "lost" if error else "stored"
                )
