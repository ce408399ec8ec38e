"""The request on the wire, and the clients that can carry it."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

import millstream
from millstream import Analytics, Request, Response, RetriesExhausted, SettingsError, TransportError, Urllib3Client
from support.api import Api, stall, status

Make = Callable[..., Analytics]


def test_the_request_has_the_documented_headers(api: Api, client: Make) -> None:
    """N31, T20 (differs): Basic with the key, JSON, and a User-Agent that says which version sent it."""
    client("foo").track("A", user_id="u").wait(timeout=10)
    (seen,) = api.requests
    assert (seen.method, seen.path) == ("POST", "/v1/batch")
    assert seen.header("authorization") == "Basic Zm9vOg=="
    assert seen.header("content-type") == "application/json"
    assert seen.header("user-agent") == f"millstream/{millstream.__version__}"
    assert seen.header("x-retry-count") is None


def test_any_key_fits_into_the_headers(api: Api, client: Make) -> None:
    """N31 (beyond): a key that is not ASCII is sent as UTF-8, in the header and in the body."""
    client("clé ☂").track("A", user_id="u").wait(timeout=10)
    (seen,) = api.requests
    assert seen.header("authorization") == "Basic " + b64encode("clé ☂:".encode()).decode()
    assert seen.json["writeKey"] == "clé ☂"


def test_sent_at_is_the_time_of_the_attempt(api: Api, client: Make) -> None:
    """N55: `sentAt` is ISO-8601 in UTC beside the batch, new for every attempt, while ids stay."""
    api.script(status(429, retry_after=1))
    client().track("A", user_id="u").wait(timeout=10)
    first, second = (seen.json for seen in api.requests)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["sentAt"])
    assert abs(datetime.now(timezone.utc) - _moment(second["sentAt"])).total_seconds() < 30
    assert (_moment(second["sentAt"]) - _moment(first["sentAt"])).total_seconds() > 0.9
    assert first["batch"] == second["batch"]


def test_the_client_can_be_an_object(client: Make) -> None:
    """N28, N74: an object with `send` and `close` gets the whole request, and its own timeout to keep."""

    class Recorder:
        def __init__(self) -> None:
            self.requests: list[Request] = []
            self.closed = 0

        def send(self, request: Request) -> Response:
            self.requests.append(request)
            return Response(200)

        def close(self) -> None:
            self.closed += 1

    http = Recorder()
    analytics = client("foo", host="http://foo.com", path="bar", http_client=http, http_request_timeout=7.0)
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.close_and_flush(timeout=10)
    _check_request(http.requests)
    assert http.closed == 1


def test_the_client_can_be_a_function(client: Make) -> None:
    """N29: a plain function of the request does as well."""
    seen: list[Request] = []

    def http(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    analytics = client("foo", host="http://foo.com", path="bar", http_client=http, http_request_timeout=7.0)
    analytics.track("A", user_id="u").wait(timeout=10)
    _check_request(seen)


def test_the_default_client_can_be_subclassed(api: Api, client: Make) -> None:
    """N74: a subclass that changes the request before it goes is a client like any other."""

    class Tagged(Urllib3Client):
        def send(self, request: Request) -> Response:
            headers = {**request.headers, "X-Tag": "mine"}
            return super().send(Request(request.method, request.url, headers, request.body, request.timeout))

    client(http_client=Tagged()).track("A", user_id="u").wait(timeout=10)
    assert api.requests[0].header("x-tag") == "mine"


def test_a_request_within_its_time_is_left_alone(api: Api, client: Make) -> None:
    """L1: an answer that comes before `http_request_timeout` counts."""
    held = api.hold()
    receipt = client(flush_at=1, http_request_timeout=30.0).track("A", user_id="u")
    api.wait_for(1)
    held.release()
    assert receipt.wait(timeout=10)


def test_a_request_over_its_time_has_failed(api: Api, client: Make) -> None:
    """L2, N39: without an answer in `http_request_timeout` the attempt has failed, and the reason says so."""
    api.always = stall()
    begin = time.monotonic()
    with pytest.raises(RetriesExhausted) as caught:
        client(http_request_timeout=0.2).track("A", user_id="u").wait(timeout=10)
    assert 0.15 < time.monotonic() - begin < 3.0
    assert isinstance(caught.value.last, TransportError)
    assert "imed out" in str(caught.value)


def test_no_time_at_all_is_no_setting() -> None:
    """L3, N39 (differs): a timeout of 0 fails every request, so it is refused when the client is made."""
    with pytest.raises(SettingsError, match="http_request_timeout"):
        Analytics("key", http_request_timeout=0)


def _check_request(requests: list[Any]) -> None:
    (request,) = requests
    assert (request.method, request.url, request.timeout) == ("POST", "http://foo.com/bar", 7.0)
    assert request.headers == {
        "Content-Type": "application/json",
        "User-Agent": f"millstream/{millstream.__version__}",
        "Authorization": "Basic Zm9vOg==",
    }
    assert isinstance(request.body, bytes)
    assert json.loads(request.body)["batch"][0]["event"] == "A"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
