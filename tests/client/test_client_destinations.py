"""A client with several destinations: each has its own channel, its own outcome and its own bound."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from millstream import Analytics, Dropped, QueueFull, Rejected, Request, Response, SettingsError
from millstream._core.cursor import Ranges, channel_notes
from millstream._core.delivery.retry import judge
from millstream._core.delivery.verdicts import Delivered, Partial, Refused, Verdict
from millstream._core.record import records
from millstream.destinations import Event, Limits, Part, Skip, TrackingAPI
from support.api import Api, status
from support.driven import DRIVEN, Driven


def names(api: Api) -> list[str]:
    return [event["event"] for event in api.accepted]


@pytest.fixture
def other() -> Iterator[Api]:
    """A second server."""
    api = Api()
    yield api
    api.close()


@pytest.fixture(params=DRIVEN)
def make(request: pytest.FixtureRequest, api: Api) -> Iterator[Callable[..., Driven]]:
    """Makes a client on each kind of runtime."""
    made: list[Driven] = []

    def make(**settings: Any) -> Driven:
        made.append(DRIVEN[request.param](host=api.url, **{"flush_interval": 0.05, **settings}))
        return made[-1]

    yield make
    for driven in made:
        driven.end()


def second(api: Api, **settings: Any) -> TrackingAPI:
    return TrackingAPI("other-key", host=api.url, name="Second", **settings)


def test_an_event_goes_to_each_destination(make: Callable[..., Driven], api: Api, other: Api):
    """Every destination gets every event once, with its own key, and the context says what became of each."""
    driven = make()
    driven.register(second(other))
    receipts = [driven.track(name) for name in "ABC"]
    assert driven.flush().delivered == 3
    assert names(api) == names(other) == ["A", "B", "C"]
    assert {request.json["writeKey"] for request in other.requests} == {"other-key"}
    context = driven.wait(receipts[0])
    assert {name: outcome.kind for name, outcome in context.deliveries.items()} == {
        "Segment.io": "delivered",
        "Second": "delivered",
    }
    assert driven.client.stats().destinations["Second"].delivered == 3


def test_destinations_take_no_requests_from_each_other(make: Callable[..., Driven], api: Api, other: Api):
    """With one request at a time each has one, also while those of the others are under way."""
    driven = make(max_in_flight=1, max_retries=0)
    driven.register(second(other), TrackingAPI("third", host=other.url, name="Third"))
    receipt = driven.track("A")
    driven.flush()
    deliveries = driven.wait(receipt).deliveries
    assert {name: outcome.kind for name, outcome in deliveries.items()} == dict.fromkeys(deliveries, "delivered")
    assert len(deliveries) == 3


def test_the_outcome_is_the_tracking_apis(make: Callable[..., Driven], api: Api, other: Api):
    """What another destination refuses is noted there; the event is delivered all the same."""
    other.always = status(404)
    driven = make()
    driven.register(second(other))
    receipt = driven.track("A")
    result = driven.flush()
    assert (result.delivered, result.failed) == (1, 0)
    delivery = driven.wait(receipt).deliveries["Second"]
    assert isinstance(delivery.error, Rejected)
    assert driven.client.stats().destinations["Second"].failed == 1


def test_integrations_choose(make: Callable[..., Driven], api: Api, other: Api):
    """A name that is false keeps the event from that destination, `All` from all but the Tracking API."""
    driven = make()
    driven.register(second(other))
    driven.track("A", integrations={"Second": False})
    driven.track("B", integrations={"All": False})
    driven.track("C", integrations={"All": False, "Second": True})
    receipt = driven.track("D", integrations={"Segment.io": False})
    nowhere = driven.track("E", integrations={"Segment.io": False, "Second": False})
    result = driven.flush()
    assert names(api) == ["A", "B", "C"]
    assert names(other) == ["C", "D"]
    assert (result.delivered, result.dropped) == (4, 1)
    assert [*driven.wait(receipt).deliveries] == ["Second"]
    with pytest.raises(Dropped):
        driven.wait(nowhere)


def test_a_dead_destination_delays_no_other(make: Callable[..., Driven], api: Api, other: Api):
    """While one destination backs off, events reach the others at once; a flush waits for both, within its timeout."""
    other.always = status(503, retry_after=300)
    driven = make()
    driven.register(second(other))
    receipts = [driven.track(name) for name in "ABC"]
    for receipt in receipts:
        driven.wait(receipt)
    assert names(api) == ["A", "B", "C"]
    assert driven.flush(timeout=0.1).pending == 0
    assert driven.client.stats().destinations["Second"].pending == 3


def test_a_full_destination_drops_its_own_copies(make: Callable[..., Driven], api: Api, other: Api):
    """A destination that does not keep up drops copies of its own, counted by name; the events are delivered."""
    other.always = status(503, retry_after=300)
    driven = make(max_queue_events=5)
    driven.register(second(other))
    receipts = []
    for n in range(8):
        receipts.append(driven.track(str(n)))
        driven.wait(receipts[-1])
    assert len(api.accepted) == 8
    assert isinstance(driven.wait(receipts[-1]).deliveries["Second"].error, QueueFull)
    stats = driven.client.stats()
    assert (stats.delivered, stats.dropped) == (8, 0)
    assert (stats.destinations["Second"].dropped, stats.destinations["Second"].pending) == (3, 5)


def test_a_destination_that_was_deregistered_gets_no_more(make: Callable[..., Driven], api: Api, other: Api):
    """What it has is delivered, and nothing after that."""
    driven = make()
    driven.register(second(other))
    driven.track("A")
    driven.deregister("Second")
    driven.track("B")
    driven.flush()
    assert names(other) == ["A"]
    assert names(api) == ["A", "B"]


def test_a_close_delivers_to_all(make: Callable[..., Driven], api: Api, other: Api):
    """`close_and_flush` waits for every destination."""
    driven = make(flush_interval=100)
    driven.register(second(other))
    for name in "ABC":
        driven.track(name)
    assert driven.close().delivered == 3
    assert names(api) == names(other) == ["A", "B", "C"]


class Pairs:
    """A destination of the application's own: two parts of each event, one event to a line."""

    alternative_names: ClassVar[Sequence[str]] = ("Actions Pairs",)
    limits = Limits()

    def __init__(self, url: str, name: str = "Pairs") -> None:
        self.name = name
        self.url = url

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip | Refused:
        if event.whole["event"] == "Skipped":
            return Skip("no use for it")
        if event.whole["event"] == "Broken":
            raise ValueError("cannot map this")
        name = event.whole["event"] + str(options.get("suffix", ""))
        return Part(f"{name}-1".encode()), Part(f"{name}-2".encode())

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        return Request("POST", self.url, {}, b"\n".join(part.data for part in parts))

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        if response.status != 200:
            return judge(response, now)
        bad = Refused(Rejected(400, b"bad part"))
        return Partial(tuple(bad if part.data.startswith(b"Half-2") else Delivered() for part in parts))


