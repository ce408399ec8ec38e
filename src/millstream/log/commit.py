"""Group commit: who comes while the disk is at work shares its next turn."""

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
    """Somebody's lines on their way to the disk."""

    data: bytes
    done: Done


class Committer:
    """Takes lines from the event loop to the disk, all that wait in one turn, and one turn at a time.

    When a turn fails, those that wait for the next one fail with it: an event among them may have been taken for a
    duplicate of one that is lost now. One event loop uses it, and so does one thread, for all that touches the disk.

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
        """Make these bytes durable.

        Without a future: who waits is called, in the same turn of the event loop in which the disk's is over. So of
        those whose lines were lost each can act on it before anything new comes.

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
