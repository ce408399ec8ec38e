"""The driver: accepts events, passes them to the worker, and waits for outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from .._core.context import Callback
from .._core.outcome import Outcome
from .._core.receipt import Receipt
from .._core.ticket import Ticket
from ..destinations import Destination
from ..emitter import Emitter
from ..errors import DeliveryError, MillstreamError, PluginError, QueueFull
from ..types import DestinationStats, FlushResult, Stats
from .callbacks import Callbacks, CallbackThreads
from .runtime import Runtime
from .transport import Command
from .worker import Worker

if TYPE_CHECKING:
    from .process.ending import EndingGate

__all__ = ["Driver"]

CLOSE_GRACE = 0.25
"""Seconds beyond its deadline that `close` gives the worker to return unsettled events."""
TAKE_OVER_GRACE = 0.15
"""Seconds that it then waits for the worker's lock."""
UNPLUG_PATIENCE = 10.0
"""Seconds that `unplug` waits for the hooks of a plugin to end."""


class Driver:
    """Passes a client's calls to its worker.

    Args:
        worker: delivers.
        runtime: runs the worker's turns.
        emitter: reports what callbacks raise.
        disabled: every event succeeds in the call itself, and nothing is queued or sent.
    """

    def __init__(self, worker: Worker, runtime: Runtime, emitter: Emitter, *, disabled: bool = False) -> None:
        self.worker = worker
        self._runtime = runtime
        self._ledger = worker.ledger
        self._submit = runtime.submit
        if disabled:
            self.accept = self.accept_if_room = self._succeed  # type: ignore[method-assign]
        self._orphaned = False
        self._callback_threads = CallbackThreads(emitter)
        self._callbacks = Callbacks(worker.ledger, emitter, self._callback_threads.run)

    # -- events -----------------------------------------------------------------------------------------

    def accept(self, receipt: Receipt) -> None:
        """Accept an event and hand it over, if there is room; else drop it."""
        try:
            if self.worker.backlog is not None and self._spooled(receipt):
                return
            full = self._ledger.accept(receipt)
            if full is None:
                self._submit(receipt)
                return
        except BaseException:
            self._complete_later(receipt)
            raise
        self._ledger.settle_at_once(receipt, Outcome(QueueFull(full)))

    def refuse(self, receipt: Receipt, error: DeliveryError) -> None:
        """Accept and settle an event at once: it cannot be sent."""
        self._ledger.settle_at_once(receipt, Outcome(error))

    def reject(self, receipt: Receipt, error: DeliveryError) -> None:
        """Settle an event that was never accepted."""
        self._ledger.reject(receipt, Outcome(error))

    def accept_if_room(self, receipt: Receipt) -> QueueFull | None:
        """Like `accept`, but without room return what is full and count nothing."""
        try:
            if self._spooled(receipt):
                return None
            full = self._ledger.accept(receipt)
            if full is not None:
                return QueueFull(full)
            self._submit(receipt)
        except BaseException:
            self._complete_later(receipt)
            raise
        return None

    def _complete_later(self, receipt: Receipt) -> None:
        """Complete a call that a signal handler's exception interrupted, unless it had not begun.

        The worker runs the command after the event, if that is in the mailbox. It is posted first of all: no handler
        runs before the first call.
        """
        self.worker.mailbox.put(lambda: self.worker.complete_call(receipt))
        self._runtime.wake()

    def accept_when_room(self, receipt: Receipt) -> None:
        """Wait for room, and accept an event: until the client is closed, and not on the worker, which makes the room.

        Polls every few milliseconds: a condition variable would deadlock when a signal handler calls this.
        """
        while self.accept_if_room(receipt) is not None:
            if self.worker.finished or self._in_own_code():
                self.accept(receipt)
                return
            self._runtime.post(self.worker.flush_all)  # a queue smaller than flush_at is never due
            time.sleep(0.005)

    def _spooled(self, receipt: Receipt) -> bool:
        """With a spool: write an event to disk, accept it and hand it over. There is always room on disk.

        False: it is not on disk, and is handled as without a spool.
        """
        backlog = self.worker.backlog
        if backlog is None or not backlog.keep(receipt):
            return False
        if backlog.behind or self._ledger.accept(receipt) is not None:
            self._ledger.accept_on_disk(receipt)
            self._runtime.post(backlog.later(receipt))
        else:
            self._submit(receipt)
        if not backlog.sync_requested and backlog.spool.due_at() is not None:
            backlog.sync_requested = True
            self._runtime.wake()
        return True

    def _succeed(self, receipt: Receipt) -> None:
        self._ledger.settle_at_once(receipt, Outcome())

    # -- the life of a client -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start before the first event: a spool may hold others."""
        if self.worker.backlog is not None:
            self.worker.backlog.start()
            self._runtime.wake()

    def flush(self, timeout: float) -> FlushResult:
        """Send everything submitted before now, and wait for its outcome, `timeout` seconds at most."""
        self._refuse_on_worker("flush")
        done = threading.Event()
        ticket = Ticket(done.set)
        self._runtime.post(lambda: self.worker.on_flush(ticket))
        self._runtime.wait_for(done, self.worker.clock() + timeout)
        result = self._result(ticket)
        if not done.is_set():
            self._runtime.post(lambda: self._ledger.withdraw(ticket))
        return result

    def close(self, timeout: float) -> FlushResult:
        """Like `flush`, and then stop. Events without an outcome at the deadline are abandoned, and returned."""
        self._refuse_on_worker("close_and_flush")
        worker, runtime = self.worker, self._runtime
        deadline = worker.clock() + timeout
        done = threading.Event()
        ticket = Ticket(done.set)
        runtime.post(lambda: worker.on_close(ticket, deadline))
        runtime.wait_for(done, deadline + CLOSE_GRACE)
        if done.is_set():
            runtime.wait_for(worker.over, deadline + CLOSE_GRACE)
        else:
            with runtime.turn_here():
                worker.take_over(ticket, TAKE_OVER_GRACE)
        result = self._result(ticket)
        self._callback_threads.join(deadline)
        return result

    def request_flush(self) -> None:
        """Have the worker send pending events at once, if that does not block the caller."""
        if self._runtime.runs():
            self._runtime.post(self.worker.flush_all)

    def begin_flush(self, timeout: float) -> None:
        """Start a `flush` at the end of the process, without waiting: the flushes of several clients overlap."""
        deadline = self.worker.clock() + timeout
        self.worker.mailbox.put(lambda: self.worker.on_end(deadline))
        self.request_flush()

    def begin_close(self, timeout: float) -> None:  # noqa: ARG002 - AsyncDriver needs it
        """Start the work that `close` will wait for."""
        self.request_flush()

    def detach(self, gate: EndingGate, until: float) -> Iterator[None]:  # noqa: ARG002 - AsyncDriver needs them
        """Leave the event loop, in steps that all clients take together. Does nothing without a loop."""
        return iter(())

    def avoid_loop(self) -> None:
        """Deliver without the event loop of this thread, if any."""

    def retire(self, then: Command, *, close_http: bool) -> None:
        """Deliver remaining events and stop, because no call can follow; does nothing where no turns run.

        Args:
            then: called when all events are settled.
            close_http: whether to close the HTTP clients.
        """
        if self._runtime.runs():
            self._runtime.post(lambda: self.worker.on_retire(then, close_http=close_http))

    def release_lock(self) -> None:
        """At the end of the process: release locks that an interrupted call may hold."""
        self._ledger.release_lock()

    def exposed(self) -> int:
        """Return the number of events that would be lost if the process ended now."""
        return self._ledger.totals().pending if self.worker.backlog is None else self._ledger.exposed

    def orphan(self) -> None:
        """Drop everything in a forked child: the events belong to the parent, which delivers them."""
        self._orphaned = True
        if self.worker.backlog is not None:
            self.worker.backlog.spool.orphan()

    # -- receipts -----------------------------------------------------------------------------------------

    def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait for one event's outcome; see Receipt.wait."""
        self._refuse_on_worker("Receipt.wait")
        settled = threading.Event()
        self._ledger.watch(receipt, lambda _: settled.set())
        self._runtime.post(self.worker.flush_all)
        self._runtime.wait_for(settled, None if timeout is None else self.worker.clock() + timeout)

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]:
        """Like `wait`, for `await receipt` on the running event loop."""
        import asyncio  # noqa: PLC0415 - a client without an event loop does not load it: a tenth of what it loads

        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake(_: Receipt) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve)

        self._callbacks.watch(receipt, wake)
        self._runtime.post(self.worker.flush_all)
        yield from settled.__await__()

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None:
        """Call `watcher(receipt)` once the receipt is settled; exceptions are reported, not raised."""
        self._callbacks.watch(receipt, watcher)

    def watch_callback(self, receipt: Receipt, callback: Callback, *, first: bool = True) -> None:
        """Call `callback(err, ctx)` once the receipt is settled. `first`: no other code has the receipt yet."""
        self._callbacks.add(receipt, callback, first=first)

    # -- plugins ------------------------------------------------------------------------------------------

    def plug(self, plugin: Any) -> None:
        """Run this plugin for events recorded from now on."""
        plugins = self.worker.plugins
        self._runtime.post(lambda: plugins.change(lambda: plugins.runner.registry.add(plugin)))

    def unplug(self, name: str) -> None:
        """Stop running the plugin of this name for later events, and wait for its running hooks.

        Where that is impossible (on the worker itself, or while a hook hangs) return at once.
        """
        plugins = self.worker.plugins
        if not self._in_own_code():
            gone = threading.Event()

            def remove() -> None:
                plugins.runner.registry.remove(name)
                plugins.runner.when_quiet(name, gone.set)

            self._runtime.post(lambda: plugins.change(remove))
            self._runtime.wait_for(gone, self.worker.clock() + UNPLUG_PATIENCE)
        plugins.runner.registry.remove(name)

    def add_destination(self, destination: Destination) -> None:
        """Send copies of later events to one more destination."""
        self._runtime.post(lambda: self.worker.add_destination(destination))

    def remove_destination(self, name: str) -> None:
        """Send no copies of later events to this destination; pending ones are delivered."""
        self._runtime.post(lambda: self.worker.remove_destination(name))

    def hold(self) -> None:
        """Pause delivery while a critical plugin is being loaded, which must see the events."""
        self._runtime.post(self.worker.plugins.hold)

    def release(self) -> None:
        """Resume delivery: the critical plugin is loaded."""
        self._runtime.post(self.worker.plugins.release)

    def halt(self, error: PluginError) -> None:
        """Keep all events until `close` returns them: the critical plugin cannot be loaded."""
        self._runtime.post(lambda: self.worker.on_halt(error))

    def stats(self) -> Stats:
        """Return the current counters."""
        totals, backlog, hook = self._ledger.totals(), self.worker.backlog, self.worker.plugins.runner.running()
        engines = [channel.engine for channel in self.worker.channels]
        return Stats(
            accepted=totals.accepted,
            delivered=totals.delivered,
            failed=totals.failed,
            dropped=totals.dropped,
            pending=totals.pending,
            queue_bytes=totals.queue_bytes,
            in_flight=sum(engine.in_flight for engine in engines),
            requests=sum(engine.requests for engine in engines),
            retries=sum(engine.retries for engine in engines),
            spooled=totals.spooled,
            spool=None if backlog is None else backlog.spool.state,
            corrupt=0 if backlog is None else backlog.spool.corrupt,
            running_hook=hook and hook[0],
            running_hook_seconds=hook[1] if hook else 0.0,
            abandoned_senders=self._runtime.abandoned_senders(),
            destinations={
                channel.name: DestinationStats(**channel.copies.counts, pending=channel.copies.pending)
                for channel in list(self.worker.channels)
                if channel.copies is not None
            },
        )

    def _result(self, ticket: Ticket) -> FlushResult:
        return ticket.result() if ticket.epoch else self._undecided()

    def _undecided(self) -> FlushResult:
        """Return the result of a flush that the worker has not read yet."""
        pending = self._ledger.totals().pending
        return FlushResult(pending=pending, spooled=pending - self.exposed())

    def _in_own_code(self) -> bool:
        """Whether the caller is in a callback, listener or hook, for which delivery waits."""
        return self._runtime.in_turn() or self.worker.plugins.runner.in_hook()

    def _refuse_on_worker(self, what: str) -> None:
        if self._orphaned:
            raise MillstreamError(f"{what}: the event was recorded before the fork, and the parent process delivers it")
        if self._in_own_code():
            raise MillstreamError(
                f"{what} was called on the client's own worker (in a callback, listener or plugin), "
                "which would wait for itself: call it from another thread"
            )
