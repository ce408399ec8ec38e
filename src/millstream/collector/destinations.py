"""What the page and `/metrics` know of destinations: their states, what became of an event, dead letters, previews."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from millstream._public import publish
from millstream.destinations import masked, preview
from millstream.router import DeadLetter, RouteSettings, RouteStatus, letters_in, statuses
from millstream.router.status import NOTABLE

__all__ = ["Destinations", "fate_of"]

FRESH = 0.5
"""Seconds for which the states that were read are taken for the latest."""
LETTERS = 100
"""Dead letters that the page gets, the latest."""
RETRY_SECONDS = 60.0

Fate: TypeAlias = dict[str, str]


class Destinations:
    """The destinations of a collector, as its own process sees them.

    Args:
        directory: the collector's.
        routes: the destinations that are configured, by name.
        config: the configuration's file, which another attempt for a dead letter needs.
    """

    def __init__(self, directory: Path, routes: Mapping[str, RouteSettings], config: Path) -> None:
        self.routes = routes
        self._directory = directory
        self._config = config
        self._found: list[RouteStatus] = []
        self._read_at = -FRESH

    def statuses(self) -> list[RouteStatus]:
        """Return the state of each destination that is configured, also of one that has none yet."""
        now = time.monotonic()
        if now - self._read_at > FRESH:
            self._read_at = now
            known = {each.name: each for each in statuses(self._directory, time.time())}
            self._found = [
                known.get(name) or RouteStatus(name, settings.type, "starting")
                for name, settings in self.routes.items()
            ]
        return self._found

    def fates(self, position: int | None) -> list[Fate]:
        """Return what became of the event at a position of the log, for each destination."""
        return [] if position is None else [fate_of(position, status) for status in self.statuses()]

    def preview(self, name: str, line: bytes) -> list[dict[str, Any]]:
        """Return the requests that an event becomes at a destination, without its secrets.

        Raises:
            KeyError: there is no such destination.
            DeliveryError: it refuses the event.
        """
        destination = self.routes[name].destination
        requests = [masked(destination, each) for each in preview(destination, line)]
        return [
            {
                "method": each.method,
                "url": each.url,
                "headers": each.headers,
                "body": each.body.decode("utf-8", "replace"),
            }
            for each in requests
        ]

    def letters(self, name: str) -> list[DeadLetter]:
        """Return the latest dead letters of a destination, the latest first. Raises OSError."""
        return letters_in(self._directory, name)[: -LETTERS - 1 : -1]

    async def retry(self, name: str, letter: str) -> str:
        """Send a dead letter again, in a process of its own. Returns what went wrong; an empty text if nothing did."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "millstream", "deadletters", "retry", "--json"),
            *("--config", str(self._config), "--data", str(self._directory), "--", name, letter),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), RETRY_SECONDS)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
            return f"it took longer than {RETRY_SECONDS:g} s"
        try:
            failed: dict[str, str] = msgspec.json.decode(out)["failed"]
        except (msgspec.DecodeError, KeyError):
            return err.decode("utf-8", "replace").strip()[-500:] or f"exit code {process.returncode}"
        return next(iter(failed.values()), "")


def fate_of(position: int, status: RouteStatus) -> Fate:
    """Return what became of an event at one destination: pending, delivered, or what the router has noted of it."""
    noted = next((note for at, _, note in reversed(status.recent) if at == position), "")
    if noted:
        state, _, why = noted.partition(": ")
        return {"destination": status.name, "state": state, "why": why}
    if position >= status.position:
        return {"destination": status.name, "state": "pending", "why": ""}
    # Older than what the router remembers of those that were not just delivered, it may be one of them.
    forgotten = len(status.recent) >= NOTABLE and position < min(at for at, _, _ in status.recent)
    return {"destination": status.name, "state": "settled" if forgotten else "delivered", "why": ""}


def letter_of(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter for the page, without its event."""
    names = zip(letter.__struct_fields__, letter.__struct_encode_fields__, strict=True)
    return {encoded: getattr(letter, field) for field, encoded in names if field != "event"}


publish("millstream.collector", Destinations)