def lines(api: Api) -> list[str]:
    return [line for request in api.requests for line in request.body.decode().split("\n")]


def test_an_events_outcome_is_its_worst_part(make: Callable[..., Driven], api: Api, other: Api):
    """Parts are settled one by one; the event is delivered there when all of them are."""
    driven = make()
    driven.register(Pairs(other.url))
    receipts = {name: driven.track(name) for name in ("Whole", "Half", "Skipped", "Broken")}
    assert driven.flush().delivered == 4
    deliveries = {name: driven.wait(receipt).deliveries["Pairs"] for name, receipt in receipts.items()}
    assert {name: outcome.kind for name, outcome in deliveries.items()} == {
        "Whole": "delivered",
        "Half": "failed",
        "Skipped": "dropped",
        "Broken": "failed",
    }
    assert "cannot map this" in str(deliveries["Broken"].error)
    stats = driven.client.stats().destinations["Pairs"]
    assert (stats.delivered, stats.failed, stats.dropped, stats.pending) == (1, 2, 1, 0)


def test_options_reach_the_destination_by_any_of_its_names(make: Callable[..., Driven], other: Api):
    """The object that `integrations` holds under a name of the destination is given to `prepare`."""
    driven = make()
    driven.register(Pairs(other.url))
    driven.track("A", integrations={"Actions Pairs": {"suffix": "!"}})
    driven.flush()
    assert lines(other) == ["A!-1", "A!-2"]


