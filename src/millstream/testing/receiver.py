"""Received events and requests, waiting for more, and clients that deliver to this receiver."""

from __future__ import annotations

import asyncio
import gzip
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias, cast, overload

import msgspec

from millstream._public import Self, Unpack, publish
from millstream.client import Analytics
from millstream.settings import SettingsArgs
from millstream.spec import TYPES
from millstream.types import Event

__all__ = ["Match", "Receiver", "RejectedEvent", "SeenRequest"]

Match: TypeAlias = str | Callable[[Event], object]
"""Selects events: by the name of a tracked event, page or screen; by type; or by a function that returns whether an
event matches."""

_CLOSING = 1.0
"""Seconds for a client to deliver pending events at the end of the test."""
_SHOWN = 20
"""Events listed by a failure."""


@dataclass(frozen=True)
class SeenRequest:
    """A received request.

    `headers` have lower-case names; `status` is the answer's, 0 without an answer, and `reason` says why it was not
    200.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    status: int = 0
    reason: str = ""

    @property
    def json(self) -> Any:
        """The decoded body, decompressed if necessary.

        Raises:
            msgspec.DecodeError: the body is not JSON.
        """
        packed = self.headers.get("content-encoding") == "gzip"
        return msgspec.json.decode(gzip.decompress(self.body) if packed else self.body)

    @property
    def events(self) -> list[Event]:
        """The events in the body; none if it is neither a batch nor an event."""
        try:
            found = self.json
        except (msgspec.DecodeError, OSError, EOFError):
            return []
        batch: Any = cast("Event", found).get("batch", [found]) if isinstance(found, dict) else []
        return [cast("Event", event) for event in batch if isinstance(event, dict)]


@dataclass(frozen=True)
class RejectedEvent:
    """An event that was rejected, and why: a reason code as Segment's, and a message.

    `event` is the decoded event; empty if it was not an object.
    """

    reason: str
    message: str
    event: Event = field(default_factory=dict[str, Any])


class Receiver(ABC):
    """A record of events and requests, in order of arrival, and clients that deliver to it.

    Thread-safe; each property is a copy. Use it in a `with` statement, or call `close` at the end.
    """

    def __init__(self) -> None:
        self._clients: list[Analytics] = []
        self._news = threading.Condition()
        self._events: list[Event] = []
        self._duplicates: list[Event] = []
        self._rejected: list[RejectedEvent] = []
        self._requests: list[SeenRequest] = []

    @property
    def events(self) -> list[Event]:
        """The accepted events."""
        with self._news:
            return self._events.copy()

    @property
    def duplicates(self) -> list[Event]:
        """Repeated events, with a `messageId` received before."""
        with self._news:
            return self._duplicates.copy()

    @property
    def rejected(self) -> list[RejectedEvent]:
        """Invalid events, with the reason."""
        with self._news:
            return self._rejected.copy()

    @property
    def requests(self) -> list[SeenRequest]:
        """The answered requests, refused ones included."""
        with self._news:
            return self._requests.copy()

    def calls(self, type: str) -> list[Event]:  # noqa: A002 - the field's name
        """The events of one type: `track`, `identify`, `page`, `screen`, `group` or `alias`."""
        if type not in TYPES:
            raise ValueError(f"calls({type!r}): the types are {', '.join(TYPES)}; wait_for() takes names")
        return [event for event in self.events if event["type"] == type]

    @overload
    def wait_for(self, what: Match, *, timeout: float = 2.0) -> Event: ...
    @overload
    def wait_for(self, what: Match, *, count: int, timeout: float = 2.0) -> list[Event]: ...
    def wait_for(self, what: Match, *, count: int | None = None, timeout: float = 2.0) -> Event | list[Event]:
        """Wait for the first matching event, or with `count` for that many.

        Events received before count, too. On an event loop a wait would block sending: write
        `await asyncio.to_thread(collector.wait_for, "Order Completed")` there.

        Args:
            what: the events to match; see Match.
            count: the number of events, for a list of them.
            timeout: seconds to wait.

        Raises:
            AssertionError: too few events arrived in time. The message lists what did.
        """
        __tracebackhide__ = True
        wanted = 1 if count is None else count
        with self._news:
            if not self._news.wait_for(lambda: len(self._matching(what, wanted)) >= wanted, timeout):
                raise AssertionError(self._missing(what, wanted, timeout))
            found = self._matching(what, wanted)
        return found[0] if count is None else found

    def clear(self) -> None:
        """Discard events and requests."""
        with self._news:
            for each in (self._events, self._duplicates, self._rejected, self._requests):
                each.clear()

    def _add(
        self,
        request: SeenRequest,
        events: Iterable[Event] = (),
        duplicates: Iterable[Event] = (),
        rejected: Iterable[RejectedEvent] = (),
    ) -> None:
        with self._news:
            self._events += events
            self._duplicates += duplicates
            self._rejected += rejected
            self._requests.append(request)
            self._news.notify_all()

    def _matching(self, what: Match, most: int) -> list[Event]:
        def meant(event: Event) -> object:
            return what(event) if callable(what) else what in _names(event)

        return list(islice(filter(meant, self._events), most))

    def _missing(self, what: Match, wanted: int, timeout: float) -> str:
        """Make the message of a failed wait."""
        came = len(self._matching(what, wanted))
        shown = repr(what) if isinstance(what, str) else f"what {getattr(what, '__name__', 'the function')} looks for"
        told = [
            f"{came} of {wanted} came in {timeout:g} s: {shown}" if came else f"{shown} did not come in {timeout:g} s"
        ]
        for title, lines in (
            ("events that came", [_shown(event) for event in self._events]),
            ("rejected", [f"{_shown(each.event)}: {each.reason} ({each.message})" for each in self._rejected]),
            ("duplicates", [_shown(event) for event in self._duplicates]),
            ("requests not answered 200", [_answered(each) for each in self._requests if each.status != 200]),
        ):
            if lines:
                more = [f"… and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
                told += [f"{title}:", *(f"    {line}" for line in (*lines[:_SHOWN], *more))]
        if not self._requests:
            told += [
                "no request arrived. A client sends when `flush_at` events wait or `flush_interval` is over:",
                "call flush(), or pass flush_at=1; and check its host",
            ]
        return "\n".join([*told, *_on_a_loop()])

    # -- clients ----------------------------------------------------------------------------------------

    def client(self, write_key: str = "test", **settings: Unpack[SettingsArgs]) -> Analytics:
        """Make a client that delivers here: each event at once, in the order of the calls. `close` closes it.

        Args:
            write_key: the source's write key.
            settings: as for Analytics; they override `flush_at=1` and `max_in_flight=1`.
        """
        merged: SettingsArgs = {"flush_at": 1, "max_in_flight": 1, **self._reached_by(), **settings}
        client = Analytics(write_key, **cast("dict[str, Any]", merged))
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the clients that were made here, and release all resources."""
        while self._clients:
            self._clients.pop().close_and_flush(timeout=_CLOSING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _reached_by(self) -> SettingsArgs:
        """Settings with which a client finds this receiver."""


def _names(event: Event) -> tuple[Any, ...]:
    """The names that match an event."""
    return (event.get("type"), event.get("event"), event.get("name"))


def _shown(event: Event) -> str:
    who = event.get("userId") or event.get("anonymousId")
    name = event.get("event") or event.get("name")
    return " ".join(
        [str(event.get("type", "no type")), *([repr(name)] if name else []), *([f"by {who}"] if who else [])]
    )


def _answered(request: SeenRequest) -> str:
    reason = f" ({request.reason})" if request.reason else ""
    return f"{request.method} {request.path}: {request.status or 'no answer'}{reason}"


def _on_a_loop() -> list[str]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return []
    return ["wait_for() blocked an event loop, which could not send: write await asyncio.to_thread(….wait_for, …)"]


publish("millstream.testing", RejectedEvent, SeenRequest)
