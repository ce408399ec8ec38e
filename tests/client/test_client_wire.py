"""The wire as it can be: redirects, prefixes, broken answers, compression, TLS."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from millstream import Analytics, EventTooLarge, Rejected, RetriesExhausted, TransportError, Urllib3Client
from support.api import Answer, Api, Seen, drop, garbage, half, redirect, reset, status
from support.faults import PEM

Make = Callable[..., Analytics]


@pytest.mark.parametrize("code", [301, 302, 303])
def test_a_redirect_never_becomes_a_get(api: Api, client: Make, code: int) -> None:
    """A 301, 302 or 303 is a failure that names the new place: followed, it would be a GET without the events."""
    api.always = redirect(code, f"{api.url}/elsewhere")
    with pytest.raises(Rejected, match=f"{api.url}/elsewhere") as caught:
        client().track("A", user_id="u").wait(timeout=10)
    assert caught.value.status == code
    assert [(seen.method, seen.path) for seen in api.requests] == [("POST", "/v1/batch")]


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_that_keeps_the_request_is_followed(api: Api, client: Make, code: int) -> None:
    """A 307 or 308 on the same host gets the same POST with the same body, and its answer counts."""
    api.script(redirect(code, "/elsewhere"))
    client().track("A", user_id="u").wait(timeout=10)
    first, second = api.requests
    assert (second.method, second.path, second.body) == ("POST", "/elsewhere", first.body)
    assert second.header("authorization") == first.header("authorization")


def test_a_redirect_to_another_host_is_not_followed(api: Api, client: Make) -> None:
    """The write key goes to the host that was set, and to no other."""
    other = Api()
    try:
        api.always = redirect(307, f"{other.url}/v1/batch")
        with pytest.raises(Rejected, match="host"):
            client().track("A", user_id="u").wait(timeout=10)
        assert other.requests == []
    finally:
        other.close()


def test_redirects_come_to_an_end(api: Api, client: Make) -> None:
    """A server that redirects for ever is a failure after a few hops."""
    api.always = lambda seen: redirect(307, f"{seen.path}x")
    with pytest.raises(Rejected, match=r"\[307\]"):
        client().track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) <= 5


@pytest.mark.parametrize("answer", [status(304), status(302), Answer(307, {"Location": "http://[broken"}, b"")])
def test_no_3xx_is_a_delivery(api: Api, client: Make, answer: Answer) -> None:
    """A 3xx without a usable Location is a failure, never a success."""
    api.always = answer
    with pytest.raises((Rejected, RetriesExhausted)):
        client().track("A", user_id="u").wait(timeout=10)


def test_the_path_in_a_host_is_kept(api: Api, client: Make) -> None:
    """A host with a path, such as a proxy's prefix, is where the requests go."""
    client(host=f"{api.url}/segment/").track("A", user_id="u").wait(timeout=10)
    assert api.requests[0].path == "/segment/v1/batch"


@pytest.mark.parametrize(
    "answer",
    [drop(), reset(), half(), garbage(), garbage(b""), garbage(b"HTTP/1.1 abc\r\n\r\n")],
    ids=["dropped", "reset", "half", "garbage", "empty", "bad status"],
)
def test_a_broken_answer_is_no_answer(api: Api, client: Make, answer: Answer) -> None:
    """Whatever breaks on the wire ends as a TransportError with the original as its cause."""
    api.always = answer
    with pytest.raises(RetriesExhausted) as caught:
        client().track("A", user_id="u").wait(timeout=10)
    assert isinstance(caught.value.last, TransportError)
    assert caught.value.last.__cause__ is not None


def test_nobody_there_is_no_answer(client: Make) -> None:
    """A host that refuses connections fails the event, and the message names the host."""
    gone = Api()
    gone.close()
    with pytest.raises(RetriesExhausted, match=rf"127\.0\.0\.1:{gone.url.rpartition(':')[2]}"):
        client(host=gone.url).track("A", user_id="u").wait(timeout=10)


def test_an_endless_answer_is_cut_off(api: Api, client: Make) -> None:
    """An answer of any length counts by its status: only its beginning is read."""
    api.always = Answer(200, {}, b"x" * 5_000_000)
    analytics = client()
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.track("B", user_id="u").wait(timeout=10)
    assert len(api.accepted) == 2


