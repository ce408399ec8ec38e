"""Runs the pipeline's dialogs in the worker's thread: calls hooks, hands over for delivery, reports."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from .._clock import monotonic
from .._core.context import Context, ErrorEvent
from .._core.outcome import Outcome
from .._core.pipeline import Answer, Awaited, Beside, Dialog, PluginLike, PluginRegistry, conclude, process
from .._core.receipt import Receipt
from ..emitter import Emitter, reportable
from ..errors import PluginError
from .hook_threads import Answered, HookJob, HookThreads
from .worker_lock import Superseded, WorkerLock

__all__ = ["PipelineRun", "Runner"]

TOGETHER = 64
"""Events that are settled together, at most: what a slow `after` hook holds up is the outcome of so many."""


class PipelineRun(Struct, eq=False):
    """One event with its plugins, and the outcome of its delivery, if that is known."""

    receipt: Receipt
    dialog: Dialog
    outcome: Outcome | None = None
    handed_over: bool = False


class Runner:
    """Takes events through the plugins: the pipeline's hands.

    Args:
        emitter: who is told of plugins that fail where their failure stops nothing.
        takes: says whether an event with these integrations is delivered anywhere besides to plugins.
        deliver: hands an event, with the bytes that the plugins made of it, to the channels.
        settle: gives events their outcome.
        lock: laid aside for the time of a hook, so that another thread may take over from this one.
    """

    def __init__(
        self,
        emitter: Emitter,
        takes: Callable[[Mapping[str, Any]], bool],
        deliver: Callable[[Receipt, bytes], object],
        settle: Callable[[list[Receipt], Outcome], object],
        lock: WorkerLock,
        post: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self.registry = PluginRegistry()
        self._emitter = emitter
        self._takes = takes
        self._deliver = deliver
        self._settle = settle
        self._lock = lock
        self._threads = None if post is None else HookThreads(self._call_beside, post, self._answered)
        self.runs_beside = post is not None
        self._beside: dict[Receipt, Beside] = {}  # with destinations, beside delivery
        self._runs: dict[Receipt, PipelineRun] = {}  # with their plugins: whose dialog is not over
        self._out: dict[Receipt, list[PluginLike]] = {}  # handed over, and who is to see their outcome
        self._back: deque[tuple[Receipt, list[PluginLike], Outcome | None]] = (
            deque()
        )  # the same, and their outcome is there
        self._ended: deque[tuple[Receipt, Outcome]] = deque()  # to be settled in a moment, together
        self._running: tuple[PluginLike, str, float] | None = None

    def start(self, receipt: Receipt) -> None:
        """Begin an event's way."""
        run = self._runs[receipt] = PipelineRun(receipt, process(receipt, self.registry, self))
        self._advance(run)

    def delivered(self, receipts: list[Receipt], outcome: Outcome) -> list[Receipt]:
        """The delivery of these has its outcome. Returns those that no plugin waits for: `go_on` is for the others."""
        rest: list[Receipt] = []
        for receipt in receipts:
            after = self._out.pop(receipt, None)
            if after is not None:
                self._back.append((receipt, after, outcome))
            elif receipt in self._beside:
                self._beside[receipt].outcome = outcome
            elif receipt in self._runs:
                self._runs[receipt].outcome = outcome
            else:
                rest.append(receipt)
        return rest

    def go_on(self) -> None:
        """Go on with the events whose delivery has its outcome, and settle those whose dialogs are over."""
        while self._back:
            for _ in range(min(TOGETHER, len(self._back))):
                receipt, after, outcome = self._back.popleft()
                dialog = conclude(receipt, after, outcome, self.registry, self)
                run = self._runs[receipt] = PipelineRun(receipt, dialog, outcome, handed_over=True)
                self._advance(run)
            self._settle_ended()
        self._settle_ended()

    def _settle_ended(self) -> None:
        while self._ended:
            receipt, outcome = self._ended.popleft()
            receipts = [receipt]
            while self._ended and self._ended[0][1] is outcome:
                receipts.append(self._ended.popleft()[0])
            self._settle(receipts, outcome)

    def abandon(self) -> list[Receipt]:
        """Another thread has taken over, or the client closes: forget every dialog.

        Returns the events that nobody else knows of.
        """
        runs, self._runs = self._runs, {}
        beside, self._beside = [*self._beside.values()], {}
        if self._threads is not None:
            self._threads.abandon()
        self._ended += [(each.receipt, each.outcome) for each in beside if each.outcome is not None]
        self._ended += [(run.receipt, run.outcome) for run in runs.values() if run.outcome is not None]
        self._ended += [(receipt, outcome) for receipt, _, outcome in self._back if outcome is not None]
        left = [receipt for receipt, _, outcome in self._back if outcome is None]
        left += [each.receipt for each in beside if each.outcome is None and not each.sent]
        self._back.clear()
        self._out.clear()
        self._settle_ended()
        return left + [run.receipt for run in runs.values() if run.outcome is None and not run.handed_over]

    def when_passed(self, command: Callable[[], object]) -> None:
        """Do this when all events that were started before are through the hooks that come before delivery: now."""
        command()

    @property
    def wanted(self) -> bool:
        """Whether an event that comes now has to go this way."""
        return bool(self.registry)

    @property
    def busy(self) -> bool:
        """Whether any event is with its plugins, or will come back to them."""
        return bool(self._runs or self._out or self._back or self._beside)

    def running(self) -> tuple[str, float] | None:
        """The hook that runs now (`plugin.hook`), and for how many seconds."""
        now = self._running
        if now is None and self._threads is not None:
            return self._threads.running()
        return None if now is None else (f"{now[0].name}.{now[1]}", monotonic() - now[2])

    # -- destinations, beside delivery ------------------------------------------------------------------

    def run_beside(self, beside: Beside, contexts: list[Context]) -> None:
        """Run the hooks of destinations on their threads."""
        assert self._threads is not None  # noqa: S101 - `runs_beside`
        self._beside[beside.receipt] = beside
        for plugin, context in zip(beside.plugins, contexts, strict=True):
            self._threads.run(HookJob(beside, plugin, context))

    def _call_beside(self, plugin: PluginLike, hook: str, context: Context) -> Answer | None:
        """Call a hook, on its plugin's thread."""
        returned = getattr(plugin, hook)(context)
        if returned is None or returned is context:
            return None
        answer = self._awaited(plugin, hook, context, returned) if inspect.isawaitable(returned) else (returned, None)
        return answer if isinstance(answer, tuple) else None

    def _answered(self, answers: Answered) -> None:
        for beside, plugin, answer in answers:
            if self._beside.get(beside.receipt) is beside and beside.note(plugin, answer, self):  # else given up
                del self._beside[beside.receipt]
                if beside.outcome is not None or not beside.sent:
                    self._back.append((beside.receipt, beside.after, beside.outcome))
                else:
                    self._out[beside.receipt] = beside.after

    def when_quiet(self, name: str, then: Callable[[], object]) -> None:
        """Do this as soon as no hook of this plugin runs: where they run on the worker, that is now."""
        if self._threads is None:
            then()
        else:
            self._threads.when_quiet(name, then)

    def in_hook(self) -> bool:
        """Whether the calling thread is in the hook of a destination, beside delivery."""
        return self._threads is not None and self._threads.in_hook()

    # -- dialogs --------------------------------------------------------------------------------------

    def _advance(self, run: PipelineRun) -> None:
        """Go on with a dialog as far as it goes. Whatever happens, its event is not lost."""
        try:
            awaited = next(run.dialog, None)
            if awaited is None:
                self._runs.pop(run.receipt, None)
            else:
                self._wait(run, awaited)
        except Superseded:
            raise
        except BaseException as exc:
            self._fail(run, exc)
            if not reportable(exc):
                raise

    def _fail(self, run: PipelineRun, exc: BaseException) -> None:
        """A dialog has met what it knows nothing of: its event fails, unless its delivery decides."""
        if self._runs.get(run.receipt) is not run:
            return
        if run.outcome is not None:
            self.settle(run.receipt, run.outcome)
        elif not run.handed_over:
            error = PluginError("unknown", f"the pipeline met {type(exc).__name__}")
            error.__cause__ = exc.with_traceback(None)
            self.settle(run.receipt, Outcome(error))
        del self._runs[run.receipt]

    def _wait(self, run: PipelineRun, awaited: list[Awaited]) -> None:
        """Somebody has to wait for these hooks' answers, and to go on with the dialog then."""
        raise NotImplementedError

    # -- what the pipeline asks for -------------------------------------------------------------------

    def call(self, plugin: PluginLike, hook: str, context: Context) -> Answer | Awaited | None:
        """Call a hook. None: it has returned nothing, or the context, which is the same."""
        self._running = plugin, hook, monotonic()
        holder = self._lock.release()
        try:
            returned = getattr(plugin, hook)(context)
        except BaseException as exc:
            if not reportable(exc):
                raise
            return None, exc
        finally:
            try:
                self._lock.reacquire(holder)
            finally:
                self._running = None
        if returned is None or returned is context:
            return None
        return self._awaited(plugin, hook, context, returned) if inspect.isawaitable(returned) else (returned, None)

    def _awaited(self, plugin: PluginLike, hook: str, context: Context, awaitable: Any) -> Answer | Awaited:  # noqa: ARG002
        """What to do about a hook that is `async def` in disguise (a lambda, say): nobody has seen it when it came."""
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        kind = type(awaitable).__name__
        return None, TypeError(f"{hook} returned {kind}, which Analytics cannot await: use AsyncAnalytics")

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        """Return whether an event with these integrations is delivered anywhere besides to plugins."""
        return self._takes(integrations)

    def hand_over(self, receipt: Receipt, data: bytes | None) -> None:
        """Deliver these bytes, if any."""
        if data is not None:
            self._runs[receipt].handed_over = True
            self._deliver(receipt, data)

    def report(self, error: PluginError, context: Context) -> None:
        """Tell `error` listeners of a plugin that failed where its failure stops nothing."""
        context.log("error", str(error))
        self._emitter.report(ErrorEvent("plugin", error, context))

    def expect(self, receipt: Receipt, after: list[PluginLike]) -> None:
        """When its delivery has an outcome, these plugins see it."""
        outcome = self._runs[receipt].outcome
        if outcome is None:
            self._out[receipt] = after
        else:
            self._back.append((receipt, after, outcome))

    def settle(self, receipt: Receipt, outcome: Outcome) -> None:
        """The event has its outcome."""
        self._ended.append((receipt, outcome))
