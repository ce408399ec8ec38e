"""The worker: takes events from the mailbox through plugins and channels to their outcome, one turn at a time.

    mailbox ──▶ plugins ──▶ channels: engine, request, answer ──▶ ledger: the outcome

A turn does all work that is due. A runtime runs turns on a thread of its choice, and waits between them. Events and
commands share one mailbox, first in, first out: a flush covers everything submitted before it. A SimpleQueue is the
only object that two threads touch: its `put` may be interrupted by a signal handler, or by `__del__`, that puts as well
(a lock would deadlock there), and it loses no wake-up.
"""

from __future__ import annotations

import threading
from _thread import RLock  # gevent replaces threading's by one that signal handlers can interrupt
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from .._clock import monotonic
from .._core.context import ErrorEvent
from .._core.delivery.actions import Done, Send, Wait
from .._core.events.encode import head
from .._core.ledger import COUNTED, COUNTED_ON_DISK, Ledger
from .._core.outcome import Outcome
from .._core.receipt import Receipt
from .._core.ticket import Ticket
from .._logging import Summary, debug, is_debug, plural
from .._remedies import advice, label
from ..destinations import Destination
from ..emitter import Emitter
from ..errors import Abandoned, Dropped, PluginError
from ..spec import TYPES
from .channel import Channel
from .plugin_stage import PluginStage
from .transport import Command
from .worker_lock import Superseded, WorkerLock

if TYPE_CHECKING:
    from .backlog import Backlog

__all__ = ["NEVER", "Mail", "Pace", "Worker", "earliest"]

AFTER_A_FAULT = 1.0
"""Seconds until the worker retries after an internal error: it must neither die nor spin."""

UNHURRIED = 86_400.0
"""Seconds that retiring may take: longer than any retry rule lets an event wait."""

NEVER = 1 << 62
"""More events than any mailbox holds."""

Mail = Receipt | Command


class Pace(Protocol):
    """The time limits of a runtime for turns."""

    slice: float
    """Seconds that plugins may take before the worker reads its mail and drives the channels again."""
    yields: bool
    """Whether a turn ends after a slice, because its thread has other work."""


