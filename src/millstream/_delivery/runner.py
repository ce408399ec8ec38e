"""Runs the pipeline in the worker's thread: calls hooks, hands events over to delivery, reports failures."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from .._clock import monotonic
from .._core.context import Context, ErrorEvent
from .._core.outcome import Outcome
from .._core.pipeline import Answer, Awaited, Beside, HookSteps, PluginLike, PluginRegistry, conclude, process
from .._core.receipt import Receipt
from ..emitter import Emitter, reportable
from ..errors import PluginError
from .hook_threads import Answered, HookJob, HookThreads
from .worker_lock import Superseded, WorkerLock

__all__ = ["PipelineRun", "Runner"]

TOGETHER = 64
"""Events settled together, at most: a slow `after` hook delays the outcome of this many."""


class PipelineRun(Struct, eq=False):
    """An event in the pipeline, and the outcome of its delivery, if known."""

    receipt: Receipt
    steps: HookSteps
    outcome: Outcome | None = None
    handed_over: bool = False


class Runner:
    """Runs events through the plugins: the pipeline's host.

    Args:
        emitter: reports plugins whose failure stops nothing.
        takes: whether an event with these integrations is delivered anywhere besides to plugins.
        deliver: passes an event, with the bytes that plugins made of it, to the channels.
        settle: settles events.
        lock: released during a hook, so that another thread may take over.
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
        self._beside: dict[Receipt, Beside] = {}  # with destination plugins, beside delivery
        self._runs: dict[Receipt, PipelineRun] = {}  # with plugins, in a generator that has not ended
        self._out: dict[Receipt, list[PluginLike]] = {}  # handed over, and the plugins to run with the outcome
        self._back: deque[tuple[Receipt, list[PluginLike], Outcome | None]] = deque()  # the same, with an outcome
        self._ended: deque[tuple[Receipt, Outcome]] = deque()  # to be settled together soon
        self._running: tuple[PluginLike, str, float] | None = None

    def start(self, receipt: Receipt) -> None:
        """Start an event."""
        run = self._runs[receipt] = PipelineRun(receipt, process(receipt, self.registry, self))
        self._advance(run)

    def delivered(self, receipts: list[Receipt], outcome: Outcome) -> list[Receipt]:
        """Record a delivery's outcome. Return events without further plugins; `go_on` continues the others."""
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
        """Continue events whose delivery is settled, and settle those past their last plugin."""
        while self._back:
            for _ in range(min(TOGETHER, len(self._back))):
                receipt, after, outcome = self._back.popleft()
                steps = conclude(receipt, after, outcome, self.registry, self)
                run = self._runs[receipt] = PipelineRun(receipt, steps, outcome, handed_over=True)
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
        """Drop all events, because another thread has taken over or the client closes.

        Return the events that no other part has.
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
        """Call this once earlier events have passed the hooks that run before delivery: now."""
        command()

    @property
    def wanted(self) -> bool:
        """Whether new events must be run through it."""
        return bool(self.registry)

    @property
    def busy(self) -> bool:
        """Whether an event is with its plugins, or will return to them."""
        return bool(self._runs or self._out or self._back or self._beside)

    def running(self) -> tuple[str, float] | None:
        """The running hook (`plugin.hook`), and its seconds."""
        now = self._running
        if now is None and self._threads is not None:
            return self._threads.running()
        return None if now is None else (f"{now[0].name}.{now[1]}", monotonic() - now[2])

    # -- destinations, beside delivery ------------------------------------------------------------------

    def run_beside(self, beside: Beside, contexts: list[Context]) -> None:
        """Run destination hooks on their threads."""
        assert self._threads is not None  # noqa: S101 - `runs_beside`
        self._beside[beside.receipt] = beside
        for plugin, context in zip(beside.plugins, contexts, strict=True):
            self._threads.run(HookJob(beside, plugin, context))

    def _call_beside(self, plugin: PluginLike, hook: str, context: Context) -> Answer | None:
        """Call a hook on its plugin's thread."""
        returned = getattr(plugin, hook)(context)
        if returned is None or returned is context:
            return None
        answer = self._awaited(plugin, hook, context, returned) if inspect.isawaitable(returned) else (returned, None)
        return answer if isinstance(answer, tuple) else None

    def _answered(self, answers: Answered) -> None:
        for beside, plugin, answer in answers:
            if self._beside.get(beside.receipt) is beside and beside.note(plugin, answer, self):  # else abandoned
                del self._beside[beside.receipt]
                if beside.outcome is not None or not beside.sent:
                    self._back.append((beside.receipt, beside.after, beside.outcome))
                else:
                    self._out[beside.receipt] = beside.after

    def when_quiet(self, name: str, then: Callable[[], object]) -> None:
        """Call this once no hook of this plugin runs: now, as hooks run on the worker."""
        if self._threads is None:
            then()
        else:
            self._threads.when_quiet(name, then)

    def in_hook(self) -> bool:
        """Whether the calling thread is in a destination hook, beside delivery."""
        return self._threads is not None and self._threads.in_hook()

    # -- steps ----------------------------------------------------------------------------------------

    def _advance(self, run: PipelineRun) -> None:
        """Advance a generator as far as possible. Its event is never lost."""
        try:
            awaited = next(run.steps, None)
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
        """Fail an event after an unexpected error, unless its delivery decides."""
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
        """Await these hooks, and then continue the generator."""
        raise NotImplementedError

    # -- what the pipeline asks for -------------------------------------------------------------------

    def call(self, plugin: PluginLike, hook: str, context: Context) -> Answer | Awaited | None:
        """Call a hook. None: it returned nothing, or the context, which is the same."""
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
        """Handle a hook that is async without being declared so (a lambda, say)."""
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
        """Report a plugin's failure that stops nothing to `error` listeners."""
        context.log("error", str(error))
        self._emitter.report(ErrorEvent("plugin", error, context))

    def expect(self, receipt: Receipt, after: list[PluginLike]) -> None:
        """Run these plugins once the event's delivery has an outcome."""
        outcome = self._runs[receipt].outcome
        if outcome is None:
            self._out[receipt] = after
        else:
            self._back.append((receipt, after, outcome))

    def settle(self, receipt: Receipt, outcome: Outcome) -> None:
        """Settle the event."""
        self._ended.append((receipt, outcome))
