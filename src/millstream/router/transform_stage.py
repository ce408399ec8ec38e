"""A stage of a route: its transformation, on a thread of its own, so that a slow function delays no other route."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from .._delivery.transport import Command
from ..errors import SettingsError
from .frames import Outcome
from .prepare import Routed
from .transform import Transformation

__all__ = ["TransformStage"]

_log = logging.getLogger("millstream")

MESSAGE = 500
"""Events that are handed to the function's process at once."""
PAUSE = 1.0
"""Seconds until a process that could not be started is started again."""

Done = Callable[[Sequence[Routed], Sequence[Outcome]], object]


class TransformStage:
    """Runs events through a transformation, in order, and posts what became of them.

    Args:
        transformation: it becomes the stage's.
        post: has the router's thread do something.
    """

    def __init__(self, transformation: Transformation, post: Callable[[Command], object]) -> None:
        self._transformation = transformation
        self._post = post
        self._jobs: SimpleQueue[tuple[Sequence[Routed], Done] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="millstream-transformation", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Routed], done: Done) -> None:
        """Transform events, and have the router's thread call `done` with some of them and an outcome for each."""
        for start in range(0, len(events), MESSAGE):
            self._jobs.put((events[start : start + MESSAGE], done))

    def close(self) -> None:
        """End the process. What is not done is not reported."""
        self._closing.set()
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closing.is_set():
            events, done = job
            outcomes = self._transformed([each.record.data for each in events])
            if outcomes is not None:
                self._post(partial(done, events, outcomes))
        self._transformation.close()

    def _transformed(self, events: Sequence[bytes]) -> list[Outcome] | None:
        """Return the outcomes; None if the stage was closed before there were any."""
        while not self._closing.is_set():
            try:
                return self._transformation.run(events)
            except SettingsError as error:
                _log.error("%s; it is tried again", error)
                self._closing.wait(PAUSE)
        return None
