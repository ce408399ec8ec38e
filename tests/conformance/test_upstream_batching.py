"""Batching: by count, by time, by size, and by flush."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from millstream import Analytics, EventTooLarge
from support.api import Api, stall

Make = Callable[..., Analytics]
KB = 1024


def test_a_full_batch_goes_at_once_in_order(api: Api, client: Make) -> None:
    """P1: three events of three kinds with `flush_at=3` are one request, in the order of the calls."""
    analytics = client(flush_at=3, flush_interval=60.0)
    analytics.track("A", user_id="u")
    analytics.identify("u")
    analytics.page("P", user_id="u")
    api.wait_for(1)
    assert [event["type"] for event in api.requests[0].events] == ["track", "identify", "page"]


def test_an_event_waits_no_longer_than_the_interval(api: Api, client: Make) -> None:
    """P2: a lonely event goes after `flush_interval`, and not before."""
    begin = time.monotonic()
    receipt = client(flush_interval=0.5).track("A", user_id="u")
    (seen,) = api.wait_for(1)
    assert 0.45 < seen.time - begin < 5.0
    assert receipt.wait(timeout=10).failed_delivery() is None


def test_full_or_time(api: Api, client: Make) -> None:
    """P3: with `flush_at=2`, two of three events go at once, and the third after the interval."""
    held = api.hold()
    analytics = client(flush_at=2, flush_interval=0.4)
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    api.wait_for(1)
    analytics.track("C", user_id="u")
    held.release()
    api.wait_for(2)
    assert [len(seen.events) for seen in api.requests] == [2, 1]


def test_a_batch_is_never_over_the_byte_limit(api: Api, client: Make) -> None:
    """P4 (differs): 30 events of 30 KB go in requests under 500 KB, counted in real bytes, wrapper included."""
    analytics = client(flush_at=100, flush_interval=60.0)
    for n in range(30):
        analytics.track("Big", user_id="u", properties={"n": n, "text": "x" * 30 * KB})
    assert analytics.flush(timeout=10).delivered == 30
    assert len(api.requests) == 2
    assert all(len(seen.body) <= 500_000 for seen in api.requests)
    assert sorted(event["properties"]["n"] for event in api.events) == list(range(30))


def test_a_batch_that_is_full_by_bytes_does_not_wait(api: Api, client: Make) -> None:
    """P4: when the bytes of a request are together it goes, whatever `flush_at` says."""
    analytics = client(flush_at=100, flush_interval=60.0)
    for _ in range(17):
        analytics.track("Big", user_id="u", properties={"text": "x" * 30 * KB})
    api.wait_for(1)
    assert len(api.requests[0].body) > 450_000


@pytest.mark.parametrize("already", [0, 3])
def test_flush_sends_what_is_there(api: Api, client: Make, already: int) -> None:
    """P5, P8: with `flush_at=20`, a flush sends three events, or five of which three waited, as one request."""
    analytics = client(flush_at=20, flush_interval=60.0)
    count = 3 if already == 0 else 5
    for n in range(count):
        analytics.track(str(n), user_id="u")
    analytics.flush(timeout=10)
    assert [len(seen.events) for seen in api.requests] == [count]


def test_flush_at_one_is_one_event_to_a_request(api: Api, client: Make) -> None:
    """P6: with `flush_at=1`, three events are three requests, flushed or not."""
    analytics = client(flush_at=1)
    for n in range(3):
        analytics.track(str(n), user_id="u")
    analytics.flush(timeout=10)
    assert [len(seen.events) for seen in api.requests] == [1, 1, 1]


def test_flush_at_starts_a_flush_and_caps_no_batch(api: Api, client: Make) -> None:
    """P7, P9 (differs): a backlog goes in as few requests as fit, not in pieces of `flush_at`."""
    held = api.hold()
    analytics = client(flush_at=3, max_in_flight=1)
    for n in range(3):
        analytics.track(str(n), user_id="u")
    api.wait_for(1)
    for n in range(3, 13):
        analytics.track(str(n), user_id="u")
    held.release()
    analytics.flush(timeout=10)
    assert [len(seen.events) for seen in api.requests] == [3, 10]
    assert [event["event"] for event in api.events] == [str(n) for n in range(13)]


def test_a_batch_can_be_capped(api: Api, client: Make) -> None:
    """P7 (differs): whoever wants small requests says so with `max_batch_events`."""
    analytics = client(flush_at=3, max_batch_events=3, flush_interval=60.0)
    for n in range(5):
        analytics.track(str(n), user_id="u")
    analytics.flush(timeout=10)
    assert sorted(len(seen.events) for seen in api.requests) == [2, 3]


def test_an_event_over_the_limit_fails_alone(api: Api, client: Make) -> None:
    """P10: an event over 32 KB is never sent; its receipt says how large it is and which field is to blame."""
    analytics = client()
    receipt = analytics.track("Big", user_id="u", properties={"html": "x" * 33 * KB})
    with pytest.raises(EventTooLarge, match="32,768") as caught:
        receipt.wait(timeout=10)
    assert caught.value.field == "properties.html"
    assert caught.value.size > caught.value.limit == 32 * KB
    analytics.flush(timeout=10)
    assert api.requests == []


def test_an_event_at_the_limit_goes(api: Api, client: Make) -> None:
    """P10: 32 KB are 32,768 bytes of JSON, and exactly as many are allowed."""
    analytics = client()
    empty = analytics.track("Big", user_id="u", properties={"html": ""})
    room = 32 * KB - len(empty.data)
    analytics.track("Big", user_id="u", properties={"html": "x" * room}).wait(timeout=10)
    with pytest.raises(EventTooLarge):
        analytics.track("Big", user_id="u", properties={"html": "x" * (room + 1)}).wait(timeout=10)
    largest = max(api.events, key=lambda event: len(json.dumps(event)))
    assert len(largest["properties"]["html"]) == room


def test_requests_at_once_are_bounded(api: Api, client: Make) -> None:
    """P7 (differs): at most `max_in_flight` requests are under way, where upstream has no bound."""
    api.always = stall()
    analytics = client(flush_at=1, max_in_flight=2)
    for n in range(6):
        analytics.track(str(n), user_id="u")
    api.wait_for(2)
    assert api.stays_at(2, 0.3)
    assert analytics.stats().in_flight == 2
