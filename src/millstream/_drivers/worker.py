"""The worker's loop: what every driver does with the mail, whoever runs it and however it waits.

    mailbox ──▶ turn: read the mail, ask the engine, do what it says, settle what has an outcome

Events and commands share one mailbox, first in, first out: so a flush means everything submitted before it. A
SimpleQueue is the only thing that two threads touch: its `put` may be interrupted by a signal handler, or by `__del__`,
that puts as well (a lock would deadlock there), and it cannot lose a wake-up.
"""

from __future__ import annotations

import random
import threading
from _thread import RLock  # threading's is another under gevent, and there a signal handler may come between its steps
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, cast

from .._core.actions import Done, Send, Wait
from .._core.engine import Engine
from .._core.events import KINDS
from .._core.ledger import Ledger, Ticket
from .._core.policy import Policy
from .._core.receipt import Home, Outcome, Receipt
from .._log import Summary, label
from ..auth import OAuth
from ..destinations.tracking_api import TrackingAPI
from ..emitter import Emitter
from ..errors import (
    Abandoned,
    PluginError,
    RateLimitExpired,
    RetriesExhausted,
)
from ..types import ErrorEvent, HTTPClient
from .baton import Baton, Relieved
from .courier import Command, Courier
from .runner import Runner

if TYPE_CHECKING:
    from ..log import Spool
    from .backlog import Backlog

__all__ = ["LINGER", "NEVER", "Mail", "Worker", "earliest"]

AFTER_A_FAULT = 1.0
"""Seconds until the worker tries again after an error of our own: it must neither die nor spin."""

UNDELIVERED = (Abandoned, RetriesExhausted, RateLimitExpired)
"""Why an event can fail that nobody has refused."""

LINGER = 0.005
"""For drivers that come back. In a burst a batch carries hundreds of events then, and not fifteen: a request costs as
much as fifty events. Next to a request's way it is nothing."""
NEVER = 1 << 62
"""More events than will ever be in a mailbox."""

Mail = Receipt | Command


