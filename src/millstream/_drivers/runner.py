"""Runs the pipeline's dialogs in the worker's thread: calls hooks, hands over for delivery, reports."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from .._clock import monotonic
from .._core.context import Context
from .._core.pipeline import Answer, Awaited, Dialog, Hooked, Timeline, conclude, process
from .._core.receipt import Outcome, Receipt
from ..emitter import Emitter, reportable
from ..errors import PluginError
from ..types import ErrorEvent
from .baton import Baton, Relieved

__all__ = ["Runner", "Walk"]

TOGETHER = 64
"""Events that are settled together, at most: what a slow `after` hook holds up is the outcome of so many."""


class Walk(Struct, eq=False):
    """One event with its plugins, and the outcome of its delivery, if that is known."""

    receipt: Receipt
    dialog: Dialog
    outcome: Outcome | None = None
    handed_over: bool = False


class Runner:
    """Takes events through the plugins: the pipeline's hands.

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
        self._walks: dict[Receipt, Walk] = {}  # with their plugins: whose dialog is not over
        self._out: dict[Receipt, list[Hooked]] = {}  # handed over, and who is to see their outcome
        self._back: deque[tuple[Receipt, list[Hooked], Outcome]] = deque()  # the same, and their outcome is there
        self._ended: deque[tuple[Receipt, Outcome]] = deque()  # to be settled in a moment, together
        self._running: tuple[Hooked, str, float] | None = None

    def start(self, receipt: Receipt) -> None:
        """Begin an event's way."""
        walk = self._walks[receipt] = Walk(receipt, process(receipt, self.timeline, self))
        self._advance(walk)

    def delivered(self, receipts: list[Receipt], outcome: Outcome) -> list[Receipt]:
        """The delivery of these has its outcome. Returns those that no plugin waits for: `go_on` is for the others."""
        rest: list[Receipt] = []
        for receipt in receipts:
            after = self._out.pop(receipt, None)
            if after is not None:
                self._back.append((receipt, after, outcome))
            elif receipt in self._walks:
                self._walks[receipt].outcome = outcome
            else:
                rest.append(receipt)
        return rest

    def go_on(self) -> None:
        """Go on with the events whose delivery has its outcome, and settle those whose dialogs are over."""
        while self._back:
            for _ in range(min(TOGETHER, len(self._back))):
                self._conclude(*self._back.popleft())
            self._settle_ended()
        self._settle_ended()

    def _conclude(self, receipt: Receipt, after: list[Hooked], outcome: Outcome) -> None:
        dialog = conclude(receipt, after, outcome, self.timeline, self)
        walk = self._walks[receipt] = Walk(receipt, dialog, outcome, handed_over=True)
        self._advance(walk)

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
        self._ended += [(walk.receipt, walk.outcome) for walk in walks.values() if walk.outcome is not None]
        self._ended += [(receipt, outcome) for receipt, _, outcome in self._back]
        self._back.clear()
        self._out.clear()
        self._settle_ended()
        return [walk.receipt for walk in walks.values() if walk.outcome is None and not walk.handed_over]

    @property
    def wanted(self) -> bool:
        """Whether an event that comes now has to go this way."""
        return bool(self.timeline)

    @property
    def busy(self) -> bool:
        """Whether any event is with its plugins, or will come back to them."""
        return bool(self._walks or self._out or self._back)

    def running(self) -> tuple[str, float] | None:
        """The hook that runs now (`plugin.hook`), and for how many seconds."""
        now = self._running
        return None if now is None else (f"{now[0].name}.{now[1]}", monotonic() - now[2])

    # -- dialogs --------------------------------------------------------------------------------------

    def _advance(self, walk: Walk) -> None:
        """Go on with a dialog as far as it goes. Whatever happens, its event is not lost."""
        try:
            awaited = next(walk.dialog, None)
            if awaited is None:
                self._walks.pop(walk.receipt, None)
            else:
                self._wait(walk, awaited)
        except Relieved:
            raise
        except BaseException as exc:
            self._fail(walk, exc)
            if not reportable(exc):
                raise

    def _fail(self, walk: Walk, exc: BaseException) -> None:
        """A dialog has met what it knows nothing of: its event fails, unless its delivery decides."""
        if self._walks.get(walk.receipt) is not walk:
            return
        if walk.outcome is not None:
            self.settle(walk.receipt, walk.outcome)
        elif not walk.handed_over:
            error = PluginError("unknown", f"the pipeline met {type(exc).__name__}")
            error.__cause__ = exc.with_traceback(None)
            self.settle(walk.receipt, Outcome(error))
        del self._walks[walk.receipt]

    def _wait(self, walk: Walk, awaited: list[Awaited]) -> None:
        """Somebody has to wait for these hooks' answers, and to go on with the dialog then."""
        raise NotImplementedError

    # -- what the pipeline asks for -------------------------------------------------------------------

    def call(self, plugin: Hooked, hook: str, context: Context) -> Answer | Awaited | None:
        """Call a hook. None: it has returned nothing, or the context, which is the same."""
        self._running = plugin, hook, monotonic()
        tenure = self._baton.lay_aside()
        try:
            returned = getattr(plugin, hook)(context)
        except BaseException as exc:
            if not reportable(exc):
                raise
            return None, exc
        finally:
            try:
                self._baton.take_back(tenure)
            finally:
                self._running = None
        if returned is None or returned is context:
            return None
        return self._awaited(plugin, hook, context, returned) if inspect.isawaitable(returned) else (returned, None)

    def _awaited(self, plugin: Hooked, hook: str, context: Context, awaitable: Any) -> Answer | Awaited:  # noqa: ARG002
        """What to do about a hook that is `async def` in disguise (a lambda, say): nobody has seen it when it came."""
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        kind = type(awaitable).__name__
        return None, TypeError(f"{hook} returned {kind}, which Analytics cannot await: use AsyncAnalytics")

    def hand_over(self, receipt: Receipt, data: bytes | None) -> None:
        """Deliver these bytes, if any."""
        if data is not None:
            self._walks[receipt].handed_over = True
            self._deliver(receipt, data)

    def report(self, error: PluginError, context: Context) -> None:
        """Tell `error` listeners of a plugin that failed where its failure stops nothing."""
        context.log("error", str(error))
        self._emitter.report(ErrorEvent("plugin", error, context))

    def expect(self, receipt: Receipt, after: list[Hooked]) -> None:
        """When its delivery has an outcome, these plugins see it."""
        outcome = self._walks[receipt].outcome
        if outcome is None:
            self._out[receipt] = after
        else:
            self._back.append((receipt, after, outcome))

    def settle(self, receipt: Receipt, outcome: Outcome) -> None:
        """The event has its outcome."""
        self._ended.append((receipt, outcome))
