"""Alerts: one message when a destination pauses, is blocked or lags, and one when that is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from queue import SimpleQueue

import msgspec

from ..http.urllib3 import Urllib3Client
from ..types import Request
from .configuration import Alerts
from .status import RouteStatus

__all__ = ["Alarm", "Notifier", "Watch"]

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


class Alarm:
    """Sends messages about routes where the configuration says; what is known of them outlasts a reload."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._alerts: Alerts | None = None
        self._notifier: Notifier | None = None

    def use(self, alerts: Alerts | None) -> None:
        """Send to another place from now on, or nowhere."""
        if alerts is None or self._alerts is None or alerts.url != self._alerts.url:
            self._notifier = None if alerts is None else Notifier(alerts.url)
        self._alerts = alerts

    def look(self, statuses: list[RouteStatus]) -> None:
        """Send what the states of all routes, which come again and again, are worth."""
        for message in self._watch.messages(statuses, self._alerts.lag if self._alerts else None):
            if self._notifier is not None:
                self._notifier.notify(message)


class Watch:
    """Finds what is worth a message, in one state of the routes after the other. Pure."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}  # by destination

    def messages(self, statuses: Iterable[RouteStatus], lag: float | None) -> list[str]:
        """Return what has changed for the worse, or back, since this was asked last.

        Args:
            statuses: of all routes.
            lag: seconds that the oldest event of a destination may wait; None is any time.
        """
        found: list[str] = []
        for status in statuses:
            trouble = _trouble(status, lag)
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


def _trouble(status: RouteStatus, lag: float | None) -> str:
    trouble = TROUBLED.get(status.state, "")
    if not trouble and lag is not None and status.lag_seconds > lag:
        return f"is more than {lag:g} s behind"
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