class Worker(Courier):
    """The side of a driver that only one thread at a time may be on. Subclasses give it a thread and callers."""

    SLICE = 0.05
    """Seconds that plugins may take before the worker looks after its mail and the engine again."""
    LINGER = 0.0
    """Seconds that a batch which `flush_at` has made due is given to grow, where somebody comes back for it."""
    YIELDS = False
    """Whether a turn ends after a slice: its thread has other things to do."""

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
        oauth: OAuth | None = None,
        spool: Spool | None = None,
        spool_max_age: float = 0.0,
    ) -> None:
        engine = Engine(replace(policy, linger=self.LINGER), random.random)
        super().__init__(destination, engine, make_client, emitter, oauth)
        self._summary = summary
        self._mailbox: SimpleQueue[Mail] = SimpleQueue()
        self._rouse_at = 0  # so many events in the mailbox are worth a turn
        forget = None if spool is None else self._forget
        self._ledger = Ledger(RLock(), self._announce, max_events, max_bytes, forget)
        self._backlog = None if spool is None else self._open_backlog(spool, spool_max_age)
        self._sync_told = False  # whether the worker knows that the spool is to be forced to disk
        self._baton = Baton()
        self._runner = Runner(emitter, self._deliver, self._end, self._baton)
        self._handed: list[Receipt] = []  # out of the plugins, and not yet in the queue
        self._holds = 0  # critical plugins that are being loaded, or could not be
        self._held: deque[Mail] = deque()  # events that plugins have not seen yet, and commands that must wait for them
        self._halted: PluginError | None = None
        self._over = threading.Event()  # finished, and all has been let go of

    # -- mail ---------------------------------------------------------------------------------------

    def _turn(self) -> float | None:
        """Do all there is to do now. Returns when time alone will bring more."""
        try:
            with self._baton:
                return self._work()
        except Relieved:
            return None

    def _work(self) -> float | None:
        while True:
            self._read_mail()
            self._walk()
            more = self._read_back()
            self._see_to_token()
            self._enqueue_handed()
            now = self._clock()
            action = self._engine.next_action(now)
            self._settle()
            more = more or (bool(self._held) and not self._holds)
            match action:
                case Send():
                    self._admit(action)
                case Wait(until):
                    if not more and self._mailbox.empty():
                        self._summary.tick(now)
                        return earliest(until, self._summary.due_at(), self._token_due_at(), self._sync_due_at(now))
                case Done():
                    if (self._held or self._runner.busy or self._backlog) and self._may_go_on(now):
                        if not more and (self._holds or not self._backlog):
                            return self._deadline
                    elif self._close_down(now):
                        return None
            if more and self.YIELDS:
                return now

    def _guarded_turn(self) -> float | None:
        try:
            return self._turn()
        except Exception as exc:  # noqa: BLE001 - ours: it is reported, and the events are still there
            self._emitter.fault("internal", exc)
            return self._clock() + AFTER_A_FAULT

    def _enough(self) -> int:
        """How many events in the mailbox are worth a turn: fewer would only be put in the queue behind others.

        A worker that is woken for each event takes its time from the callers: at one call a millisecond three times as
        much as the call itself, and with a spool, whose write lets go of the interpreter, with every call.
        """
        if self._held or self._runner.wanted or self._finished:
            return 1
        missing = self._engine.missing(self._clock())
        return NEVER if missing is None else missing

    def _read_mail(self) -> None:
        fresh: list[Receipt] = []
        get = self._mailbox.get_nowait
        try:
            while True:
                item = get()
                if isinstance(item, Receipt):
                    fresh.append(item)
                else:
                    self._enter(fresh)
                    fresh = []
                    item()
        except Empty:
            self._enter(fresh)

    def _enter(self, receipts: list[Receipt]) -> None:
        if not receipts:
            return
        self._ledger.enter(receipts)
        if self._finished:  # the call and the close crossed each other
            self._abandon(receipts)
        else:
            self._route(receipts)

    def _route(self, receipts: list[Receipt]) -> None:
        """To the plugins first, or to the engine."""
        if self._holds or self._held or self._runner.wanted or _some_go_elsewhere(receipts):
            self._held.extend(receipts)
        else:
            self._enqueue_handed()  # they came before
            self._engine.enqueue(receipts, self._clock())

    def _read_back(self) -> bool:
        """Bring into memory what is on disk alone, as far as the engine can do with more.

        Returns whether there is more of what dead processes have left to be looked at.
        """
        backlog = self._backlog
        if backlog is None or self._finished:
            return False
        until = self._clock() + self.SLICE
        more = backlog.adopt(lambda: self._clock() >= until)
        engine = self._engine
        while backlog.readable and engine.hungry and not (self._held or self._holds or self._halted or engine.at_rest):
            self._route(backlog.read())
            self._hurry()  # it has waited long enough
        return more

    def _open_backlog(self, spool: Spool, max_age: float) -> Backlog:
        from .backlog import Backlog  # noqa: PLC0415 - who has no spool does not load it

        return Backlog(spool, self._ledger, cast("Home", self), max_age)  # every driver is one

    def _sync_due_at(self, now: float) -> float | None:
        """When the spool is to be forced to disk again; if that is now, it is done."""
        if self._backlog is None:
            return None
        due = self._backlog.spool.due_at()
        if due is not None and due <= now:
            self._sync_told = False
            self._sync(self._backlog.spool)
            return None
        return due

    def _sync(self, spool: Spool) -> None:
        """Force the spool to disk."""
        spool.sync_now()

    def _may_go_on(self, now: float) -> bool:
        """Whether a close has time left, and something comes of it."""
        return now < self._deadline and self._halted is None

    def _walk(self) -> None:
        """Take events through the plugins, for a moment."""
        if self._holds or not self._held or self._finished:
            return
        now = self._clock()
        # What enters a closing engine leaves at once: longer slices make fewer requests.
        until = min(now + 10 * self.SLICE, self._deadline) if self._closing else now + self.SLICE
        while self._held and self._clock() < until:
            item = self._held.popleft()
            if isinstance(item, Receipt):
                self._runner.start(item)
            else:
                item()
        self._read_mail()  # an answer that came meanwhile must not be taken for one that never came

    def _after_held(self, command: Command) -> None:
        """Do this when the plugins have seen all events that came before it."""
        if self._held:
            self._held.append(command)
        else:
            command()

    def _deliver(self, receipt: Receipt, data: bytes) -> None:
        """The pipeline hands an event over."""
        if data is not receipt.data:
            self._ledger.replace(receipt, data)
        self._handed.append(receipt)

    def _enqueue_handed(self) -> None:
        """What the pipeline has handed over goes into the queue: many at a time, and before anybody asks for all."""
        if self._handed:
            handed, self._handed = self._handed, []
            self._engine.enqueue(handed, self._clock())

    def _flush(self) -> None:
        self._enqueue_handed()
        self._engine.flush()

    def _hurry(self) -> None:
        """Somebody waits for what has come: all of it is due now."""
        self._flush()
        if self._held:
            self._held.append(self._flush)

    def _on_flush(self, ticket: Ticket) -> None:
        self._adopt_all()
        self._hurry()
        self._ledger.open(ticket)
        if self._halted is not None:  # nothing will come of waiting
            ticket.on_done()

    def _on_close(self, ticket: Ticket, deadline: float) -> None:
        self._closing = True
        self._deadline = deadline if self._halted is None else self._clock()
        self._adopt_all()
        self._engine.close(self._deadline)
        self._ledger.open(ticket)

    def _adopt_all(self) -> None:
        """Somebody waits for all that was there before him, what dead processes have left included."""
        if self._backlog is not None:
            self._backlog.adopt(lambda: self._closing and self._clock() >= self._deadline)

    def _on_hold(self) -> None:
        self._holds += 1
        self._engine.pause()

    def _on_release(self) -> None:
        self._holds -= 1
        if not self._holds:
            self._engine.resume()

    def _on_halt(self, error: PluginError) -> None:
        """Whoever waits for an outcome waits in vain; whoever closes has waited long enough."""
        self._halted = error
        if self._closing:
            self._deadline = self._clock()
            self._engine.close(self._deadline)
        else:
            self._ledger.give_up()

    def _change(self, command: Command) -> None:
        """Change the timeline, for the events that come after this. What is held has to be seen by what is loaded."""
        if self._holds:
            command()
        else:
            self._after_held(command)

    def _settle(self) -> None:
        """Pass on what the engine has decided: to the pipeline where plugins want to know first, else to the ledger."""
        if self._backlog is not None:
            self._see_to_rest(self._backlog)
        for items, outcome in self._engine.settled():
            receipts = cast("list[Receipt]", items)
            if self._runner.busy:
                receipts = self._runner.delivered(receipts, outcome)
            if receipts:
                self._end(receipts, outcome if self._halted is None else self._because_halted(outcome))
        self._runner.go_on()
        if self._backlog is not None and self._engine.at_rest:  # nobody is to wait for that
            self._ledger.give_up()

    def _because_halted(self, outcome: Outcome) -> Outcome:
        return self._abandoned() if isinstance(outcome.error, Abandoned) else outcome

    def _end(self, receipts: list[Receipt], outcome: Outcome) -> None:
        """These have their outcome; but at the end of the client, what is in the spool may still have a future."""
        if self._backlog is not None and self._closing and isinstance(outcome.error, UNDELIVERED):
            kept, receipts = self._backlog.part(receipts)
            if kept:
                error = Abandoned(spooled=True)
                error.__cause__ = outcome.error
                self._ledger.settle(kept, Outcome(error, outcome.attempts))
                if not self._ledger.exposed:  # all are safe: the next start may find a better host
                    self._deadline = self._clock()
                    self._engine.close(self._deadline)
        if receipts:
            self._ledger.settle(receipts, outcome)

    def _see_to_rest(self, backlog: Backlog) -> None:
        """Batches whose retries are exhausted rest, unless they have been kept for long enough."""
        for batch, error in self._engine.rested():
            if backlog.too_old(cast("list[Receipt]", batch.items)):
                self._engine.fail(batch, error)

    def _forget(self, receipts: Sequence[Receipt]) -> None:
        """The spool need not hold these any longer."""
        if self._backlog is not None:
            self._backlog.forget(receipts)

    def _abandon(self, receipts: list[Receipt]) -> None:
        self._end(receipts, self._abandoned())

    def _abandoned(self) -> Outcome:
        error = Abandoned()
        error.__cause__ = self._halted
        return Outcome(error)

    def _close_down(self, now: float) -> bool:
        """Everything has its outcome. Returns whether nobody wants anything more."""
        if not self._finished:
            self._finish(now)
        return self._mailbox.empty()

    def _finish(self, now: float) -> None:
        self._finished = True
        held, self._held = self._held, deque()
        handed, self._handed = self._handed, []
        left = handed + self._runner.relieve() + [item for item in held if isinstance(item, Receipt)]
        if left:
            self._abandon(left)
        for item in held:
            if not isinstance(item, Receipt):
                item()
        if self._backlog is not None:
            self._backlog.close()
        self._summary.tick(now, last=True)
        self._hang_up()
        self._over.set()

    def _take_over(self, ticket: Ticket, patience: float) -> None:
        """Close in the place of a worker that is in a hook and does not come back; in vain if it hangs elsewhere."""
        if not self._baton.take(patience):
            return
        try:
            self._holds += 1  # no hook runs from here on
            self._read_mail()
            if not ticket.epoch:  # the worker has our command in hand
                self._on_close(ticket, self._clock())
            left = self._runner.relieve()
            if left:
                self._abandon(left)
            self._work()
        finally:
            self._baton.__exit__()

    # -- telling --------------------------------------------------------------------------------------

    def _announce(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Tell the listeners, and count for the log, what has got an outcome."""
        emitter = self._emitter
        if outcome.kind == "kept":
            self._summary.count("event kept in the spool for the next start", len(receipts), self._clock())
        elif outcome.error is not None:
            self._summary.count(f"event {outcome.kind}: {label(outcome.error)}", len(receipts), self._clock())
            if emitter.heard("error"):
                code = "delivery_failure" if outcome.kind == "failed" else "dropped"
                for receipt in receipts:
                    emitter.emit("error", ErrorEvent(code, outcome.error, receipt.context()))
        elif emitter.silent:
            return
        elif any(emitter.heard(kind) for kind in KINDS):
            for receipt in receipts:
                emitter.emit(receipt.kind, receipt.context())
        if emitter.heard("drained") and self._ledger.totals().pending == 0:
            emitter.emit("drained")


def earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _some_go_elsewhere(receipts: list[Receipt]) -> bool:
    return any([r._elsewhere for r in receipts])  # noqa: C419, SLF001 - for every event: a generator takes twice as long
