"""The gate for event calls at the end of the process: events that got past it are among those delivered last.

    flush, callers go on ──▶ the gate closes ──▶ calls that were inside return ──▶ one more flush ──▶ the end
                                  └── later calls wait in their first line, or are not accepted

An open gate costs a call nothing: closing it marks the clients as closed, which every call checks anyway, and calls
inside are found by the frames on the stacks of their threads.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, cast

from ..._clock import monotonic
from .greenlets import in_hub

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["EndingGate"]

WAIT_PAUSE = 0.005
"""Seconds between two checks of a waiting call. It polls, because signal handlers may run in the same thread."""
LOOK_PAUSE = 0.001
"""Seconds between two checks for calls inside."""
GRACE = 1.0
"""Seconds after its deadline at which a stopped event loop goes on in any case."""

PACKAGE = __name__.partition(".")[0]
OURS = tuple(f"{PACKAGE}.{name}" for name in ("_delivery", "aio", "client", "emitter", "plugins"))
"""Modules that run the application's code: callbacks, listeners, hooks of plugins, HTTP clients."""


class EndingGate:
    """Blocks event calls while the last events of the process are delivered."""

    def __init__(self) -> None:
        self.closed = False
        self._calls: frozenset[CodeType] = frozenset()
        self._stopped: dict[AbstractEventLoop, threading.Event] = {}

    def guard(self, *calls: Callable[..., Any]) -> None:
        """Register the event calls. A thread is inside while one of them is on its stack."""
        self._calls = frozenset(call.__code__ for call in calls)

    def close(self) -> None:
        """Block event calls from now on."""
        self.closed = True

    def open(self) -> None:
        """Release all blocked calls and loops."""
        self.closed = False
        stopped, self._stopped = self._stopped, {}
        for release in stopped.values():
            release.set()

    # -- the caller's side --------------------------------------------------------------------------------

    def admit(self, until: float) -> bool:
        """Wait until the gate opens, up to the time `until`. False: the event must not be accepted.

        A call never waits where delivery may need its thread, or a lock that it has interrupted.
        """
        if self.closed and self._may_wait():
            self._wait(until)
        return not self.closed

    def _wait(self, until: float) -> None:
        while self.closed and (left := until - monotonic()) > 0:
            time.sleep(min(left, WAIT_PAUSE))

    def _may_wait(self) -> bool:
        if _runs_event_loop() or in_hub():
            return False
        frames = _stack(sys._getframe())
        for frame in frames:
            if frame.f_code in self._calls:
                break
        handlers = _signal_handlers()
        return not any(self._is_nested(frame, handlers) for frame in frames)

    def _is_nested(self, frame: FrameType, handlers: set[CodeType]) -> bool:
        """Whether a call above this frame runs on our behalf, or has interrupted its thread."""
        code = frame.f_code
        if code in self._calls or code in handlers or code.co_name == "__del__":
            return True
        return str(frame.f_globals.get("__name__", "")).startswith(OURS)

    # -- the side of the thread that ends the process ---------------------------------------------------------

    def wait_until_empty(self, until: float) -> bool:
        """Wait for the calls that were inside when the gate closed, up to the time `until`."""
        while self._is_occupied():
            if monotonic() >= until:
                return False
            time.sleep(LOOK_PAUSE)
        return True

    def _is_occupied(self) -> bool:
        # Greenlets that are not running have no stack here. Inside a call they are switched only while it waits for
        # room: what they record then is counted before the end.
        outside = {EndingGate._wait.__code__, EndingGate._is_occupied.__code__}
        for frame in sys._current_frames().values():
            codes = {each.f_code for each in _stack(frame)}
            if codes & self._calls and not codes & outside:
                return True
        return False

    def stop(self, loop: AbstractEventLoop, until: float) -> bool:
        """Block an event loop in a callback until the gate opens. False: the loop did not run it before `until`."""
        if loop in self._stopped:
            return True
        reached, release = threading.Event(), threading.Event()

        def block() -> None:
            reached.set()
            release.wait(max(0.0, until + GRACE - monotonic()))

        try:
            loop.call_soon_threadsafe(block)
        except RuntimeError:  # closed just now: it blocks nothing any more
            return True
        self._stopped[loop] = release
        return reached.wait(max(0.0, until - monotonic()))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _runs_event_loop() -> bool:
    events: Any = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def _signal_handlers() -> set[CodeType]:
    """The code of the signal handlers, which may have interrupted any code."""
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    return {code for code in codes if code is not None}


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    kind = cast("type[object]", type(handler))
    own = getattr(handler, "__code__", None)  # of a bound method, too
    return own or getattr(getattr(kind, "__call__", None), "__code__", None)  # noqa: B004 - not asked whether it has one
