"""Invalid events: a call never breaks the request around it, and the log says where the mistake is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream import Analytics, Dropped, InvalidEvent
from millstream._client.invalid import EVERY, PLACES, InvalidLog
from support.api import Api

Make = Callable[..., Analytics]
HERE = str(Path(__file__))


@pytest.fixture(autouse=True)
def _as_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what our plugin of pytest sets."""
    monkeypatch.delenv("MILLSTREAM_ON_INVALID")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "millstream"]


CALLS: dict[str, tuple[Callable[[Analytics], Any], tuple[str, ...]]] = {
    "no user": (
        lambda a: a.track("Order Completed"),
        ("Analytics.track('Order Completed')", "pass user_id or anonymous_id"),
    ),
    "a value": (
        lambda a: a.track("A", user_id="u", properties={"cart": [{"price": object()}]}),
        ("Analytics.track('A')", "properties.cart[0].price", "object"),
    ),
    "no mapping": (
        lambda a: a.identify("u", traits=["a"]),  # type: ignore[arg-type]
        ("Analytics.identify()", "traits must be a mapping (a dict), got list"),
    ),
    "an empty name": (
        lambda a: a.page("", user_id="u"),
        ("Analytics.page('')", "name must be a non-empty str, got an empty str"),
    ),
    "a whole event": (
        lambda a: a.send({"type": "track", "event": "Paid"}),
        ("Analytics.send('Paid')", "pass userId or anonymousId"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_be_sent_raises_nothing_and_says_all(
    api: Api, client: Make, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """One line has the event, the field, the value's type, the remedy, and the caller's file and line."""
    call, words = CALLS[name]
    receipt = call(client())
    with pytest.raises(Dropped) as caught:
        receipt.wait(timeout=1)
    assert isinstance(caught.value.__cause__, InvalidEvent)
    (line,) = lines(caplog)
    for word in words:
        assert word in line
    assert f" at {HERE}:{call.__code__.co_firstlineno} in <lambda> recorded nothing: " in line


def test_the_place_is_the_first_frame_outside_the_library(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the application's function, whatever way leads through the library."""
    analytics = client()

    def checkout() -> None:
        analytics.track("A")

    checkout()
    assert f"{HERE}:{checkout.__code__.co_firstlineno + 1} in checkout" in lines(caplog)[0]


def test_listeners_are_told_each_time_and_the_log_once(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a loop is one line; no event is lost without an `error`."""
    analytics, heard = client(), []
    analytics.on("error", heard.append)
    for _ in range(300):
        analytics.track("A")
    assert len(heard) == 300
    assert {event.code for event in heard} == {"invalid_event"}
    assert len(lines(caplog)) == 1
    assert analytics.stats().accepted == 0


def test_the_environment_has_calls_raise(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$MILLSTREAM_ON_INVALID` counts for a client that does not say otherwise."""
    monkeypatch.setenv("MILLSTREAM_ON_INVALID", " raise ")
    with pytest.raises(InvalidEvent):
        client().track("A")
    assert client(on_invalid="report").track("A").done()


def test_a_handler_that_makes_the_same_mistake_goes_round_once(client: Make) -> None:
    """A log handler that records every line as an event without a user ends."""
    analytics, seen = client(), []

    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            analytics.track("Logged")

    handler = Records()
    logging.getLogger("millstream").addHandler(handler)
    try:
        analytics.track("A")
    finally:
        logging.getLogger("millstream").removeHandler(handler)
    assert len(seen) == 2


def test_a_place_has_a_line_a_minute_with_what_came_between(caplog: pytest.LogCaptureFixture) -> None:
    """Within a minute calls are counted; the next line has their number."""
    log, wrong = InvalidLog(), InvalidEvent("event is wrong")
    for now in (0.0, 1.0, EVERY - 0.1, EVERY):
        assert log.note("Analytics.track", "A", wrong, "views.py:7", now)
    assert lines(caplog) == [
        "Analytics.track('A') at views.py:7 recorded nothing: event is wrong",
        "Analytics.track('A') at views.py:7 recorded nothing: event is wrong (2 more since the last line)",
    ]


def test_only_so_many_places_have_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Places beyond the bound are not logged, until a minute has passed for one of the others."""
    log, wrong = InvalidLog(), InvalidEvent("event is wrong")
    told = [log.note("Analytics.track", None, wrong, f"views.py:{n}", 0.0) for n in range(PLACES + 1)]
    assert told == [True] * PLACES + [False]
    assert len(lines(caplog)) == PLACES
    assert log.note("Analytics.track", None, wrong, "late.py:1", EVERY)


def test_a_long_name_is_cut_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """An event's name makes no second line, and none that has no end."""
    InvalidLog().note("Analytics.track", "a\nb" * 1000, InvalidEvent("wrong"), "views.py:1", 0.0)
    assert len(lines(caplog)[0].splitlines()) == 1
    assert len(lines(caplog)[0]) < 250
