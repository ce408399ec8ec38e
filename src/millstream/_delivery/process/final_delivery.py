"""The final delivery of a client: at exit, on SIGTERM, or when the client is garbage-collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..._clock import monotonic
from ..._logging import Summary, plural
from .ending import EndingGate

if TYPE_CHECKING:
    from ..driver import Driver

__all__ = ["FinalDelivery"]

ADVICE = "; a longer exit_timeout gives them more time, and a spool keeps them for the next start"


class FinalDelivery:
    """Delivers the remaining events of a client, and reports in one line those it could not deliver.

    It refers to the client's driver, not to the client. Times are in seconds of the monotonic clock.

    Args:
        driver: has the events.
        summary: counts for the line.
        timeout: `exit_timeout`, in seconds.
        shared_http: whether the application made the HTTP client, and may use it elsewhere.
    """

    def __init__(self, driver: Driver, summary: Summary, timeout: float, *, shared_http: bool) -> None:
        self.driver = driver
        self.timeout = timeout
        self._summary = summary
        self._shared_http = shared_http
        self._unsent = 0
        self._closes = False

    @property
    def pending(self) -> int:
        """The number of unsettled events."""
        return self.driver.stats().pending

    @property
    def on_disk(self) -> bool:
        """Whether events are on disk before their calls return."""
        return self.driver.stats().spool == "on"

    def begin_flush(self, began: float) -> None:
        """Start `flush` without waiting, so that those of several clients overlap."""
        if self.pending:
            self.driver.release_lock()
            self.driver.begin_flush(self._left(began))

    def flush(self, began: float) -> None:
        """Deliver pending events, while callers go on."""
        if self.pending:
            self.driver.flush(self._left(began))

    def detach(self, gate: EndingGate, began: float) -> Iterator[None]:
        """Leave the event loop, in steps."""
        return self.driver.detach(gate, began + self.timeout)

    def mute(self) -> None:
        """Log nothing until `report`."""
        self._summary.mute()

    def begin_close(self, began: float) -> None:
        """Start `close` without waiting."""
        self._closes = bool(self.pending)
        if self._closes:
            self.driver.begin_close(self._left(began))

    def close(self, began: float) -> None:
        """Deliver remaining events, and abandon those that cannot be delivered in time."""
        if self._closes or self.pending:  # also if all events were abandoned since the start
            self._unsent += len(self.driver.close(self._left(began)).unsent)

    def report(self, write: Callable[[str], object], by: BaseException | None = None) -> None:
        """Write the last line, if events were lost. `by` is the exception that interrupted the end."""
        lost, self._unsent = self._unsent + self.driver.exposed(), 0
        if by is None:
            why, advice = f" within exit_timeout={self.timeout:g} s", ADVICE
        else:
            why, advice = f": the end of the process was interrupted ({type(by).__name__})", ""
        were = "was" if lost == 1 else "were"
        self._summary.final_line(f"{plural(lost, 'event')} {were} not delivered{why}" if lost else "", advice, write)

    def retire(self, then: Callable[[], object]) -> bool:
        """End the driver once its events are delivered. Return whether there are any; then `then` is called."""
        pending = bool(self.pending)
        self.driver.retire(then, close_http=not self._shared_http)
        return pending

    def _left(self, began: float) -> float:
        return max(0.0, began + self.timeout - monotonic())
