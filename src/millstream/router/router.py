"""The router: one thread that takes the events of a log along all its routes, and the threads that send for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from .._clock import monotonic
from .._delivery.senders import Senders
from .._delivery.transport import Command, ThreadTransport
from .._public import publish
from ..emitter import Emitter
from ..errors import Fenced
from ..http.urllib3 import Urllib3Client
from ..log import FileCursorStore, FileReader
from ..log.quarantine import Quarantine
from .configuration import RouteSettings
from .dead_letters import DeadLetters
from .route import Route
from .start import begin
from .status import RouteStatus, StatusFile
from .transform_stage import TransformStage

__all__ = ["Router", "transport_for"]

_log = logging.getLogger("millstream")

LOOK_EVERY = 0.02
"""Seconds between two looks for events that have come."""
STATUS_EVERY = 0.5
GRACE = 10.0
"""Seconds that what is in flight has at the end to be answered."""


class Router:
    """Routes the events in a directory. Its methods are for one thread, but for `post` and `stop`.

    Args:
        directory: the collector's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mailbox: SimpleQueue[Command] = SimpleQueue()
        self._cursors = FileCursorStore(directory)
        self._routes: dict[str, Route] = {}
        self._files: dict[str, StatusFile] = {}
        self._failed: dict[str, RouteSettings] = {}
        self._leaving: dict[str, tuple[RouteSettings | None, float]] = {}
        self._retry_at = 0.0
        self._status_at = 0.0
        self._stopping = False
        self.on_status: Callable[[list[RouteStatus]], object] = lambda _: None
        """Is given the state of all routes, now and then."""

    def post(self, command: Command) -> None:
        """Have the router's thread do something. May be called from any thread, and in a signal handler."""
        self._mailbox.put(command)

    def stop(self) -> None:
        """Have it end, after what is in flight. May be called from any thread, and in a signal handler."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopping = True

    def apply(self, wanted: Iterable[RouteSettings]) -> list[str]:
        """Open, replace and end routes, so that they are those that are wanted. Returns what changes, in words.

        A route that changes or ends is sent nothing more, and goes when what is in flight has been answered.
        """
        by_name = {settings.name: settings for settings in wanted}
        changes: list[str] = []
        for name, route in self._routes.items():
            settings = by_name.get(name)
            if (
                settings is not None
                and route.settings.fingerprint == settings.fingerprint
                and name not in self._leaving
            ):
                continue
            changes.append(f"{name} is {'removed' if settings is None else 'changed'}")
            route.close()
            self._leaving[name] = (settings, monotonic() + GRACE)
        self._failed = {name: by_name[name] for name in self._failed if name in by_name}
        for name, settings in by_name.items():
            if name not in self._routes:
                changes.append(f"{name} is new")
                self._open(settings)
        return changes

    def run(self) -> None:
        """Route until `stop`. Then let what is in flight be answered, store the cursors, and return."""
        while not self._stopping:
            self._read_mail(self._turn())
        for route in self._routes.values():
            route.close()
        deadline = monotonic() + GRACE
        while any(route.busy for route in self._routes.values()) and monotonic() < deadline:
            for route in self._routes.values():
                route.turn(monotonic())
            self._read_mail(LOOK_EVERY)
        for name in list(self._routes):
            self._end(name, forget=False)
        self._cursors.close()

    def _turn(self) -> float:
        """Give each route a turn. Returns for how many seconds there is nothing to do, unless mail comes."""
        now = monotonic()
        self._replace_leaving(now)
        if self._failed and now >= self._retry_at:
            for settings in list(self._failed.values()):
                self._open(settings)
        pause = min([STATUS_EVERY, *(_pause_of(route, now) for route in self._routes.values())])
        if now >= self._status_at:
            self._status_at = now + STATUS_EVERY
            self._write_status(now)
        return pause

    def _replace_leaving(self, now: float) -> None:
        """End the routes that change or go, once what was in flight has been answered."""
        for name, (settings, deadline) in list(self._leaving.items()):
            if not self._routes[name].busy or now >= deadline:
                del self._leaving[name]
                self._end(name, forget=settings is None)
                if settings is not None:
                    self._open(settings)

    def _read_mail(self, seconds: float) -> None:
        with suppress(Empty):
            command = self._mailbox.get(timeout=seconds) if seconds > 0 else self._mailbox.get_nowait()
            while True:
                command()
                command = self._mailbox.get_nowait()

    def _open(self, settings: RouteSettings) -> None:
        reader = FileReader(self._directory, quarantine=Quarantine(self._directory))
        file = StatusFile(self._directory, settings.name)
        try:
            resumed, revision = begin(settings, reader, self._cursors)
        except (OSError, Fenced) as error:
            reader.close()
            _log.error("%s cannot be started: %s", settings.name, error)
            self._failed[settings.name] = settings
            self._retry_at = monotonic() + STATUS_EVERY * 4
            return
        self._failed.pop(settings.name, None)
        made = None if settings.transform is None else settings.transform.made(settings.folder)
        before = file.read()
        self._files[settings.name] = file
        self._routes[settings.name] = Route(
            settings,
            reader,
            self._cursors,
            revision,
            resumed,
            DeadLetters(self._directory, settings.name),
            transport_for(settings, self._mailbox.put),
            transform=None if made is None else TransformStage(made, self._mailbox.put),
            counters=None if before is None else before.counters,
        )

    def _end(self, name: str, *, forget: bool) -> None:
        """End a route; `forget`: retention need not wait for it any longer."""
        self._failed.pop(name, None)
        route = self._routes.pop(name, None)
        if route is None:
            return
        status = route.status(monotonic())
        route.release()
        file = self._files.pop(name)
        try:
            if forget:
                file.remove()
                FileReader(self._directory).release(name)
            else:
                status.state, status.rate, status.pid = "stopped", 0.0, os.getpid()
                file.write(status)
        except OSError as error:
            _log.warning("the status of %s cannot be written: %s", name, error)

    def _write_status(self, now: float) -> None:
        found: list[RouteStatus] = []
        for name, route in self._routes.items():
            status = route.status(now)
            found.append(status)
            status.pid = os.getpid()
            try:
                self._files[name].write(status)
            except OSError as error:
                _log.debug("the status of %s cannot be written: %s", name, error)
        self.on_status(found)


def _pause_of(route: Route, now: float) -> float:
    """Give a route its turn. Returns for how many seconds there is nothing to do for it."""
    try:
        more, due = route.turn(now)
    except Exception:  # noqa: BLE001 - a fault of one route keeps none of the others from its turn
        _log.exception("%s: an error of the router's own", route.name)
        return STATUS_EVERY
    pause = 0.0 if more else LOOK_EVERY if route.waits_for_more else STATUS_EVERY
    return pause if due is None else min(pause, max(0.0, due - monotonic()))


def transport_for(settings: RouteSettings, post: Callable[[Command], object]) -> ThreadTransport:
    """Return what sends a route's requests, on threads of its own, and posts what came of each."""
    senders = Senders(settings.limits.in_flight, monotonic)

    def run(job: Callable[[], Command], deadline: float) -> bool:
        def work() -> Callable[[], object]:
            report = job()
            return lambda: post(report)

        return senders.start(work, deadline)

    return ThreadTransport(Urllib3Client, run, Emitter(lambda _: None, lambda: False))


publish("millstream.router", Router)
