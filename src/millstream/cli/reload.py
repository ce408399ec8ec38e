"""`millstream reload`, and what a running collector makes of it: all is checked first, then what changed is swapped."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from millstream.errors import SettingsError

from . import output
from .configured import Config, Data, configuration_of, data_of

if TYPE_CHECKING:
    from millstream.collector import Collector
    from millstream.router import Configuration, Supervisor

__all__ = ["Reloading", "reload"]

_log = logging.getLogger("millstream")

PID = "collector.pid"
RESULT = "reload"
"""File in which a collector says what came of its last reload."""
PATIENCE = 15.0


class Reloading:
    """Reads a running collector's configuration again.

    Args:
        path: the configuration.
        data: the collector's directory.
        configuration: what it was started with.
        app: the collector.
        router: its router's process.
    """

    def __init__(
        self, path: Path, data: Path, configuration: Configuration, app: Collector, router: Supervisor
    ) -> None:
        self._path = path
        self._data = data
        self._now = configuration
        self._app = app
        self._router = router
        self._routing = bool(configuration.routes)
        (data / PID).write_text(f"{os.getpid()}\n")

    def request(self) -> None:
        """Read it on another thread: it may be called in a signal handler."""
        threading.Thread(target=self._reload, name="millstream-reload", daemon=True).start()

    def _reload(self) -> None:
        from millstream.router.configuration import check_transformations  # noqa: PLC0415

        try:
            found = configuration_of(self._path)
            self._check_options(found)
            check_transformations(found.routes.values())
        except SettingsError as error:
            _log.error("the configuration stays as it was: %s", error)
            self._say(f"kept: {error}")
            return
        self._now = found
        self._app.use_sources(found.sources)
        if self._app.destinations is not None:
            self._app.destinations.routes = found.routes
        if self._routing:
            self._router.signal(signal.SIGHUP)
        elif found.routes:
            self._router.start()
            self._routing = True
        self._say("done")

    def _check_options(self, found: Configuration) -> None:
        """Raise SettingsError for options that have changed: they need a restart."""
        before, after = self._now.options, found.options
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if changed:
            raise SettingsError(f"{', '.join(changed)} cannot be changed while the collector runs: restart it")

    def _say(self, what: str) -> None:
        new = self._data / f"{RESULT}.new"
        new.write_text(f"{time.time()} {what}\n", encoding="utf-8")
        new.replace(self._data / RESULT)


def reload(config: Config = None, data: Data = None) -> None:
    """Have a running collector read its configuration again: sources, destinations, and the files that they name.

    Everything is checked first. If anything is wrong, all stays as it is.

    Exit code: 0 if it has the new configuration, 1 if it has kept the old one, 2 if the new one cannot be used.
    """
    configuration = None if config is None else configuration_of(config)
    directory = data_of(data, configuration)
    try:
        pid = int((directory / PID).read_text())
        asked = time.time()
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise SettingsError(f"no collector with a configuration runs in {directory}") from error
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        when, _, what = _result(directory).partition(" ")
        if when and float(when) >= asked:
            output.say(f"millstream reload: {what.strip()}")
            raise typer.Exit(0 if what.startswith("done") else 1)
        time.sleep(0.05)
    output.note(f"millstream: the collector did not say anything within {PATIENCE:g} s")
    raise typer.Exit(1)


def _result(directory: Path) -> str:
    try:
        return (directory / RESULT).read_text("utf-8")
    except OSError:
        return ""
