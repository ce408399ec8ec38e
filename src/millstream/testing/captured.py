"""An HTTP client that captures events: nothing leaves the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import repeat
from urllib.parse import urlsplit

from millstream._public import publish
from millstream.errors import TransportError
from millstream.settings import SettingsArgs
from millstream.types import Event, Request, Response

from .receiver import Receiver, SeenRequest

__all__ = ["Capture", "capture"]

# Every service that is among our destinations, but for Slack, says in this way that all is well.
_OK = Response(200, {"content-type": "application/json"}, b'{"success": true, "code": 200, "status": 1}')


class Capture(Receiver):
    """An HTTP client that captures events: `Analytics("key", http_client=capture)`.

    It accepts every event; a collector would reject invalid ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers: deque[Response | None] = deque()
        self._ids: set[object] = set()

    def fail(self, status: int, *, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next requests with this status, and store none of their events.

        Args:
            status: 503, 429, 401 …
            times: the number of requests.
            retry_after: whole seconds, as `Retry-After`.
        """
        headers: Mapping[str, str] = {} if retry_after is None else {"retry-after": str(retry_after)}
        with self._news:
            self._answers.extend(repeat(Response(status, headers), times))

    def drop(self, *, times: int = 1) -> None:
        """Store the events of the next requests, but lose the answer, as when a connection breaks."""
        with self._news:
            self._answers.extend(repeat(None, times))

    def clear(self) -> None:
        """Discard events, requests and pending faults."""
        with self._news:
            self._answers.clear()
            super().clear()

    def send(self, request: Request) -> Response:
        """Store the request's events, and answer it. Called by a client.

        Raises:
            TransportError: after `drop`.
        """
        with self._news:
            answer = self._answers.popleft() if self._answers else _OK
            status = answer.status if answer else 0
            headers = {name.lower(): value for name, value in request.headers.items()}
            reason = "" if status == _OK.status else "ordered by the test"
            seen = SeenRequest(request.method, urlsplit(request.url).path, headers, request.body, status, reason)
            events = seen.events if status in {0, 200} else []
            self._add(seen, *self._told_apart(events))
        if answer is None:
            raise TransportError("the connection was closed before the answer (dropped by the test)")
        return answer

    def _told_apart(self, events: list[Event]) -> tuple[list[Event], list[Event]]:
        """Separate new events from duplicates."""
        new: list[Event] = []
        known: list[Event] = []
        for event in events:
            (known if event.get("messageId") in self._ids else new).append(event)
            self._ids.add(event.get("messageId"))
        return new, known

    def _reached_by(self) -> SettingsArgs:
        return {"http_client": self}


def capture() -> Capture:
    """Make a Capture, until the end of the `with` statement."""
    return Capture()


publish("millstream.testing", Capture, capture)
