"""Alerts: one message when a destination pauses, is blocked or lags, and one when that is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue

import msgspec

from ..http.urllib3 import Urllib3Client
from ..types import Request
from .status import RouteStatus

__all__ = ["Notifier", "Watch", "alerting", "ignore"]

_log = logging.getLogger("millstream")

TROUBLED = {
    "paused": "is paused: it refuses what it is sent, and nothing is lost",
    "blocked": "is blocked: the disk does not do what it should",
    "fenced": "is stopped here: another router has taken it",
}
TRIES = 3
TIMEOUT = 10.0
WAITING = 100
"""Messages that wait to be sent, at most."""


def alerting(url: str, lag: float) -> Callable[[list[RouteStatus]], object]:
    """Return what sends a message when the states of routes, which it is given again and again, are worth one."""
    watch, notifier = Watch(lag), Notifier(url)

    def look(statuses: list[RouteStatus]) -> None:
        for message in watch.messages(statuses):
            notifier.notify(message)

    return look


def ignore(statuses: list[RouteStatus]) -> None:
    """Send no messages."""


class Watch:
    """Finds what is worth a message, in one state of the routes after the other. Pure.

    Args:
        lag: seconds that the oldest event of a destination may wait.
    """

    def __init__(self, lag: float) -> None:
        self._lag = lag
        self._troubles: dict[str, str] = {}  # by destination

    def messages(self, statuses: Iterable[RouteStatus]) -> list[str]:
        """Return what has changed for the worse, or back, since this was asked last."""
        found: list[str] = []
        for status in statuses:
            trouble = self._trouble(status)
            before = self._troubles.get(status.name, "")
            if trouble == before:
                continue
            self._troubles[status.name] = trouble
            if trouble:
                error = f" ({status.last_error})" if status.last_error else ""
                found.append(f"Millstream: {status.name} {trouble}{error}. {status.lag_events:,} events wait.")
            else:
                found.append(f"Millstream: {status.name} is well again. {status.lag_events:,} events wait.")
        return found

    def _trouble(self, status: RouteStatus) -> str:
        trouble = TROUBLED.get(status.state, "")
        if not trouble and status.lag_seconds > self._lag:
            return f"is more than {self._lag:g} s behind"
        return trouble


class Notifier:
    """Posts messages to a webhook, as `{"text": …}`, which Slack understands, on a thread of its own.

    Args:
        url: of the webhook.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._messages: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._run, name="millstream-alerts", daemon=True).start()

    def notify(self, message: str) -> None:
        """Send a message; it is dropped if many wait."""
        if self._messages.qsize() < WAITING:
            self._messages.put(message)

    def _run(self) -> None:
        client = Urllib3Client()
        while True:
            body = msgspec.json.encode({"text": self._messages.get()})
            request = Request("POST", self._url, {"Content-Type": "application/json"}, body, TIMEOUT)
            problem = ""
            for _ in range(TRIES):
                try:
                    status = client.send(request).status
                except Exception as error:  # noqa: BLE001 - whatever the network does
                    problem = type(error).__name__
                else:
                    problem = "" if status < 300 else f"status {status}"
                if not problem:
                    break
            if problem:
                _log.warning("an alert could not be sent: %s", problem)
