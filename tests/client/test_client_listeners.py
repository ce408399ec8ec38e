"""Listeners and the log: nobody's exception reaches anybody else, and trouble is told in one line a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics
from support.api import Api, status
from support.background import Heard

Make = Callable[..., Analytics]
RAISED = [ValueError("mine"), SystemExit(2), asyncio.CancelledError(), GeneratorExit()]


@pytest.mark.parametrize("raised", RAISED, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("name", ["http_request", "http_response", "track", "drained"])
def test_a_listener_that_raises_changes_nothing(api: Api, client: Make, name: str, raised: BaseException) -> None:
    """The event is delivered once, the next one too, and the exception is an `error` event with code `listener`."""
    analytics = client(flush_at=1)
    errors, after = Heard(), Heard()
    analytics.on("error", errors)

    def bad(*_: Any) -> None:
        raise raised

    analytics.once(name, bad)
    analytics.on(name, after)
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.track("B", user_id="u").wait(timeout=10)
    after.wait_for(2)
    analytics.flush(timeout=10)
    assert len(api.requests) == 2
    ((event,),) = errors.calls
    assert (event.code, event.reason, event.context) == ("listener", raised, None)


@pytest.mark.parametrize("raised", RAISED, ids=lambda exc: type(exc).__name__)
def test_a_callback_that_raises_changes_nothing(api: Api, client: Make, raised: BaseException) -> None:
    """Nor does a callback, whatever it raises."""
    analytics = client(flush_at=1)
    errors = Heard()
    analytics.on("error", errors)

    def bad(*_: Any) -> None:
        raise raised

    analytics.track("A", user_id="u", callback=bad).wait(timeout=10)
    analytics.track("B", user_id="u").wait(timeout=10)
    assert [(event.code, event.reason) for (event,) in errors.wait_for(1)] == [("callback", raised)]
    assert len(api.accepted) == 2


def test_an_error_listener_that_raises_is_told_to_the_log(
    api: Api, client: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is not emitted as another error, for ever; the other listeners hear what there was to hear."""
    api.always = status(400)
    analytics = client(flush_at=1)
    heard = Heard()
    analytics.on("error", lambda _: 1 / 0)
    analytics.on("error", heard)
    analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    analytics.close(timeout=10)
    assert [event.code for (event,) in heard.calls] == ["delivery_failure"]
    assert "ZeroDivisionError" in caplog.text


def test_a_listener_of_late_calls_does_not_reach_the_caller(client: Make) -> None:
    """`call_after_close` is emitted in the event call: what its listener raises is reported, not raised there."""
    analytics, errors = client(), Heard()
    analytics.on("error", errors)
    analytics.on("call_after_close", lambda _: 1 / 0)
    analytics.close(timeout=10)
    analytics.track("A", user_id="u")
    assert errors.calls[0][0].code == "listener"


def test_a_listener_may_record_events(api: Api, client: Make) -> None:
    """An event that is recorded in a listener or callback is delivered as any other."""
    analytics = client(flush_at=1)
    analytics.once("track", lambda _: analytics.track("Second", user_id="u"))
    analytics.track("First", user_id="u", callback=lambda *_: analytics.track("Third", user_id="u"))
    api.wait_for_events(3)
    analytics.flush(timeout=10)
    assert sorted(event["event"] for event in api.accepted) == ["First", "Second", "Third"]


def test_a_listener_may_come_and_go_while_it_is_called(client: Make) -> None:
    """Who subscribes in a listener hears the next one; who leaves is called no more."""
    analytics, late = client(), Heard()

    def listener() -> None:
        analytics.off("shop:mine", listener)
        analytics.on("shop:mine", late)

    analytics.on("shop:mine", listener)
    analytics.emit("shop:mine")
    assert late.calls == []
    analytics.emit("shop:mine")
    assert len(late.calls) == 1


def test_failures_are_one_line_and_not_one_each(api: Api, client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand failed events are a line at once and a summary at the end, with no key and no content in it."""
    caplog.set_level(logging.INFO)
    api.always = lambda seen: status(400, seen.body[:150])  # a server that quotes what it was sent
    analytics = client("very-secret-key", flush_at=10, max_batch_events=100)
    for n in range(1000):
        analytics.track("Private Matter", user_id=f"person-{n}", properties={"t": "x" * (n % 7)})
    analytics.flush(timeout=20)
    mine = _lines(caplog)
    assert len(mine) == 1
    analytics.close(timeout=10)
    first, last = _lines(caplog)
    assert "Rejected [400]" in first
    told = sum(int(line.split(" event")[0].replace(",", "")) for line in (first, last))
    assert told == 1000
    for word in ("very-secret-key", "Private", "person-", "dmVye"):
        assert word not in caplog.text


def test_every_kind_of_trouble_is_one_line(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Events that are too large by ten thousand different sizes are one entry, and not ten thousand."""
    analytics = client()
    for n in range(200):
        analytics.track("A", user_id="u", properties={"t": "x" * (33_000 + n)})
    analytics.close(timeout=10)
    assert len(_lines(caplog)) == 2
    assert max(map(len, _lines(caplog))) < 200


def test_success_is_not_logged(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """What goes well is in no log, but for those who ask for DEBUG."""
    caplog.set_level(logging.INFO, "millstream")
    analytics = client()
    for _ in range(50):
        analytics.track("A", user_id="u")
    analytics.close(timeout=10)
    assert _lines(caplog) == []


def test_a_log_handler_may_record_events(client: Make) -> None:
    """A handler that records what it logs, while the queue is full, does not go round in circles."""
    analytics = client(max_queue_events=1, flush_interval=300.0)
    lines = Heard()

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines(record)
            analytics.track("Logged", user_id="u")

    handler = Recording()
    logging.getLogger("millstream").addHandler(handler)
    try:
        for _ in range(5):
            analytics.track("A", user_id="u")
    finally:
        logging.getLogger("millstream").removeHandler(handler)
    assert len(lines.calls) == 1
    assert analytics.stats().dropped == 5


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "millstream"]
