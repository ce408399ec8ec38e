"""The loop that every driver runs, in the calling thread.

    submit ──▶ mailbox ──▶ turn: read the mail, ask the engine, do what it says, settle what has an outcome

Events and commands share one mailbox, first in, first out: so a flush means everything submitted before it. A
SimpleQueue is the only thing that two threads touch: its `put` may be interrupted by a signal handler, or by `__del__`,
that puts as well (a lock would deadlock there), and it cannot lose a wake-up.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, cast

from .._core.actions import Done, Send, Wait
from .._core.engine import Engine, Policy
from .._core.events import KINDS
from .._core.ledger import Ledger, Ticket
from .._core.receipt import Outcome, Receipt
from .._log import Summary
from .._stamp import sent_at
from ..destinations.tracking_api import TrackingAPI
from ..emitter import Emitter
from ..errors import Abandoned, DeliveryError, PenstockError, QueueFull, TransportError
from ..http import as_response
from ..types import Callback, ErrorEvent, FlushResult, HTTPClient, Request, Response, Stats

__all__ = ["InlineDriver"]

Command = Callable[[], object]
Mail = Receipt | Command
CLOSE_GRACE = 0.5
"""Seconds beyond its deadline that `close` gives the worker to hand back what is left."""


class InlineDriver:
    """Delivers in whatever thread calls: at a call that makes a batch due, at `flush`, `close` and `Receipt.wait`.

    Used where there can be no thread. `submit` then takes as long as the network does.
    """

    def __init__(
        self,
        *,
        destination: TrackingAPI,
        policy: Policy,
        make_client: Callable[[], HTTPClient],
        emitter: Emitter,
        summary: Summary,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self._destination = destination
        self._make_client = make_client
        self._client: HTTPClient | None = None
        self._emitter = emitter
        self._summary = summary
        self._clock = time.monotonic
        self._mailbox: SimpleQueue[Mail] = SimpleQueue()
        self._engine = Engine(policy, random.random)
        self._ledger = Ledger(threading.RLock(), self._announce, max_events, max_bytes)
        self._pumping = threading.Lock()
        self._worker: int | None = None  # the thread that is in the loop
        self._finished = False
        self._orphaned = False
        self._afterwards: list[threading.Thread] = []  # what callbacks returned to be awaited

    # -- the callers' side --------------------------------------------------------------------------

    def accept(self, receipt: Receipt) -> None:
        """Count an event in and put it on its way, if there is room; else it is dropped."""
        full = self._ledger.accept(receipt)
        if full is None:
            self.submit(receipt)
        else:
            self._ledger.settle([receipt], Outcome(QueueFull(full)))

    def refuse(self, receipt: Receipt, error: DeliveryError) -> None:
        """Count an event in, and settle it at once: it cannot be sent."""
        self._ledger.accept(receipt)
        self._ledger.settle([receipt], Outcome(error))

    def reject(self, receipt: Receipt, error: DeliveryError) -> None:
        """Settle an event that was never accepted."""
        self._ledger.reject(receipt, Outcome(error))

    def has_room(self) -> bool:
        """Whether the queue has room for one more event."""
        return self._ledger.has_room()

    def wait_for_room(self) -> None:
        """Wait until there is room, or until the client is closed.

        Looks again every few milliseconds: a condition variable would deadlock when a signal handler calls in here.
        """
        while not self._ledger.has_room() and not self._finished and self._worker != threading.get_ident():
            self._nudge()
            time.sleep(0.005)

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event."""
        self._mailbox.put(receipt)
        self._nudge()

    def flush(self, timeout: float) -> FlushResult:
        """Send everything submitted before now, and wait for its outcome, `timeout` seconds at most."""
        return self._wait_for_ticket("flush", timeout, self._on_flush)

    def close(self, timeout: float) -> FlushResult:
        """The same, and then stop. What has no outcome at the deadline is given up, and returned."""
        deadline = self._clock() + timeout
        result = self._wait_for_ticket(
            "close_and_flush", timeout, lambda ticket: self._on_close(ticket, deadline), grace=CLOSE_GRACE
        )
        for thread in self._afterwards:
            thread.join(max(0.0, deadline - self._clock()))
        return result

    def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait for one event's outcome; see Receipt.wait."""
        self._refuse_on_worker("Receipt.wait")
        settled = threading.Event()
        self._ledger.watch(receipt, lambda _: settled.set())
        self._tell(self._engine.flush)
        self._block(settled, None if timeout is None else self._clock() + timeout)

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]:
        """The same for `await receipt`, on the running event loop."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake(_: Receipt) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve)

        self._ledger.watch(receipt, self._guarded(wake))
        self._tell(self._engine.flush)
        yield from settled.__await__()

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None:
        """Call `watcher(receipt)` when the receipt has its outcome; what it raises is reported, not raised."""
        self._ledger.watch(receipt, self._guarded(watcher))

    def watch_callback(self, receipt: Receipt, callback: Callback) -> None:
        """Call `callback(err, ctx)` when the receipt has its outcome, and see to an awaitable that it returns."""

        def settled(receipt: Receipt) -> None:
            outcome = cast("Outcome", receipt.outcome)
            returned = callback(outcome.error, receipt.context())
            if inspect.isawaitable(returned):
                self._see_to(returned)

        self._ledger.watch(receipt, self._guarded(settled))

    def orphan(self) -> None:
        """This process is a forked child: what is in here belongs to the parent, who delivers it."""
        self._orphaned = True

    def stats(self) -> Stats:
        """The counters, as of now."""
        totals, engine = self._ledger.totals(), self._engine
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
        )

    def _wait_for_ticket(
        self, what: str, timeout: float, command: Callable[[Ticket], object], grace: float = 0.0
    ) -> FlushResult:
        self._refuse_on_worker(what)
        done = threading.Event()
        ticket = Ticket(done.set)
        deadline = self._clock() + timeout + grace
        self._tell(lambda: command(ticket))
        self._block(done, deadline)
        if not ticket.epoch:  # the worker has not even come to read it
            return FlushResult(pending=self._ledger.totals().pending)
        return ticket.result()

    def _refuse_on_worker(self, what: str) -> None:
        if self._orphaned:
            raise PenstockError(
                f"{what}: the event was recorded before the fork, and is the parent process's to deliver"
            )
        if self._worker == threading.get_ident():
            raise PenstockError(
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
                    until = _earliest(self._pump(), deadline)
                finally:
                    self._pumping.release()
            pause = 0.05 if until is None else until - self._clock()
            event.wait(min(max(pause, 0.0), 0.05))

    # -- the worker's side --------------------------------------------------------------------------

    def _pump(self) -> float | None:
        """One turn in this thread. Returns when the next is due."""
        self._worker = threading.get_ident()
        try:
            return self._turn()
        finally:
            self._worker = None

    def _turn(self, mail: Mail | None = None) -> float | None:
        """Do all there is to do now. Returns when time alone will bring more.

        `mail` is what was taken from the mailbox already.
        """
        while True:
            self._read_mail(mail)
            mail = None
            now = self._clock()
            action = self._engine.next_action(now)
            self._settle()
            match action:
                case Send():
                    self._send(action)
                case Wait(until):
                    if not self._mailbox.empty():
                        continue
                    self._summary.tick(now)
                    return _earliest(until, self._summary.due_at())
                case Done():
                    if not self._finished:
                        self._finish(now)
                    if self._mailbox.empty():
                        return None

    def _read_mail(self, item: Mail | None) -> None:
        fresh: list[Receipt] = []
        get = self._mailbox.get_nowait
        try:
            while True:
                if isinstance(item, Receipt):
                    fresh.append(item)
                elif item is not None:
                    self._enter(fresh)
                    fresh = []
                    item()
                item = get()
        except Empty:
            self._enter(fresh)

    def _enter(self, receipts: list[Receipt]) -> None:
        if not receipts:
            return
        self._ledger.enter(receipts)
        if self._finished:  # the call and the close crossed each other
            self._ledger.settle(receipts, Outcome(Abandoned()))
        else:
            self._engine.enqueue(receipts, self._clock())

    def _on_flush(self, ticket: Ticket) -> None:
        self._engine.flush()
        self._ledger.open(ticket)

    def _on_close(self, ticket: Ticket, deadline: float) -> None:
        self._engine.close(deadline)
        self._ledger.open(ticket)

    def _settle(self) -> None:
        for items, outcome in self._engine.settled():
            self._ledger.settle(cast("list[Receipt]", items), outcome)

    def _finish(self, now: float) -> None:
        self._finished = True
        self._summary.tick(now, last=True)
        if self._client is not None:
            self._client.close()

    # -- sending ------------------------------------------------------------------------------------

    def _send(self, send: Send) -> None:
        """Send a batch, and report."""
        self._exchange(send, self._request(send), self._http())()

    def _request(self, send: Send) -> Request:
        request = self._destination.request(send.batch.items, send.attempt, sent_at())
        self._emitter.emit("http_request", request)
        return request

    def _exchange(self, send: Send, request: Request, client: HTTPClient) -> Command:
        """Exchange a request for an answer, in any thread, and make of it a report for the worker."""
        try:
            response = as_response(client.send(request))
        except Exception as exc:  # noqa: BLE001 - an HTTP client may raise anything
            error = _transport_error(exc)
            return lambda: self._engine.failed(send, error, self._clock())
        return lambda: self._on_response(send, request, response)

    def _on_response(self, send: Send, request: Request, response: Response) -> None:
        self._engine.responded(send, self._destination.judge(response, time.time()), self._clock())
        self._emitter.emit("http_response", request, response)

    def _http(self) -> HTTPClient:
        if self._client is None:
            self._client = self._make_client()
        return self._client

    # -- telling --------------------------------------------------------------------------------------

    def _announce(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Tell the listeners, and count for the log, what has got an outcome."""
        emitter = self._emitter
        if outcome.error is not None:
            self._summary.count(f"{outcome.kind}: {outcome.error}", len(receipts), self._clock())
            if emitter.heard("error"):
                code = "delivery_failure" if outcome.kind == "failed" else "dropped"
                for receipt in receipts:
                    emitter.emit("error", ErrorEvent(code, outcome.error, receipt.context()))
        elif any(emitter.heard(kind) for kind in KINDS):
            for receipt in receipts:
                emitter.emit(receipt.kind, receipt.context())
        if emitter.heard("drained") and self._ledger.totals().pending == 0:
            emitter.emit("drained")

    def _guarded(self, fn: Callable[[Receipt], object]) -> Callable[[Receipt], object]:
        def guarded(receipt: Receipt) -> None:
            try:
                fn(receipt)
            except Exception as exc:  # noqa: BLE001 - it is the user's code
                self._emitter.fault("callback", exc)

        return guarded

    def _see_to(self, awaitable: Awaitable[object]) -> None:
        """Run what a callback returned, where it holds up nothing; `close` waits for it."""

        async def run() -> None:
            await awaitable

        def target() -> None:
            try:
                asyncio.run(run())
            except Exception as exc:  # noqa: BLE001 - it is the user's code
                self._emitter.fault("callback", exc)

        self._afterwards = [thread for thread in self._afterwards if thread.is_alive()]
        thread = threading.Thread(target=target, name="penstock-callback", daemon=True)
        self._afterwards.append(thread)
        thread.start()


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _transport_error(exc: Exception) -> DeliveryError:
    """What an HTTP client raised, as one of ours; without frames, which would keep the whole batch alive."""
    error = exc if isinstance(exc, DeliveryError) else TransportError(f"{type(exc).__name__}: {exc}")
    cause = exc.__cause__ if error is exc else exc
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)
