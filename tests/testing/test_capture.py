"""`millstream.testing.capture()`: clients deliver to it, and nothing leaves the process."""

from __future__ import annotations

import asyncio
import socket

import pytest

from millstream import Analytics, AsyncAnalytics, Rejected, Request, RetriesExhausted, TransportError, testing
from millstream.testing import Capture

LONG = 20.0


def test_a_clients_events_are_captured(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as they would go out, without a socket."""
    monkeypatch.setattr(socket, "socket", None)
    with Analytics("key", http_client=capture) as analytics:
        analytics.identify("u1", traits={"plan": "pro"})
        analytics.track("Paid", user_id="u1", properties={"total": 5})
    assert [event["type"] for event in capture.events] == ["identify", "track"]
    assert capture.calls("track")[0]["properties"] == {"total": 5}
    (request,) = capture.requests
    assert (request.method, request.path, request.status) == ("POST", "/v1/batch", 200)
    assert len(request.events) == 2


def test_its_own_client_sends_at_once(capture: Capture) -> None:
    """So that waiting needs no flush."""
    capture.client().track("Paid", user_id="u1")
    assert capture.wait_for("Paid", timeout=LONG)["userId"] == "u1"
    with pytest.raises(AssertionError, match="track 'Paid' by u1"):
        capture.wait_for("Left", timeout=0)


def test_compressed_events_are_read(capture: Capture) -> None:
    """Whatever the client's settings."""
    capture.client(gzip=True).track("Paid", user_id="u1").wait(timeout=LONG)
    assert capture.events[0]["event"] == "Paid"


def test_with_asyncio(capture: Capture) -> None:
    """AsyncAnalytics takes it too."""

    async def main() -> None:
        async with AsyncAnalytics("key", http_client=capture) as analytics:
            analytics.track("Paid", user_id="u1")

    asyncio.run(main())
    assert capture.events[0]["event"] == "Paid"


def test_failures(capture: Capture) -> None:
    """A status, and with it how long to wait."""
    capture.fail(401)
    capture.fail(429, retry_after=7)
    with pytest.raises(Rejected, match="401"):
        capture.client().track("Paid", user_id="u1").wait(timeout=LONG)
    assert capture.send(Request("POST", "http://x/v1/batch", {}, b"{}")).headers == {"retry-after": "7"}
    assert capture.events == []
    assert [(each.status, each.reason) for each in capture.requests] == [
        (401, "ordered by the test"),
        (429, "ordered by the test"),
    ]


def test_an_answer_that_is_lost(capture: Capture) -> None:
    """The events have come; sent again, they are duplicates."""
    capture.drop()
    with pytest.raises(RetriesExhausted) as caught:
        capture.client(max_retries=0).track("Paid", user_id="u1", message_id="m1").wait(timeout=LONG)
    assert isinstance(caught.value.last, TransportError)
    capture.client().track("Paid", user_id="u1", message_id="m1").wait(timeout=LONG)
    assert len(capture.events) == len(capture.duplicates) == 1


def test_what_came_can_be_forgotten(capture: Capture) -> None:
    """And the answers that nobody has had yet."""
    analytics = capture.client()
    analytics.track("Paid", user_id="u1").wait(timeout=LONG)
    capture.fail(401)
    capture.clear()
    analytics.track("Left", user_id="u1").wait(timeout=LONG)
    assert [event["event"] for event in capture.events] == ["Left"]


def test_without_pytest() -> None:
    """A `with` statement will do; its clients are closed with it."""
    with testing.capture() as capture:
        analytics = capture.client(flush_at=100)
        receipt = analytics.track("Paid", user_id="u1")
    assert receipt.done()
    assert capture.events[0]["event"] == "Paid"


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1]", b'"x"', b'{"batch": [1, {"type": "track"}]}'])
def test_what_is_no_batch_does_no_harm(capture: Capture, body: bytes) -> None:
    """A test may send anything."""
    capture.send(Request("POST", "http://x/v1/batch", {}, body))
    assert capture.events == ([{"type": "track"}] if b"track" in body else [])
