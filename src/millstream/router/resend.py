"""A replay to one destination: a stretch of the log goes there once more, beside what its route does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from .._clock import monotonic
from .._core.cursor import Cursor
from .._core.record import Position, Record
from .._delivery.transport import Command
from ..log import FileReader, MemoryCursorStore, Resumed
from .configuration import RouteSettings
from .dead_letters import DeadLetters
from .route import Route
from .router import transport_for
from .status import RouteStatus
from .transform_stage import TransformStage

__all__ = ["resend"]

LOOK_EVERY = 0.05


class _NoHolds(FileReader):
    """A reader that retention does not wait for: a replay ends."""

    def hold(self, route: str, position: Position) -> None:
        pass


def resend(
    settings: RouteSettings,
    directory: Path,
    start: Position,
    until: Position,
    select: Callable[[Record], bool],
    watch: Callable[[RouteStatus], bool],
) -> RouteStatus:
    """Send the records between two positions that are selected, as a route does: in order, with retries.

    What the destination does not take becomes a dead letter of its route.

    Args:
        settings: of the destination.
        directory: the collector's.
        start: where to begin.
        until: where to end.
        select: whether a record is wanted.
        watch: is given the state now and then; False ends the replay.

    Returns:
        The state at the end.
    """
    mailbox: SimpleQueue[Command] = SimpleQueue()
    made = None if settings.transform is None else settings.transform.made(settings.folder)
    route = Route(
        settings,
        _NoHolds(directory),
        MemoryCursorStore(),
        0,
        Resumed(Cursor(start)),
        DeadLetters(directory, settings.name),
        transport_for(settings, mailbox.put),
        transform=None if made is None else TransformStage(made, mailbox.put),
        until=until,
        select=select,
    )
    try:
        while not route.finished:
            more, due = route.turn(monotonic())
            if not watch(route.status(monotonic())):
                break
            pause = 0.0 if more else LOOK_EVERY if due is None else min(LOOK_EVERY, max(0.0, due - monotonic()))
            try:
                command = mailbox.get(timeout=pause) if pause else mailbox.get_nowait()
                while True:
                    command()
                    command = mailbox.get_nowait()
            except Empty:
                pass
        return route.status(monotonic())
    finally:
        route.release()
