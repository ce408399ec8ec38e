"""The inline driver: the worker's loop in the calling thread; and what callers ask of every synchronous driver."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from .._core.receipt import Outcome, Receipt
from .._core.ticket import Ticket
from ..emitter import reportable
from ..errors import DeliveryError, MillstreamError, PluginError, QueueFull
from ..types import Callback, FlushResult, Stats
from .courier import Command
from .worker import Worker, earliest

if TYPE_CHECKING:
    from .ending import EndingGate

__all__ = ["InlineDriver", "nothing"]

CLOSE_GRACE = 0.25
"""Seconds beyond its deadline that `close` gives the worker to hand back what is left."""
TAKE_OVER_GRACE = 0.15
"""Seconds that it then waits for the worker's place."""
UNPLUG_PATIENCE = 10.0
"""Seconds that `unplug` waits for the hooks of a plugin to be over."""


class InlineDriver(Worker):
    """Delivers in whatever thread calls: at a call that makes a batch due, at `flush`, `close` and `Receipt.wait`.

    Used where there can be no thread. `submit` then takes as long as the network does.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._pumping = threading.Lock()
        self._loop_thread: int | None = None  # the thread that is in the loop
        self._orphaned = False
        self._afterwards: list[threading.Thread] = []  # what callbacks returned to be awaited

    def accept(self, receipt: Receipt) -> None:
        """Count an event in and put it on its way, if there is room; else it is dropped."""
        try:
            if self._backlog is not None and self._spooled(receipt):
                return
            full = self._ledger.accept(receipt)
            if full is None:
                self.submit(receipt)
                return
        except BaseException:
            self._complete_later(receipt)
            raise
        self._ledger.settle_at_once(receipt, Outcome(QueueFull(full)))

    def refuse(self, receipt: Receipt, error: DeliveryError) -> None:
        """Count an event in, and settle it at once: it cannot be sent."""
        self._ledger.settle_at_once(receipt, Outcome(error))

    def reject(self, receipt: Receipt, error: DeliveryError) -> None:
        """Settle an event that was never accepted."""
        self._ledger.reject(receipt, Outcome(error))

    def accept_if_room(self, receipt: Receipt) -> QueueFull | None:
        """The same, but say what is full, and count nothing, if there is no room."""
        try:
            if self._spooled(receipt):
                return None
            full = self._ledger.accept(receipt)
            if full is not None:
                return QueueFull(full)
            self.submit(receipt)
        except BaseException:
            self._complete_later(receipt)
            raise
        return None

    def _complete_later(self, receipt: Receipt) -> None:
        """Have the worker complete a call that a signal handler's exception has interrupted, unless it did nothing.

        The command comes after the event, if that is in the mailbox. It is put there first of all: no handler runs
        before the first call.
        """
        self._mailbox.put(lambda: self._complete_call(receipt))
        self._wake()

    def accept_when_room(self, receipt: Receipt) -> None:
        """The same, after waiting for room: until the client is closed, and not on the worker, which makes it.

        Looks again every few milliseconds: a condition variable would deadlock when a signal handler calls in here.
        """
        while self.accept_if_room(receipt) is not None:
            if self._finished or self._loop_thread == threading.get_ident():
                self.accept(receipt)
                return
            self._tell(self._hurry)  # or a queue smaller than flush_at would sit out flush_interval
            time.sleep(0.005)

    def _spooled(self, receipt: Receipt) -> bool:
        """With a spool: write an event down, count it in and put it on its way. There is always room on disk.

        False: it is not on disk, and goes the way of every event without a spool.
        """
        backlog = self._backlog
        if backlog is None or not backlog.keep(receipt):
            return False
        if backlog.behind or self._ledger.accept(receipt) is not None:
            self._ledger.accept_on_disk(receipt)
            self._tell(backlog.later(receipt))
        else:
            self.submit(receipt)
        if not self._sync_told and backlog.spool.due_at() is not None:
            self._sync_told = True
            self._wake()
        return True

    def start(self) -> None:
        """Begin to work before the first event: in a spool there may be others."""
        if self._backlog is not None:
            self._backlog.start()
            self._wake()

    def _wake(self) -> None:
        """Have the worker look around."""
        self._tell(nothing)

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event."""
        self._mailbox.put(receipt)
        self._nudge()

    def flush(self, timeout: float) -> FlushResult:
        """Send everything submitted before now, and wait for its outcome, `timeout` seconds at most."""
        self._refuse_on_worker("flush")
        done = threading.Event()
        ticket = Ticket(done.set)
        self._tell(lambda: self._on_flush(ticket))
        self._block(done, self._clock() + timeout)
        result = self._result(ticket)
        if not done.is_set():
            self._tell(lambda: self._ledger.withdraw(ticket))
        return result

    def close(self, timeout: float) -> FlushResult:
        """The same, and then stop. What has no outcome at the deadline is given up, and returned."""
        self._refuse_on_worker("close_and_flush")
        deadline = self._clock() + timeout
        done = threading.Event()
        ticket = Ticket(done.set)
        self._tell(lambda: self._on_close(ticket, deadline))
        self._block(done, deadline + CLOSE_GRACE)
        if not done.is_set():
            self._loop_thread = threading.get_ident()
            try:
                self._take_over(ticket, TAKE_OVER_GRACE)
            finally:
                self._loop_thread = None
        else:
            self._block(self._over, deadline + CLOSE_GRACE)
        result = self._result(ticket)
        for thread in self._afterwards:
            thread.join(max(0.0, deadline - self._clock()))
        return result

    def hurry(self) -> None:
        """Have the worker send at once what there is, if there is a worker."""

    def begin_flush(self, timeout: float) -> None:
        """Begin a `flush` at the end of the process, without waiting: the flushes of several clients overlap."""
        deadline = self._clock() + timeout
        self._mailbox.put(lambda: self._on_end(deadline))
        self.hurry()

    def begin_close(self, timeout: float) -> None:  # noqa: ARG002 - AsyncDriver needs it
        """Begin what `close` will wait for, without waiting."""
        self.hurry()

    def detach(self, gate: EndingGate, until: float) -> Iterator[None]:  # noqa: ARG002 - AsyncDriver needs them
        """Leave the event loop, in steps that all clients take together. Without a loop there is nothing to leave."""
        return iter(())

    def avoid_loop(self) -> None:
        """Deliver without the event loop that runs in this thread, if any."""

    def retire(self, then: Callable[[], object], *, hang_up: bool) -> None:
        """Deliver what is left and end, because no call can come any more; does nothing without a worker.

        Args:
            then: called when every event has its outcome.
            hang_up: whether to close the HTTP client.
        """

    def let_go(self) -> None:
        """At the end of the process: hold up nobody else."""
        self._ledger.let_go()

    def exposed(self) -> int:
        """How many events would be lost if the process ended now."""
        return self._ledger.totals().pending if self._backlog is None else self._ledger.exposed

    def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait for one event's outcome; see Receipt.wait."""
        self._refuse_on_worker("Receipt.wait")
        settled = threading.Event()
        self._ledger.watch(receipt, lambda _: settled.set())
        self._tell(self._hurry)
        self._block(settled, None if timeout is None else self._clock() + timeout)

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]:
        """The same for `await receipt`, on the running event loop."""
        import asyncio  # noqa: PLC0415 - who has no event loop does not load it: a tenth of what a client loads

        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake(_: Receipt) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve)

        self._ledger.watch(receipt, self._guarded(wake))
        self._tell(self._hurry)
        yield from settled.__await__()

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None:
        """Call `watcher(receipt)` when the receipt has its outcome; what it raises is reported, not raised."""

        def watch(receipt: Receipt) -> None:
            if not self._emitter.hushed():
                watcher(receipt)

        self._ledger.watch(receipt, self._guarded(watch))

    def watch_callback(self, receipt: Receipt, callback: Callback, *, first: bool = True) -> None:
        """Call `callback(err, ctx)` when the receipt has its outcome, and see to an awaitable that it returns.

        `first`: whether nobody else has the receipt yet.
        """
        watch = self._ledger.watch_first if first else self._ledger.watch
        watch(receipt, _Callback(self, callback))

    def call_back(self, callback: Callback, receipt: Receipt) -> None:
        """Call it now, unless the process is ending and a thread that waits for that may hold what it needs."""
        if self._emitter.hushed():
            return
        try:
            context = receipt.context()
            returned: object = callback(context.failed_delivery(), context)
            if returned is not None and inspect.isawaitable(returned):
                self._see_to(returned)
        except BaseException as exc:  # noqa: BLE001 - passed on, or reported
            self._callback_raised(receipt, exc)

    def orphan(self) -> None:
        """This process is a forked child: what is in here belongs to the parent, who delivers it."""
        self._orphaned = True
        if self._backlog is not None:
            self._backlog.spool.orphan()

    def plug(self, plugin: Any) -> None:
        """Run this plugin for the events that are recorded from now on."""
        self._tell(lambda: self._change(lambda: self._runner.timeline.add(plugin)))

    def unplug(self, name: str) -> None:
        """Stop running the plugin of this name for the events that come from now on, and wait until no hook of it runs.

        Where that cannot be waited for (on the worker itself, or while a hook hangs) it stops at once.
        """
        if self._loop_thread != threading.get_ident():
            gone = threading.Event()

            def remove() -> None:
                self._runner.timeline.remove(name)
                gone.set()

            self._tell(lambda: self._change(remove))
            self._block(gone, self._clock() + UNPLUG_PATIENCE)
        self._runner.timeline.remove(name)

    def hold(self) -> None:
        """A critical plugin is being loaded: nothing is delivered, and what comes waits to see it."""
        self._tell(self._on_hold)

    def release(self) -> None:
        """It is loaded."""
        self._tell(self._on_release)

    def halt(self, error: PluginError) -> None:
        """It cannot be loaded: what is here and what comes is kept until `close` hands it back."""
        self._tell(lambda: self._on_halt(error))

    def stats(self) -> Stats:
        """The counters, as of now."""
        totals, engine, hook = self._ledger.totals(), self._engine, self._runner.running()
        return Stats(
            accepted=totals.accepted,
            delivered=totals.delivered,
            failed=totals.failed,
            dropped=totals.dropped,
            pending=totals.pending,
            queue_bytes=totals.queue_bytes,
            in_flight=engine.in_flight,
            requests=engine.requests,
            retries=engine.retries,
            spooled=totals.spooled,
            spool=None if self._backlog is None else self._backlog.spool.state,
            corrupt=0 if self._backlog is None else self._backlog.spool.corrupt,
            running_hook=hook and hook[0],
            running_hook_seconds=hook[1] if hook else 0.0,
        )

    def _result(self, ticket: Ticket) -> FlushResult:
        return ticket.result() if ticket.epoch else self._undecided()

    def _undecided(self) -> FlushResult:
        """What a flush returns that the worker has not even come to read."""
        pending = self._ledger.totals().pending
        return FlushResult(pending=pending, spooled=pending - self.exposed())

    def _refuse_on_worker(self, what: str) -> None:
        if self._orphaned:
            raise MillstreamError(
                f"{what}: the event was recorded before the fork, and is the parent process's to deliver"
            )
        if self._loop_thread == threading.get_ident():
            raise MillstreamError(
                f"{what} was called on the client's own worker (in a callback, listener or plugin), "
                "which would wait for itself: call it from another thread"
            )

    def _tell(self, command: Command) -> None:
        self._mailbox.put(command)
        self._nudge()

    def _nudge(self) -> None:
        """There is mail: see that somebody reads it."""
        while not self._mailbox.empty() and self._pumping.acquire(blocking=False):
            try:
                self._pump()
            finally:
                self._pumping.release()

    def _block(self, event: threading.Event, deadline: float | None) -> None:
        """Wait for the event; being the worker ourselves, if nobody else is."""
        while not event.is_set():
            now = self._clock()
            if deadline is not None and now >= deadline:
                return
            until = deadline
            if self._pumping.acquire(blocking=False):
                try:
                    until = earliest(self._pump(), deadline)
                finally:
                    self._pumping.release()
            pause = 0.05 if until is None else until - self._clock()
            event.wait(min(max(pause, 0.0), 0.05))

    def _pump(self) -> float | None:
        """One turn in this thread. Returns when the next is due."""
        self._loop_thread = threading.get_ident()
        try:
            return self._turn()
        finally:
            self._loop_thread = None

    def _guarded(self, fn: Callable[[Receipt], object]) -> Callable[[Receipt], object]:
        def guarded(receipt: Receipt) -> None:
            try:
                fn(receipt)
            except BaseException as exc:  # noqa: BLE001 - passed on, or reported
                self._callback_raised(receipt, exc)

        return guarded

    def _callback_raised(self, receipt: Receipt, exc: BaseException) -> None:
        """Report what a callback raised, or raise it on."""
        if not reportable(exc):
            raise exc
        self._emitter.fault("callback", exc)
        if receipt.outcome is not None and exc is receipt.outcome.error:
            exc.with_traceback(None)  # its frames hold the receipt: a cycle that no garbage collector sees

    def _see_to(self, awaitable: Awaitable[object]) -> None:
        """Run what a callback returned, where it holds up nothing; `close` waits for it. Without threads: here."""
        import asyncio  # noqa: PLC0415

        async def run() -> None:
            await awaitable

        def target() -> None:
            try:
                asyncio.run(run())
            except BaseException as exc:
                if not reportable(exc):
                    raise
                self._emitter.fault("callback", exc)

        self._afterwards = [thread for thread in self._afterwards if thread.is_alive()]
        thread = threading.Thread(target=target, name="millstream-callback", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            target()
        else:
            self._afterwards.append(thread)


# Unknown to the garbage collector, as the receipt that it waits for (see there): with a hundred thousand of them, the
# two functions that would do the same take more of its time than everything else.
class _Callback(Struct, eq=False, gc=False):
    """A watcher that calls back."""

    driver: InlineDriver
    callback: Callback

    def __call__(self, receipt: Receipt) -> None:
        self.driver.call_back(self.callback, receipt)


def nothing() -> None:
    """A command that only wakes the worker."""
