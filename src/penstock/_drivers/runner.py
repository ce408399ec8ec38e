"""Runs the pipeline's dialogs in the worker's thread: calls hooks, hands over for delivery, reports."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from .._core.context import Context
from .._core.pipeline import Call, Deliver, Delivered, Dialog, Report, Step, Timeline, Together, process
from .._core.receipt import Outcome, Receipt
from ..emitter import Emitter, reportable
from ..errors import PluginError
from ..types import ErrorEvent
from .baton import Baton, Relieved

__all__ = ["Answer", "Runner", "Walk", "awaits", "label"]

TOGETHER = 64
"""Events that are settled together, at most: what a slow `after` hook holds up is the outcome of so many."""

Answer = tuple[Any, BaseException | None]
"""What came of a step: what it returned, or what it raised."""


class Walk(Struct, eq=False):
    """One event under way: its dialog, and the outcome of its delivery, whichever of the two is first."""

    receipt: Receipt
    dialog: Dialog
    outcome: Outcome | None = None
    waiting: bool = False
    handed_over: bool = False


class Runner:
    """Takes events through the plugins.

    Args:
        emitter: who is told of plugins that fail where their failure stops nothing.
        deliver: hands an event, with the bytes that the plugins made of it, to the engine.
        settle: gives events their outcome.
        baton: laid aside for the time of a hook, so that another thread may take over from this one.
    """

    def __init__(
        self,
        emitter: Emitter,
        deliver: Callable[[Receipt, bytes], object],
        settle: Callable[[list[Receipt], Outcome], object],
        baton: Baton,
    ) -> None:
        self.timeline = Timeline()
        self._emitter = emitter
        self._deliver = deliver
        self._settle = settle
        self._baton = baton
        self._walks: dict[Receipt, Walk] = {}  # whose dialog is not over
        self._due: deque[Walk] = deque()  # whose delivery has its outcome, which the dialog waits for
        self._ended: deque[tuple[Receipt, Outcome]] = deque()  # to be settled in a moment, together
        self._running: tuple[Call, float] | None = None

    def start(self, receipt: Receipt) -> None:
        """Begin an event's way."""
        context = Context(receipt.data, receipt.message_id)
        receipt.attach(context)
        walk = self._walks[receipt] = Walk(receipt, process(context, receipt.kind, self.timeline))
        self._advance(walk)

    def delivered(self, receipt: Receipt, outcome: Outcome) -> bool:
        """The delivery has its outcome. Returns whether that is for a dialog to deal with: see `go_on`."""
        walk = self._walks.get(receipt)
        if walk is None:
            return False
        walk.outcome = outcome
        if walk.waiting:
            self._due.append(walk)
        return True

    def go_on(self) -> None:
        """Go on with the events whose delivery has its outcome, and settle those whose dialogs are over."""
        while self._due:
            for _ in range(min(TOGETHER, len(self._due))):
                walk = self._due.popleft()
                self._advance(walk, walk.outcome)
            self._settle_ended()
        self._settle_ended()

    def _settle_ended(self) -> None:
        while self._ended:
            receipt, outcome = self._ended.popleft()
            receipts = [receipt]
            while self._ended and self._ended[0][1] is outcome:
                receipts.append(self._ended.popleft()[0])
            self._settle(receipts, outcome)

    def relieve(self) -> list[Receipt]:
        """Another thread has taken over, or the client closes: forget every dialog.

        Returns the events that nobody else knows of.
        """
        walks, self._walks = self._walks, {}
        self._due.clear()
        self._ended += [(walk.receipt, walk.outcome) for walk in walks.values() if walk.outcome is not None]
        self._settle_ended()
        return [walk.receipt for walk in walks.values() if walk.outcome is None and not walk.handed_over]

    @property
    def wanted(self) -> bool:
        """Whether an event that comes now has to go this way."""
        return bool(self.timeline)

    @property
    def busy(self) -> bool:
        """Whether any event has a dialog that is not over."""
        return bool(self._walks)

    def running(self) -> tuple[str, float] | None:
        """The hook that runs now (`plugin.hook`), and for how many seconds."""
        now = self._running
        return None if now is None else (label(now[0]), time.monotonic() - now[1])

    def _advance(self, walk: Walk, value: Any = None, raised: BaseException | None = None) -> None:
        """Go on with a dialog as far as it goes. Whatever happens, its event is not lost."""
        try:
            self._run(walk, value, raised)
        except Relieved:
            raise
        except BaseException as exc:
            error = PluginError("unknown", f"the pipeline met {type(exc).__name__}")
            error.__cause__ = exc.with_traceback(None)
            self._over(walk, Outcome(error))
            if not reportable(exc):
                raise

    def _run(self, walk: Walk, value: Any, raised: BaseException | None) -> None:
        """Run a dialog until it is over, or has to wait."""
        while True:
            try:
                step = walk.dialog.send(value) if raised is None else walk.dialog.throw(raised)
            except StopIteration as stop:
                self._over(walk, stop.value)
                return
            answer = self._do(walk, step)
            if answer is None:
                return
            value, raised = answer

    def _do(self, walk: Walk, step: Step) -> Answer | None:
        """Do what a dialog asks for. None: it takes time, and whoever brings the answer goes on with the dialog."""
        match step:
            case Call():
                return self._call(step)
            case Together(calls):
                return [self._call(call)[1] for call in calls], None
            case Deliver(data):
                self._hand_over(walk, data)
            case Delivered():
                walk.waiting = walk.outcome is None
                return None if walk.waiting else (walk.outcome, None)
            case Report(error, context):
                self._report(error, context)
        return None, None

    def _hand_over(self, walk: Walk, data: bytes) -> None:
        walk.handed_over = True
        self._deliver(walk.receipt, data)

    def _call(self, call: Call) -> Answer:
        returned, raised = self._invoke(call)
        return (returned, raised) if not awaits(returned) else (None, _not_awaited(call, returned))

    def _invoke(self, call: Call) -> Answer:
        returned: Any = None
        raised: BaseException | None = None
        self._running = call, time.monotonic()
        tenure = self._baton.lay_aside()
        try:
            returned = getattr(call.plugin, call.hook)(call.context)
        except BaseException as exc:
            if not reportable(exc):
                raise
            raised = exc
        finally:
            try:
                self._baton.take_back(tenure)
            finally:
                self._running = None
        return returned, raised

    def _over(self, walk: Walk, outcome: Outcome | None) -> None:
        self._walks.pop(walk.receipt, None)
        outcome = outcome or walk.outcome
        if outcome is not None:  # else delivery alone decides from here on
            self._ended.append((walk.receipt, outcome))

    def _report(self, error: PluginError, context: Context) -> None:
        context.log("error", str(error))
        self._emitter.report(ErrorEvent("plugin", error, context))


def label(call: Call) -> str:
    """A hook's name: `plugin.hook`."""
    return f"{call.plugin.name}.{call.hook}"


def awaits(returned: object) -> bool:
    """Whether a hook's answer is one to be awaited. What nearly all of them return is known at a glance (2 µs less)."""
    return returned is not None and type(returned) is not Context and inspect.isawaitable(returned)


def _not_awaited(call: Call, awaitable: Any) -> TypeError:
    """A hook that is `async def` in disguise (a lambda, say), which nobody could see when it was registered."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    kind = type(awaitable).__name__
    return TypeError(f"{call.hook} returned {kind}, which Analytics cannot await: use AsyncAnalytics")