def test_connections_are_kept(api: Api, client: Make) -> None:
    """Requests one after another share a connection."""
    analytics = client()
    for name in "ABC":
        analytics.track(name, user_id="u").wait(timeout=10)
    assert {seen.connection for seen in api.requests} == {1}


def test_bodies_can_be_compressed(api: Api, client: Make) -> None:
    """With `gzip=True` the body is gzip, says so, and unpacks to what it would have been."""
    analytics = client(gzip=True)
    analytics.track("A", user_id="u", properties={"text": "x" * 10_000}).wait(timeout=10)
    (seen,) = api.requests
    assert seen.header("content-encoding") == "gzip"
    assert len(seen.body) < 1_000
    assert list(seen.json) == ["batch", "writeKey", "sentAt"]


@pytest.mark.parametrize("char", ["é", "☂", "𝄞", '"', "\n", "\x00"])
def test_limits_count_bytes_and_not_characters(api: Api, client: Make, char: str) -> None:
    """32 KB are bytes on the wire, whatever the text is made of and however it is escaped."""
    analytics = client()
    empty = len(analytics.track("A", user_id="u", properties={"t": ""}).data)
    each = len(analytics.track("A", user_id="u", properties={"t": char}).data) - empty
    fits = (32 * 1024 - empty) // each
    analytics.track("A", user_id="u", properties={"t": char * fits}).wait(timeout=10)
    with pytest.raises(EventTooLarge):
        analytics.track("A", user_id="u", properties={"t": char * (fits + 1)}).wait(timeout=10)
    assert max(len(event["properties"]["t"]) for event in api.events) == fits


def test_requests_stay_under_the_limit_with_any_text(api: Api, client: Make) -> None:
    """A request body is never over 500 KB, counted in bytes, also when each character takes four."""
    analytics = client("k" * 1000, flush_at=1000, flush_interval=60.0)
    for _ in range(60):
        analytics.track("A", user_id="u", properties={"t": "𝄞" * 7_000})
    assert analytics.flush(timeout=20).delivered == 60
    assert max(len(seen.body) for seen in api.requests) <= 500_000
    assert len(api.requests) == 4


@pytest.mark.parametrize("answer", [status(413), status(400, b'{"message":"Payload too large"}')])
def test_a_batch_that_is_too_large_for_the_server_is_split(api: Api, client: Make, answer: Answer) -> None:
    """A 413, and a 400 about size, halve the batch until it fits; only an event that is too large alone fails."""
    api.always = lambda seen: answer if _over(seen) else status(200)
    analytics = client(flush_at=8, flush_interval=60.0)
    receipts = [analytics.track(str(n), user_id="u") for n in range(8)]
    result = analytics.flush(timeout=10)
    failed = [n for n, receipt in enumerate(receipts) if receipt.outcome.error is not None]
    assert (result.delivered, result.failed, failed) == (7, 1, [5])
    assert sorted(event["event"] for event in api.accepted) == [str(n) for n in range(8) if n != 5]


def _over(seen: Seen) -> bool:
    names = [event["event"] for event in seen.events]
    return len(names) > 2 or "5" in names


def test_a_certificate_that_cannot_be_checked_is_no_answer(tls_api: Api, client: Make) -> None:
    """A self-signed server is refused before anything is sent, and the reason names the certificate."""
    with pytest.raises(RetriesExhausted, match=r"(?i)certificate"):
        client(host=tls_api.url).track("A", user_id="u").wait(timeout=10)
    assert tls_api.requests == []


def test_a_certificate_of_ones_own_can_be_trusted(tls_api: Api, client: Make) -> None:
    """Options of urllib3's PoolManager, such as `ca_certs`, reach it."""
    analytics = client(host=tls_api.url, http_client=Urllib3Client(ca_certs=PEM))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert len(tls_api.events) == 1


def test_the_body_is_compact_json(api: Api, client: Make) -> None:
    """Text that is not ASCII goes out as UTF-8, without escapes and without spaces between tokens."""
    client().track("Größe ☂", user_id="u").wait(timeout=10)
    body = api.requests[0].body
    assert "Größe ☂".encode() in body
    assert body == json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()
