"""The worker's loop: what every driver does with the mail, whoever runs it and however it waits.

    mailbox ──▶ turn: read the mail, ask the engine, do what it says, settle what has an outcome

Events and commands share one mailbox, first in, first out: so a flush means everything submitted before it. A
SimpleQueue is the only thing that two threads touch: its `put` may be interrupted by a signal handler, or by `__del__`,
that puts as well (a lock would deadlock there), and it cannot lose a wake-up.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import cast

from .._core.actions import Done, Send, Wait
from .._core.engine import Engine, Policy
from .._core.events import KINDS
from .._core.ledger import Ledger, Ticket
from .._core.receipt import Outcome, Receipt
from .._log import Summary, label
from .._stamp import sent_at
from ..destinations.tracking_api import TrackingAPI
from ..emitter import Emitter
from ..errors import Abandoned, DeliveryError, PluginError, TransportError
from ..http import as_response
from ..types import ErrorEvent, HTTPClient, Request, Response
from .runner import Runner

__all__ = ["Command", "Mail", "Worker"]

Command = Callable[[], object]
Mail = Receipt | Command


class Worker:
    """The side of a driver that only one thread at a time may be on. Subclasses give it a thread and callers."""

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
        self._runner = Runner(emitter, self._deliver, lambda receipt, outcome: self._ledger.settle([receipt], outcome))
        self._holds = 0  # critical plugins that are being loaded, or could not be
        self._held: list[Receipt] = []  # what came meanwhile
        self._halted: PluginError | None = None
        self._deadline = 0.0  # of the close
        self._finished = False

    # -- mail ---------------------------------------------------------------------------------------

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
                    return earliest(until, self._summary.due_at())
                case Done():
                    if self._held and now < self._deadline and self._halted is None:
                        return self._deadline
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
            self._abandon(receipts)
        elif self._holds:
            self._held += receipts
        elif self._runner.timeline:
            for receipt in receipts:
                self._runner.start(receipt)
        else:
            self._engine.enqueue(receipts, self._clock())

    def _deliver(self, receipt: Receipt, data: bytes) -> None:
        """The pipeline hands an event over."""
        if data is not receipt.data:
            self._ledger.replace(receipt, data)
        self._engine.enqueue([receipt], self._clock())

    def _on_flush(self, ticket: Ticket) -> None:
        self._engine.flush()
        self._ledger.open(ticket)
        if self._halted is not None:  # nothing will come of waiting
            ticket.on_done()

    def _on_close(self, ticket: Ticket, deadline: float) -> None:
        self._deadline = deadline if self._halted is None else self._clock()
        self._engine.close(self._deadline)
        self._ledger.open(ticket)

    def _on_hold(self) -> None:
        self._holds += 1
        self._engine.pause()

    def _on_release(self) -> None:
        self._holds -= 1
        if not self._holds:
            self._engine.resume()
            held, self._held = self._held, []
            for receipt in held:
                self._runner.start(receipt)

    def _on_halt(self, error: PluginError) -> None:
        self._halted = error

    def _settle(self) -> None:
        """Pass on what the engine has decided: to the pipeline where plugins want to know first, else to the ledger."""
        for items, outcome in self._engine.settled():
            receipts = cast("list[Receipt]", items)
            if self._runner.busy:
                receipts = [r for r in receipts if not self._runner.delivered(r, outcome)]
            if receipts:
                self._ledger.settle(receipts, outcome)

    def _abandon(self, receipts: list[Receipt]) -> None:
        error = Abandoned()
        error.__cause__ = self._halted
        self._ledger.settle(receipts, Outcome(error))

    def _finish(self, now: float) -> None:
        self._finished = True
        held, self._held = self._held, []
        if held:
            self._abandon(held)
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
            error = transport_error(exc)
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
            self._summary.count(f"event {outcome.kind}: {label(outcome.error)}", len(receipts), self._clock())
            if emitter.heard("error"):
                code = "delivery_failure" if outcome.kind == "failed" else "dropped"
                for receipt in receipts:
                    emitter.emit("error", ErrorEvent(code, outcome.error, receipt.context()))
        elif any(emitter.heard(kind) for kind in KINDS):
            for receipt in receipts:
                emitter.emit(receipt.kind, receipt.context())
        if emitter.heard("drained") and self._ledger.totals().pending == 0:
            emitter.emit("drained")


def earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def transport_error(exc: Exception) -> DeliveryError:
    """What an HTTP client raised, as one of ours; without frames, which would keep the whole batch alive."""
    error = exc if isinstance(exc, DeliveryError) else TransportError(f"{type(exc).__name__}: {exc}")
    cause = exc.__cause__ if error is exc else exc
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)
