"""The plugin stage: events that wait for plugins, are with them, or wait for a critical one to load."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .._core.outcome import Outcome
from .._core.receipt import Receipt
from ..errors import PluginError
from .runner import Runner
from .transport import Command

if TYPE_CHECKING:
    from .worker import Mail, Worker

__all__ = ["PluginStage"]


class PluginStage:
    """Takes part in the worker's turns from the first plugin on, or the first event with integrations.

    Args:
        worker: the worker whose events these are.
    """

    runner: Runner
    """Runs events through the plugins."""

    def __init__(self, worker: Worker) -> None:
        self.halted: PluginError | None = None
        """Why delivery has stopped for good: a critical plugin could not be loaded."""
        self._worker = worker
        self._active = False
        self._held: deque[Mail] = deque()  # events not yet seen by plugins, and commands that wait for them
        self._handed: list[Receipt] = []  # past the plugins, and not yet in the channels
        self._holds = 0  # critical plugins that are loading, or failed to

    # -- questions ------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether plugins can handle an event now."""
        return bool(self._held) and not self._holds

    @property
    def held_up(self) -> bool:
        """Whether delivery waits for a critical plugin."""
        return self._holds > 0

    @property
    def stalled(self) -> bool:
        """Whether a new event would have to wait here."""
        return bool(self._held or self._holds) or self.halted is not None

    @property
    def busy(self) -> bool:
        """Whether an event waits for plugins, is with them, or will return to them."""
        return bool(self._held) or self.runner.busy

    @property
    def wanted(self) -> bool:
        """Whether new events go to plugins."""
        return bool(self._held) or self.runner.wanted

    # -- a turn ---------------------------------------------------------------------------------------

    def take(self, receipts: list[Receipt]) -> bool:
        """Take these events, if they or earlier ones go to plugins. False: they go to the channels."""
        if not (self._holds or self._held or self.runner.wanted):
            self.hand_over()  # earlier events first
            return False
        self._activate()
        self._held.extend(receipts)
        return True

    def run(self) -> bool:
        """Run events through the plugins, for a slice of time. Returns False: `due` says whether there are more."""
        worker = self._worker
        if self.due and not worker.finished:
            now = worker.clock()
            # A closing engine sends events as they are enqueued: longer slices make fewer requests.
            pause = worker.pace.slice
            until = min(now + 10 * pause, worker.deadline) if worker.closing else now + pause
            while self._held and worker.clock() < until:
                item = self._held.popleft()
                if isinstance(item, Receipt):
                    self.runner.start(item)
                else:
                    item()
            worker.read_mail()  # an answer that arrived during the slice must not count as missing
        self.hand_over()
        return False

    def deliver(self, receipt: Receipt, data: bytes) -> None:
        """Deliver these bytes as the event: called by the pipeline."""
        if data is not receipt.data:
            self._worker.ledger.replace(receipt, data)
            receipt._integrations = True  # a plugin may have said where it goes
        self._handed.append(receipt)

    def hand_over(self) -> None:
        """Pass the events that are past the plugins to the channels, many at a time."""
        if self._handed:
            handed, self._handed = self._handed, []
            self._worker.enqueue(handed)

    def _settled(self, receipts: list[Receipt], outcome: Outcome) -> None:
        if self.runner.busy:
            receipts = self.runner.delivered(receipts, outcome)
        if receipts:
            self._worker.end(receipts, outcome)

    def _activate(self) -> None:
        if not self._active:
            self._active = True
            worker = self._worker
            worker.steps.insert(0, self.run)
            worker.settled = self._settled
            worker.channels[0].notes_deliveries = True
            worker.after_settling.insert(0, self.runner.go_on)

    # -- commands -------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Pause delivery while a critical plugin is loading."""
        self._activate()
        self._holds += 1
        for channel in self._worker.channels:
            channel.engine.pause()

    def release(self) -> None:
        """Resume delivery, if no other plugin pauses it."""
        self._holds -= 1
        if not self._holds:
            for channel in self._worker.channels:
                channel.engine.resume()

    def change(self, command: Command) -> None:
        """Change the registry, for later events. Held events are seen by the plugin being loaded."""
        self._activate()
        if self._holds or not self._held:
            command()
        else:
            self._held.append(command)

    def when_passed(self, command: Command) -> None:
        """Run this once all events before it have passed the hooks that run before delivery."""
        if self._held:
            self._held.append(lambda: self.runner.when_passed(command))
        else:
            self.runner.when_passed(command)

    def close(self) -> tuple[list[Receipt], list[Command]]:
        """Remove and return all events here, and the commands that waited for them."""
        held, self._held = self._held, deque()
        handed, self._handed = self._handed, []
        left = handed + self.runner.abandon() + [item for item in held if isinstance(item, Receipt)]
        return left, [item for item in held if not isinstance(item, Receipt)]