class Worker:
    """State that only the thread that runs a turn may touch.

    Args:
        pace: the runtime's.
        emitter: reports outcomes.
        summary: counts outcomes for the log.
        max_events: pending events in memory, at most.
        max_bytes: their bytes, at most.
        spooled: whether events are on disk, too.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        emitter: Emitter,
        summary: Summary,
        max_events: int,
        max_bytes: int,
        spooled: bool,
    ) -> None:
        self.pace = pace
        self.clock = monotonic
        self.mailbox: SimpleQueue[Mail] = SimpleQueue()
        self.ledger = Ledger(RLock(), self._announce, max_events, max_bytes, self._forget if spooled else None)
        self.lock = WorkerLock()
        self.channels: list[Channel] = []
        self.open_channel: Callable[[Destination], Channel]
        self.choosing = False
        """Whether each event is asked where it goes: there are further channels, or events that some have had."""
        self.backlog: Backlog | None = None
        self.closing = False
        self.deadline = 0.0
        """The deadline of a close: events unsettled then are abandoned."""
        self.finished = False
        self.over = threading.Event()
        """Set when the worker has stopped, and released everything."""
        self._closes_http = True  # whether the end closes the HTTP clients
        self._emitter = emitter
        self._summary = summary
        # Optional parts join these lists; parts that are off cost a turn nothing.
        self.steps: list[Callable[[], bool]] = []
        """The steps of a turn before the channels; each returns whether it has more to do now."""
        self.settled: Callable[[list[Receipt], Outcome], object] = self.end
        """Receives events whose delivery is settled: plugins may run first."""
        self.after_settling: list[Callable[[], object]] = []
        self.plugins = PluginStage(self)

    # -- a turn ---------------------------------------------------------------------------------------

    def turn(self) -> float | None:
        """Do all work that is due. Return when the next work is due; None: not without an event or command."""
        try:
            with self.lock:
                return self._work()
        except Superseded:
            return None

    def guarded_turn(self) -> float | None:
        """Run a turn, and survive an internal error: it is reported, and no event is lost."""
        try:
            return self.turn()
        except Exception as exc:  # noqa: BLE001
            self._emitter.fault("internal", exc)
            return self.clock() + AFTER_A_FAULT

    def _work(self) -> float | None:
        while True:
            self.read_mail()
            more = False
            for step in self.steps:
                more = step() or more
            now = self.clock()
            sent, moments = self._drive_channels(now)
            more = more or self.plugins.due or (self.backlog is not None and self.backlog.due)
            if moments:
                if not (sent or more) and self.mailbox.empty():
                    self._summary.tick(now)
                    on_disk = None if self.backlog is None else self.backlog.due_at(now)
                    return earliest(*moments, self._summary.due_at(), on_disk)
            elif not sent:
                if not self._goes_on(now):
                    self._finish(now)
                    if self.mailbox.empty():
                        return None
                elif not more and (self.plugins.held_up or not self.backlog):
                    return self.deadline
            if more and self.pace.yields:
                return now

    def _drive_channels(self, now: float) -> tuple[bool, list[float | None]]:
        """Settle events, and send what is due.

        Return whether anything was sent, and when each channel with pending work is due again.
        """
        actions = [channel.next_action(now) for channel in self.channels]
        self._settle()
        sent = False
        moments: list[float | None] = []
        for channel, action in zip(self.channels, actions, strict=True):
            match action:
                case Send():
                    channel.send(action)
                    sent = True
                case Wait(until):
                    moments += (until, channel.due_at())
                case Done():
                    pass
        return sent, moments

    def _goes_on(self, now: float) -> bool:
        """Whether a close without pending work in its channels still has to, and can, wait."""
        unfinished = self.plugins.busy or bool(self.backlog)
        return unfinished and now < self.deadline and self.plugins.halted is None

    def read_mail(self) -> None:
        """Take in all events, and run all commands, in the mailbox."""
        fresh: list[Receipt] = []
        get = self.mailbox.get_nowait
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
        self.ledger.enter(receipts)
        if self.finished:  # the call and the close were concurrent
            self.abandon(receipts)
        else:
            self.route(receipts)

    def complete_call(self, receipt: Receipt) -> None:
        """Complete a call that was interrupted after its event was counted, or written to the spool."""
        if receipt.outcome is not None or receipt._epoch > 0:
            return
        if receipt._epoch == COUNTED:
            self._enter([receipt])
        elif self.backlog is not None and receipt._place is not None:
            if receipt._epoch != COUNTED_ON_DISK:
                self.ledger.accept_on_disk(receipt)
            self.backlog.later(receipt)()

    def route(self, receipts: list[Receipt]) -> None:
        """Pass events to the plugins that want them, else to the channels."""
        if not self.plugins.take(receipts):
            self.enqueue(receipts)

    def enqueue(self, receipts: list[Receipt]) -> None:
        """Hand events to the channels that their integrations allow."""
        if self.choosing or any([r._integrations for r in receipts]):  # noqa: C419 - a generator takes twice as long
            receipts = [receipt for receipt in receipts if self._goes_to_first(receipt)]
        if receipts:
            self.channels[0].engine.enqueue(receipts, self.clock())

    def _goes_to_first(self, receipt: Receipt) -> bool:
        """Copy an event to the other channels. Return whether it goes to the first."""
        integrations = head(receipt.data).integrations if receipt._integrations else {}
        channels = [channel for channel in self.channels if channel.takes(integrations)]
        if not channels:
            self.settled([receipt], Outcome(Dropped("its integrations allow none of the destinations")))
        elif self.backlog is not None and (settled := self.backlog.settled_by(receipt)):
            channels = [channel for channel in channels if channel.name not in settled]
            if not channels:
                self.settled([receipt], Outcome(Dropped("every destination has had it already")))
        first, now = self.channels[0], self.clock()
        for channel in channels:
            if channel is not first:
                channel.copy(receipt, now, decides=channel is channels[0], settled=self.settled)
        return bool(channels) and channels[0] is first

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        """Return whether any channel takes an event with these integrations."""
        return any(channel.takes(integrations) for channel in self.channels)

    def add_destination(self, destination: Destination) -> None:
        """Send copies of later events to one more destination."""
        channel = self.open_channel(destination)
        self.choosing = self.channels[0].notes_deliveries = True
        self.channels.append(channel)
        if self.plugins.held_up:
            channel.engine.pause()
        if self.closing:
            channel.close_by(self.deadline)

    def remove_destination(self, name: str) -> None:
        """Send no copies of later events to this destination."""
        for channel in self.channels[1:]:
            if channel.name == name:
                channel.open = False

    def enough(self) -> int:
        """Return the number of events in the mailbox that is worth a turn: fewer would only be queued behind others.

        A worker that is woken for each event takes its time from the callers (docs/decisions/0021).
        """
        if self.finished or self.plugins.wanted:
            return 1
        now = self.clock()
        missing = [channel.engine.missing(now) for channel in self.channels]
        return min((n for n in missing if n is not None), default=NEVER)

    # -- commands -------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make due the events that are past the plugins."""
        self.plugins.hand_over()
        for channel in self.channels:
            channel.engine.flush()

    def flush_all(self) -> None:
        """Make all events due: a caller waits for them."""
        self.flush()
        self.plugins.when_passed(self.flush)

    def on_flush(self, ticket: Ticket) -> None:
        """Make all events due, and complete the ticket when all are settled."""
        if self.backlog is not None:
            self.backlog.adopt_all()
        self.flush_all()
        self.ledger.open(ticket)
        if self.plugins.halted is not None:  # no outcomes will follow
            ticket.on_done()

    def on_end(self, deadline: float) -> None:
        """Make all events due, and end all requests by the end of the process."""
        for channel in self.channels:
            channel.limit_requests(deadline)
        self.flush_all()

    def on_retire(self, then: Command, *, close_http: bool) -> None:
        """Stop once all events are settled, by the rules for retries alone."""
        if not self.closing:
            self._closes_http = close_http
            self.on_close(Ticket(then), self.clock() + UNHURRIED)

    def on_close(self, ticket: Ticket, deadline: float) -> None:
        """Deliver until `deadline`, then abandon the rest."""
        self.closing = True
        self.deadline = deadline if self.plugins.halted is None else self.clock()
        if self.backlog is not None:
            self.backlog.adopt_all()
        self._close_channels()
        self.ledger.open(ticket)

    def on_halt(self, error: PluginError) -> None:
        """Deliver nothing more: a critical plugin cannot be loaded.

        Completes pending flushes now, and moves the deadline of a close to now.
        """
        self.plugins.halted = error
        if self.closing:
            self.close_now()
        else:
            self.ledger.complete_flushes()

    def close_now(self) -> None:
        """Move the close deadline to now."""
        self.deadline = self.clock()
        self._close_channels()

    def _close_channels(self) -> None:
        for channel in self.channels:
            channel.close_by(self.deadline)

    def take_over(self, ticket: Ticket, patience: float) -> None:
        """Close on the calling thread, if the worker's does not return from a hook within `patience` seconds."""
        if not self.lock.take_over(patience):
            return
        try:
            self.plugins.hold()  # no hook runs from here on
            self.read_mail()
            if not ticket.epoch:  # the worker has taken the command
                self.on_close(ticket, self.clock())
            left = self.plugins.runner.abandon()
            if left:
                self.abandon(left)
            self._work()
        finally:
            self.lock.release()

    # -- outcomes -------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Pass on the events that the engines have settled."""
        for channel in self.channels:
            channel.settle(self.settled)
        for do in self.after_settling:
            do()

    def end(self, receipts: list[Receipt], outcome: Outcome) -> None:
        """Settle these events."""
        if isinstance(outcome.error, Abandoned) and self.plugins.halted is not None:
            outcome = self._abandoned()
        if self.closing and self.backlog is not None:
            receipts = self.backlog.keep_undelivered(receipts, outcome)
        if receipts:
            self.ledger.settle(receipts, outcome)

    def abandon(self, receipts: list[Receipt]) -> None:
        """Settle events that the client can no longer deliver."""
        self.end(receipts, self._abandoned())

    def _abandoned(self) -> Outcome:
        error = Abandoned()
        error.__cause__ = self.plugins.halted
        return Outcome(error)

    def _forget(self, receipts: Sequence[Receipt]) -> None:
        """Remove settled events from the spool."""
        if self.backlog is not None:
            self.backlog.forget(receipts)

    def _finish(self, now: float) -> None:
        """Abandon pending events, and release everything."""
        if self.finished:
            return
        self.finished = True
        left, commands = self.plugins.close()
        if left:
            self.abandon(left)
        for command in commands:
            command()
        if self.backlog is not None:
            self.backlog.close()
        self._summary.tick(now, last=True)
        if self._closes_http:
            for channel in self.channels:
                channel.close()
        self.over.set()

    def _announce(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Report settled events to listeners, and count them for the log."""
        emitter = self._emitter
        if is_debug():
            many, times = len(receipts), outcome.attempts
            debug(f"{plural(many, 'event')} {outcome.kind} after {plural(times, 'attempt')}")
        if outcome.kind == "kept":
            self._summary.count("event", "kept in the spool for the next start", len(receipts), self.clock())
        elif outcome.error is not None:
            where = outcome.host and f" at {outcome.host}"
            said = f"{outcome.kind}{where}: {label(outcome.error)}{advice(outcome.error)}"
            self._summary.count("event", said, len(receipts), self.clock())
            if emitter.heard("error"):
                code = "delivery_failure" if outcome.kind == "failed" else "dropped"
                for receipt in receipts:
                    emitter.emit("error", ErrorEvent(code, outcome.error, receipt.context()))
        elif emitter.silent:
            return
        elif any(emitter.heard(kind) for kind in TYPES):
            for receipt in receipts:
                emitter.emit(receipt.kind, receipt.context())
        if emitter.heard("drained") and self.ledger.totals().pending == 0:
            emitter.emit("drained")


def earliest(*moments: float | None) -> float | None:
    """Return the earliest of these times that is not None."""
    return min((moment for moment in moments if moment is not None), default=None)
