"""The plugin stage: events that plugins have yet to see, that are with them, and that a critical one holds up."""

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
    """Takes part in the worker's turns from the first plugin on, or the first event that has integrations.

    Args:
        worker: whose events these are.
    """

    runner: Runner
    """Takes an event through its plugins."""

    def __init__(self, worker: Worker) -> None:
        self.halted: PluginError | None = None
        """Why nothing is delivered any more: a critical plugin could not be loaded."""
        self._worker = worker
        self._active = False
        self._held: deque[Mail] = deque()  # events that plugins have not seen yet, and commands that wait for them
        self._handed: list[Receipt] = []  # out of the plugins, and not yet with the channels
        self._holds = 0  # critical plugins that are being loaded, or could not be

    # -- questions ------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether plugins can see an event now."""
        return bool(self._held) and not self._holds

    @property
    def held_up(self) -> bool:
        """Whether a critical plugin that is not loaded holds up delivery."""
        return self._holds > 0

    @property
    def stalled(self) -> bool:
        """Whether an event that came now would have to wait here."""
        return bool(self._held or self._holds) or self.halted is not None

    @property
    def busy(self) -> bool:
        """Whether an event waits for plugins, is with them, or will come back to them."""
        return bool(self._held) or self.runner.busy

    @property
    def wanted(self) -> bool:
        """Whether an event that comes now goes to plugins."""
        return bool(self._held) or self.runner.wanted

    # -- a turn ---------------------------------------------------------------------------------------

    def take(self, receipts: list[Receipt]) -> bool:
        """Take these events, if plugins are to see them, or events before them. False: they go to the channels."""
        if not (self._holds or self._held or self.runner.wanted):
            self.hand_over()  # these came before
            return False
        self._activate()
        self._held.extend(receipts)
        return True

    def run(self) -> bool:
        """Take events through the plugins, for a slice of time. Returns False: `due` says whether there are more."""
        worker = self._worker
        if self.due and not worker.finished:
            now = worker.clock()
            # What enters a closing engine leaves at once: longer slices make fewer requests.
            pause = worker.pace.slice
            until = min(now + 10 * pause, worker.deadline) if worker.closing else now + pause
            while self._held and worker.clock() < until:
                item = self._held.popleft()
                if isinstance(item, Receipt):
                    self.runner.start(item)
                else:
                    item()
            worker.read_mail()  # an answer that came in the meantime must not be taken for one that never came
        self.hand_over()
        return False

    def deliver(self, receipt: Receipt, data: bytes) -> None:
        """Have these bytes delivered as the event: the pipeline hands it over."""
        if data is not receipt.data:
            self._worker.ledger.replace(receipt, data)
            receipt._integrations = True  # a plugin may have said where it goes
        self._handed.append(receipt)

    def hand_over(self) -> None:
        """Queue the events that the pipeline has handed over: many at a time."""
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
        """Deliver nothing while a critical plugin is being loaded."""
        self._activate()
        self._holds += 1
        for channel in self._worker.channels:
            channel.engine.pause()

    def release(self) -> None:
        """Deliver again, if no other plugin holds it up."""
        self._holds -= 1
        if not self._holds:
            for channel in self._worker.channels:
                channel.engine.resume()

    def change(self, command: Command) -> None:
        """Change the registry, for the events that come after this. Held events are seen by what is being loaded."""
        self._activate()
        if self._holds or not self._held:
            command()
        else:
            self._held.append(command)

    def when_passed(self, command: Command) -> None:
        """Do this when all events that came before it are through the hooks that come before delivery."""
        if self._held:
            self._held.append(lambda: self.runner.when_passed(command))
        else:
            self.runner.when_passed(command)

    def close(self) -> tuple[list[Receipt], list[Command]]:
        """Give up every event that is here, and return them; and the commands that waited for them."""
        held, self._held = self._held, deque()
        handed, self._handed = self._handed, []
        left = handed + self.runner.abandon() + [item for item in held if isinstance(item, Receipt)]
        return left, [item for item in held if not isinstance(item, Receipt)]
