"""Batches as requests: their bytes, their headers, and what differs between two attempts."""

from __future__ import annotations

import gzip
import json

import pytest

from millstream import Request
from millstream.destinations import Part, TrackingAPI

PARTS = [Part(b'{"a":1}'), Part(b'{"b":2}')]


def api(**settings: object) -> TrackingAPI:
    return TrackingAPI("key", host="http://api.example/", **settings)  # type: ignore[arg-type]


def test_the_body_is_the_events_as_they_are() -> None:
    """A batch has three keys, and the events' bytes are in it unchanged; the parts are still their own afterwards."""
    body = api().request(PARTS, 1, 0.0).body
    assert body == b'{"batch":[{"a":1},{"b":2}],"writeKey":"key","sentAt":"1970-01-01T00:00:00.000Z"}'
    assert [part.data for part in PARTS] == [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize("key", ["k", 'a "quoted" key', "schlüssel"])
def test_the_overhead_is_what_is_not_events(key: str) -> None:
    """The limits know how many bytes stand around the events, whatever the write key; a batch adds its commas alone."""
    made = TrackingAPI(key)
    events = sum(len(part.data) for part in PARTS)
    assert len(made.request(PARTS, 1, 1e9).body) == made.limits.overhead + events + 1
    assert json.loads(made.request(PARTS, 1, 1e9).body)["writeKey"] == key


def test_each_attempt_says_how_many_came_before() -> None:
    """From the second attempt on there is an X-Retry-Count, and `sentAt` is the attempt's own; the first has none."""
    made = api()
    first, third = made.request(PARTS, 1, 1.0), made.request(PARTS, 3, 2.0)
    assert "X-Retry-Count" not in first.headers
    assert third.headers["X-Retry-Count"] == "2"
    assert "X-Retry-Count" not in made.request(PARTS, 1, 1.0).headers
    assert json.loads(third.body)["sentAt"] == "1970-01-01T00:00:02.000Z"


def test_a_compressed_request_is_the_same_bytes_each_time() -> None:
    """With gzip the body is the same JSON, says so in a header, and holds no time of compression."""
    request: Request = api(compress=True).request(PARTS, 1, 0.0)
    assert request.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(request.body) == api().request(PARTS, 1, 0.0).body
    assert request.body[4:8] == bytes(4)


def test_a_base_url_may_end_in_a_slash() -> None:
    """The path follows the host with one slash."""
    assert api().request(PARTS, 1, 0.0).url == "http://api.example/v1/batch"


@pytest.mark.parametrize(("name", "obeys"), [("Segment.io", False), ("Mine", True)])
def test_only_the_clients_own_api_is_not_switched_off_by_all(name: str, obeys: bool) -> None:
    """`{"All": false}` keeps an event from a further destination, and not from the Tracking API of the client."""
    assert api(name=name).obeys_all is obeys
