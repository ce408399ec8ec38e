"""Log handlers that record events: of the lines of the application, and not of those of their own requests."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from millstream import Analytics, AsyncAnalytics, Dropped, Receipt, Request, Response, Urllib3Client
from support.api import Api

Make = Callable[..., Analytics]
app = logging.getLogger("shop")


class Records(logging.Handler):
    """Records an event for each line."""

    def __init__(self, *clients: Analytics | AsyncAnalytics) -> None:
        super().__init__()
        self.clients = clients
        self.lines: list[str] = []
        self.receipts: list[Receipt] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        for client in self.clients:
            properties = {"line": record.getMessage()}
            self.receipts.append(client.track("Logged", user_id="u", properties=properties))


@contextmanager
def hears_everything(handler: logging.Handler) -> Iterator[None]:
    """A root logger at DEBUG."""
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def lines(api: Api) -> list[str]:
    return [event["properties"]["line"] for event in api.accepted]


def through_a_pool(request: Request) -> Response:
    """An HTTP client of the user's own, which logs a line for each request."""
    with urllib3.PoolManager() as pool:
        answer = pool.request(request.method, request.url, body=request.body, headers=dict(request.headers))
    app.info("sent")
    return Response(answer.status)


@pytest.mark.parametrize("http_client", [None, through_a_pool], ids=["default", "own"])
@pytest.mark.parametrize("clients", [1, 2])
def test_a_handler_that_records_does_not_feed_itself(api: Api, client: Make, http_client: Any, clients: int) -> None:
    """What the requests of any client write to the log is not recorded: it would cause requests, without end.

    The receipt says so, and the log, in one line.
    """
    handler = Records(*[client(flush_at=1, http_client=http_client) for _ in range(clients)])
    with hears_everything(handler):
        app.info("hello")
        for analytics in handler.clients:
            assert isinstance(analytics, Analytics)
            analytics.flush(timeout=10)
        assert api.stays_at(clients, 0.3)
    assert lines(api) == ["hello"] * clients
    assert any("connection" in line for line in handler.lines)
    assert len([line for line in handler.lines if "event not accepted: a log handler" in line]) in range(1, clients + 1)
    refused = [receipt for receipt in handler.receipts if receipt.outcome and receipt.outcome.error]
    assert len(refused) == len(handler.receipts) - clients > 0
    with pytest.raises(Dropped, match="would repeat endlessly"):
        refused[0].wait(timeout=1)


@pytest.mark.parametrize("http_client", [None, Urllib3Client(), through_a_pool], ids=["default", "urllib3", "own"])
def test_nor_does_one_on_an_event_loop(api: Api, http_client: Any) -> None:
    """The same with AsyncAnalytics, whose plain HTTP clients log on other threads."""

    async def main() -> None:
        async with AsyncAnalytics("key", host=api.url, flush_at=1, http_client=http_client) as analytics:
            with hears_everything(Records(analytics)):
                app.info("hello")
                await analytics.flush(timeout=10)
                assert await asyncio.to_thread(api.stays_at, 1, 0.3)

    asyncio.run(main())
    assert lines(api) == ["hello"]


def test_what_cuts_in_while_logging_runs_is_accepted(api: Api, client: Make) -> None:
    """A `__del__`, in the middle of the log line of a request: it was handed no record, and feeds on nothing."""

    class Leaves:
        def __del__(self) -> None:
            analytics.track("Logged", user_id="u", properties={"line": "left"})

    class LockThatClears:
        def acquire(self) -> None:
            if threading.current_thread() is not threading.main_thread():
                left.clear()

        def release(self) -> None:
            pass

        __enter__ = acquire

        def __exit__(self, *_: object) -> None:
            pass

    analytics = client(flush_at=1)
    left = [Leaves()]
    handler = logging.NullHandler(logging.DEBUG)
    handler.handle = logging.Handler.handle.__get__(handler)  # type: ignore[method-assign]
    handler.lock = LockThatClears()  # type: ignore[assignment]
    with hears_everything(handler):
        analytics.track("Logged", user_id="u", properties={"line": "first"})
        assert [event["properties"]["line"] for event in api.wait_for_events(2)] == ["first", "left"]


def test_what_is_recorded_beside_a_request_is_accepted(api: Api, client: Make) -> None:
    """Whatever else a thread that sends comes to run may record: a `__del__`, say; and a callback may log."""

    class Leaves:
        def __del__(self) -> None:
            analytics.track("Logged", user_id="u", properties={"line": "left"})

    left = [Leaves()]

    def send(request: Request) -> Response:
        left.clear()
        return default.send(request)

    default = Urllib3Client()
    analytics = client(flush_at=1, http_client=send)
    handler = Records(analytics)
    with hears_everything(handler):
        analytics.track("A", user_id="u", properties={"line": "first"}, callback=lambda *_: app.info("delivered"))
        api.wait_for(3)
    assert sorted(lines(api)) == ["delivered", "first", "left"]


class Flushes(Records):
    """Flushes after each line, as a StreamHandler does, under its own lock, which every thread that logs needs."""

    def __init__(self, *clients: Analytics, timeout: float | None = None) -> None:
        super().__init__(*clients)
        self.timeout = timeout

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self.flush()

    def flush(self) -> None:
        for client in self.clients:
            if isinstance(client, Analytics):
                client.flush() if self.timeout is None else client.flush(timeout=self.timeout)


def test_a_handler_that_flushes_waits_for_a_moment(api: Api, client: Make) -> None:
    """A flush in a log handler waits for `exit_timeout` at most: the thread that sends may wait for the handler."""
    analytics = client(exit_timeout=0.5)
    with hears_everything(Flushes(analytics)):
        begin = time.monotonic()
        app.info("hello")
        assert time.monotonic() - begin < 5
        api.wait_for(1)
        assert analytics.flush(timeout=10).pending == 0
    assert lines(api) == ["hello"]
    assert len(api.requests) == 1


def test_a_handler_does_not_wait_for_the_request_that_it_is_in(api: Api, client: Make) -> None:
    """A flush for the line of a request, on the thread that sends it, returns at once, whatever its timeout says."""
    analytics = client(http_request_timeout=5)

    class OnOtherThreads(Flushes):
        def flush(self) -> None:
            if threading.current_thread() is not threading.main_thread():
                super().flush()

    with hears_everything(OnOtherThreads(analytics, timeout=60)):
        app.info("hello")
        assert analytics.flush(timeout=10).delivered == 1
    assert len(api.requests) == 1


def test_a_handler_that_closes_waits_for_a_moment(api: Api, client: Make) -> None:
    """So does a close, in a handler's own: what is undecided then comes back."""
    held = api.hold()
    analytics = client(exit_timeout=0.2)

    class Closes(Records):
        def emit(self, record: logging.LogRecord) -> None:
            self.result = analytics.close_and_flush()

    analytics.track("A", user_id="u")
    handler = Closes()
    app.addHandler(handler)
    try:
        begin = time.monotonic()
        app.error("over")
        assert time.monotonic() - begin < 5
    finally:
        app.removeHandler(handler)
    assert len(handler.result.unsent) == 1
    held.release()
