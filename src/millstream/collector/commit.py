"""Group commit: requests that arrive during a write share the next write and fsync."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeAlias

Done: TypeAlias = Callable[[BaseException | None], object]
"""Called with None when the lines are durable, else with the error."""

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
        write: called in the thread: makes bytes durable, or raises OSError and has stored none of them.
        most: bytes per write, roughly.
    """

    def __init__(self, write: Callable[[bytes], object], *, most: int = 8 << 20) -> None:
        self._write = write
        self._most = most
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millstream-commit")

    def commit(self, data: bytes, done: Done) -> None:
        """Make bytes durable.

        The callback runs in the turn of the event loop that learns of the write's end, so that after a failure
        every waiting request is handled before a new one is taken.

        Args:
            data: whole lines; empty only waits for earlier ones.
            done: called on the event loop when these bytes and all earlier ones are durable, or with the error if
                none of these is stored. Called at once if nothing is pending.
        """
        if not data and not self._busy:
            done(None)
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

    def _end(self, loop: asyncio.AbstractEventLoop, group: list[_Waiting], turn: asyncio.Future[object]) -> None:
        self._busy = False
        error = turn.exception()
        if error is not None:
            group += self._waiting
            self._waiting.clear()
        elif self._waiting:
            self._begin(loop)
        for each in group:
            try:
                each.done(error)
            except Exception:  # noqa: BLE001 (whatever it is, the others hear of theirs)
                _log.exception(
                    "a request could not be answered after its events were %s", "lost" if error else "stored"
                )
