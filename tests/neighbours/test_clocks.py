"""freezegun and time-machine: events have the time that a test has set, and everything that waits goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import time_machine
from delivered import Run, assert_delivered
from freezegun import freeze_time

from millstream import Analytics, AsyncAnalytics
from millstream.testing import Capture, LiveCollector
from support.api import Api, status

WHEN = dt.datetime(2020, 5, 17, 9, 30, 15, tzinfo=dt.timezone.utc)
STAMP = "2020-05-17T09:30:15.000Z"
Stop = Callable[[], AbstractContextManager[Any]]

TOOLS: dict[str, Stop] = {
    "freezegun": lambda: freeze_time(WHEN),
    "time-machine": lambda: time_machine.travel(WHEN, tick=False),
}


@pytest.fixture(params=TOOLS)
def stop(request: pytest.FixtureRequest) -> Stop:
    """Stops the clock, by each of the tools."""
    return TOOLS[request.param]


@pytest.fixture
def stopped(stop: Stop) -> Iterator[None]:
    """The same for the time of a test, from before its other fixtures are made."""
    with stop():
        yield


def make(api: Api, **settings: Any) -> Analytics:
    return Analytics("key", **{"host": api.url, "flush_interval": 0.2, **settings})


def test_values_and_timestamps(api: Api, stop: Stop) -> None:
    """What a stopped clock gives is sent as any other time; so is what was made before."""
    before = dt.datetime(2021, 1, 2, 3, 4, 5)  # noqa: DTZ001
    with stop():
        now = dt.datetime.now()  # noqa: DTZ005
        values = {
            "now": now,
            "utc": dt.datetime.now(dt.timezone.utc),
            "day": dt.date.today(),  # noqa: DTZ011
            "before": [before, before.date()],
            "wait": dt.datetime.now(dt.timezone.utc) - WHEN,
        }
        with make(api) as analytics:
            analytics.track("Now", user_id="u", properties=values)
            analytics.track("Given", user_id="u", timestamp=WHEN)
            analytics.track("Given", user_id="u", timestamp=dt.datetime.now(dt.timezone.utc))
    assert [event["timestamp"] for event in api.events] == [STAMP] * 3
    assert api.events[0]["properties"] == {
        "now": now.isoformat(),
        "utc": "2020-05-17T09:30:15Z",
        "day": now.date().isoformat(),
        "before": ["2021-01-02T03:04:05", "2021-01-02"],
        "wait": "P0D",
    }
    assert api.requests[0].json["sentAt"] == STAMP


def test_a_client_that_is_made_while_time_stands_still(api: Api, stopped: None) -> None:
    """Its flush interval ends, and so does the pause before a retry."""
    api.script(status(503))
    with make(api) as analytics:
        analytics.track("A", user_id="u")
        api.wait_for(2)
        analytics.flush(timeout=10)
        assert (analytics.stats().delivered, analytics.stats().retries) == (1, 1)


def test_a_client_that_is_made_before(api: Api, stop: Stop) -> None:
    """It delivers before time stands still, meanwhile, and after it."""
    with make(api) as analytics:
        analytics.track("Before", user_id="u").wait(timeout=10)
        with stop():
            api.script(status(503))
            analytics.track("Meanwhile", user_id="u").wait(timeout=10)
            analytics.track("Left", user_id="u")
        analytics.track("After", user_id="u").wait(timeout=10)
    assert [event["event"] for event in api.accepted] == ["Before", "Meanwhile", "Left", "After"]
    assert [event["timestamp"] == STAMP for event in api.accepted] == [False, True, True, False]


def test_a_close_ends(api: Api, stopped: None) -> None:
    """A close keeps to its timeout, and hands back what is left."""
    api.hold()
    analytics = make(api)
    analytics.track("A", user_id="u")
    api.wait_for(1)
    assert len(analytics.close_and_flush(timeout=0.2).unsent) == 1


def test_async(api: Api) -> None:
    """On an event loop, too, whose own clock the tool has to leave alone: asyncio could not sleep otherwise."""

    async def main() -> None:
        async with AsyncAnalytics("key", host=api.url, flush_interval=0.2) as analytics:
            over = asyncio.Event()
            now = {"now": dt.datetime.now(dt.timezone.utc)}
            analytics.track("A", user_id="u", properties=now, callback=lambda *_: over.set())
            await over.wait()
            assert (analytics.stats().delivered, analytics.stats().retries) == (1, 1)

    for tool in (freeze_time(WHEN, real_asyncio=True), time_machine.travel(WHEN, tick=False)):
        api.script(status(503))
        with tool:
            asyncio.run(asyncio.wait_for(main(), 10))
    assert [event["timestamp"] for event in api.accepted] == [STAMP] * 2
    assert [event["properties"]["now"] for event in api.accepted] == ["2020-05-17T09:30:15Z"] * 2


def test_the_collector_fixture(stopped: None, collector: LiveCollector) -> None:
    """The collector stores what comes by the clock that the test has set; a delay that was ordered ends."""
    collector.delay(0.1)
    collector.drop()
    with collector.client() as analytics:
        analytics.track("A", user_id="u", properties={"now": dt.datetime.now(dt.timezone.utc)}).wait(timeout=10)
        analytics.track("B", user_id="u").wait(timeout=10)
    assert [(event["event"], event["timestamp"], event["receivedAt"]) for event in collector.events] == [
        ("A", STAMP, STAMP),
        ("B", STAMP, STAMP),
    ]
    assert [event["event"] for event in collector.duplicates] == ["B"]


def test_the_capture_fixture(stopped: None, capture: Capture) -> None:
    """A failure that was ordered is followed by a retry."""
    capture.fail(503)
    with capture.client() as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
    assert [event["timestamp"] for event in capture.events] == [STAMP]


@pytest.mark.parametrize("year", [1999, 2099])
def test_a_spool_does_not_age(api: Api, tmp_path: Path, year: int) -> None:
    """With freezegun, an event that cannot be delivered is kept, whatever year it is: files have the real time."""
    with freeze_time(dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc)):
        api.script(status(503))
        with make(api, spool=tmp_path / "spool", max_retries=0) as analytics:
            analytics.track("A", user_id="u")
            analytics.flush(timeout=10)  # its retries are exhausted
            analytics.flush(timeout=10)  # and it has them again
            assert (analytics.stats().failed, analytics.stats().delivered) == (0, 1)


@pytest.mark.parametrize("client", ["Analytics", "AsyncAnalytics"])
def test_first_imported_while_time_stands_still(api: Api, run: Run, client: str) -> None:
    """What the library has bound at its import is not what freezegun had put there."""
    said = run("freezegun_", client)
    assert_delivered(api, said)
    assert said["values"] == ["2020-05-17T09:30:15", "2020-05-17", "2021-01-02T03:04:05", "2021-01-02"]
    assert said["after"] == said["before"]