def test_a_spool_keeps_what_one_destination_has_not(tmp_path: Path, api: Api, other: Api):
    """With a spool an event stays on disk until every destination has it; the next start sends it again, by its id."""
    other.always = status(503, retry_after=300)
    first = Analytics("key", host=api.url, spool=tmp_path)
    first.register(second(other))
    receipt = first.track("A", user_id="u")
    receipt.wait(timeout=10)
    first.close_and_flush(timeout=0.2)
    assert names(other) == []
    other.always = status(200)
    with Analytics("key", host=api.url, spool=tmp_path) as again:
        again.register(second(other))
        again.track("B", user_id="u")
    assert sorted(names(other)) == ["A", "B"]
    assert {event["messageId"] for event in api.accepted if event["event"] == "A"} == {receipt.message_id}


def test_what_every_destination_has_leaves_the_spool(tmp_path: Path, api: Api, other: Api):
    """Nothing is sent again that all destinations had."""
    for name in ("A", "B"):
        with Analytics("key", host=api.url, spool=tmp_path) as analytics:
            analytics.register(second(other))
            analytics.track(name, user_id="u")
    assert names(api) == names(other) == ["A", "B"]


@pytest.mark.process
def test_after_a_kill_only_destinations_that_have_not_settled_an_event_get_it(tmp_path: Path, api: Api, other: Api):
    """One destination has had everything, the other nothing when the process is killed: each gets every event once."""
    other.always = status(503, retry_after=300)
    code = f"""
import sys, time
from millstream import Analytics
from millstream.destinations import TrackingAPI
analytics = Analytics("key", host={api.url!r}, spool={str(tmp_path / "spool")!r})
analytics.register(TrackingAPI("other-key", host={other.url!r}, name="Second"))
receipts = [analytics.track("A", user_id="u", properties={{"n": n}}) for n in range(300)]
for receipt in receipts:
    receipt.wait(30)
print("delivered", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "delivered\n"
        deadline = time.monotonic() + 30
        while noted(tmp_path / "spool") < 300:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert (len(names(api)), names(other)) == (300, [])
    first = [event["messageId"] for event in api.accepted]
    other.always = status(200)
    with Analytics("key", host=api.url, spool=tmp_path / "spool") as analytics:
        analytics.register(second(other))
        analytics.flush(timeout=30)
    assert [event["messageId"] for event in api.accepted] == first
    assert sorted(event["messageId"] for event in other.accepted) == sorted(first)
    with Analytics("key", host=api.url, spool=tmp_path / "spool") as analytics:
        analytics.register(second(other))
        analytics.flush(timeout=30)
    assert (len(names(api)), len(names(other))) == (300, 300)


def noted(spool: Path) -> int:
    """How many events one channel alone has settled, by the notes in a spool."""
    notes = b"".join(path.read_bytes() for path in spool.glob("*/*.done"))
    (lane,) = [path for path in spool.iterdir() if path.is_dir()]
    (segment,) = lane.glob("*.jsonl")
    settled = channel_notes(notes).get("Segment.io", Ranges())
    return sum(start in settled for start, _ in records(segment.read_bytes(), 0))


def test_a_name_stands_for_one_destination(api: Api):
    """A second destination needs a name of its own, and the message says so."""
    with Analytics("key", host=api.url) as analytics, pytest.raises(SettingsError, match="give it another `name`"):
        analytics.register(TrackingAPI("key", host=api.url))
