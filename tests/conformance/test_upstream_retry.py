"""Retries over a real wire: which answers are tried again, how they are counted, and what the server is told.

The delays themselves are tested without waiting, on the engine with a virtual clock (tests/unit). To wait little
here, events that back off do so together: one client, one event to a request, answers chosen by the event's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from millstream import (
    Analytics,
    RateLimitExpired,
    Receipt,
    Rejected,
    Request,
    Response,
    RetriesExhausted,
    TransportError,
)
from support.api import Answer, Api, by_event, drop, reset, status
from support.background import Heard

Make = Callable[..., Analytics]

RETRIED = (408, 410, 429, 460, 500, 502, 503, 504, 529, 599)
FINAL = (400, 401, 403, 404, 413, 422, 499, 501, 505, 511)


def test_success_is_one_request(api: Api, client: Make) -> None:
    """T01: a 200 is delivered, and the request had no X-Retry-Count."""
    client(max_retries=3).track("A", user_id="u").wait(timeout=10)
    assert _counts(api, "A") == [None]


@pytest.mark.parametrize("code", FINAL)
def test_an_answer_that_repeating_would_not_change_is_final(api: Api, client: Make, code: int) -> None:
    """P11, T03, T04, T05, T12, T14, T19: one request, and the receipt has the status."""
    api.always = status(code, b"because")
    with pytest.raises(Rejected, match=rf"\[{code}\]") as caught:
        client(max_retries=3).track("A", user_id="u").wait(timeout=10)
    assert (caught.value.status, caught.value.body) == (code, b"because")
    assert len(api.requests) == 1


def test_each_passing_trouble_is_tried_again(api: Api, client: Make) -> None:
    """P15, T09, T10, T11, T13, T15: each of these answers, and no answer at all, is followed by another attempt."""
    first = {f"S{code}": status(code) for code in RETRIED} | {"Dropped": drop(), "Reset": reset()}
    api.always = by_event(**{name: [answer, status(200)] for name, answer in first.items()})
    analytics = client(flush_at=1, max_in_flight=len(first), max_retries=1)
    for name in first:
        analytics.track(name, user_id="u")
    assert analytics.flush(timeout=20).delivered == len(first)
    for name in first:
        assert _counts(api, name) == [None, "1"]
        assert 0.9 < _gap(api, name) < 5.0


def test_attempts_are_counted_to_the_server_and_against_the_budget(api: Api, client: Make) -> None:
    """P13, T02, T16, T18: two retries make three attempts, told as absent, 1, 2; then the last status is the reason."""
    api.always = by_event(
        Twice=[status(500), status(500), status(200)],
        Mixed=[status(408), status(500), status(200)],
        Never=[status(500)],
    )
    analytics = client(flush_at=1, max_retries=2)
    receipts = {name: analytics.track(name, user_id="u") for name in ("Twice", "Mixed", "Never")}
    assert analytics.flush(timeout=20).delivered == 2
    assert all(_counts(api, name) == [None, "1", "2"] for name in receipts)
    error = _error(receipts["Never"])
    assert isinstance(error, RetriesExhausted)
    assert (error.attempts, error.last.status) == (3, 500)
    assert "[500]" in str(error)


def test_no_retries_is_one_request(api: Api, client: Make) -> None:
    """P16: with `max_retries=0` a failing server is asked once."""
    api.always = status(500)
    error = _error(client(max_retries=0).track("A", user_id="u"))
    assert isinstance(error, RetriesExhausted)
    assert error.attempts == 1
    assert len(api.requests) == 1


def test_the_reason_of_no_answer_is_what_the_client_raised(client: Make) -> None:
    """P15, T15: the last exception is the cause of the receipt's error."""

    def broken(request: Request) -> Response:
        raise OSError("cable cut")

    error = _error(client(http_client=broken).track("A", user_id="u"))
    assert isinstance(error, RetriesExhausted)
    assert isinstance(error.last, TransportError)
    assert "cable cut" in str(error)
    assert isinstance(error.last.__cause__, OSError)


@pytest.mark.parametrize("code", [100, 102, 199, 600, 999])
def test_a_status_that_is_none_is_passing_trouble(client: Make, code: int) -> None:
    """P14: below 200 and from 600 on, it counts as a failed attempt that may be repeated."""
    error = _error(client(http_client=lambda _: Response(code)).track("A", user_id="u"))
    assert isinstance(error, RetriesExhausted)


def test_a_rate_limit_is_waited_for_and_costs_no_retry(api: Api, client: Make) -> None:
    """P12, T06, T17: 429 with Retry-After waits as long as it says, is told as a retry, and leaves the budget alone."""
    api.script(status(429, retry_after=1))
    receipt = client(max_retries=0).track("A", user_id="u")
    receipt.wait(timeout=10)
    assert _counts(api, "A") == [None, "1"]
    assert _gap(api, "A") > 0.95


def test_retry_after_counts_on_every_passing_trouble(api: Api, client: Make) -> None:
    """T07, T08 (differs): the server's word is kept on 408 and 503 too, where upstream ignores it."""
    codes = {"S408": 408, "S503": 503}
    api.always = by_event(**{name: [status(code, retry_after=1), status(200)] for name, code in codes.items()})
    analytics = client(max_retries=0, flush_at=1)
    for name in codes:
        analytics.track(name, user_id="u")
    assert analytics.flush(timeout=10).delivered == 2
    for name in codes:
        assert _counts(api, name) == [None, "1"]
        assert _gap(api, name) > 0.9


def test_retry_after_can_be_a_date(api: Api, client: Make) -> None:
    """T06 (differs): RFC 9110 allows a date as well, and it is kept, whatever the header's case."""
    api.script(Answer(429, {"retry-AFTER": formatdate(time.time() + 2, usegmt=True)}))
    client(max_retries=0).track("A", user_id="u").wait(timeout=10)
    assert 0.9 < _gap(api, "A") < 4.0


def test_retry_after_zero_is_a_second(api: Api, client: Make) -> None:
    """T06: a server that says 0 is not asked again at once."""
    api.script(status(429, retry_after=0))
    client().track("A", user_id="u").wait(timeout=10)
    assert 0.95 < _gap(api, "A") < 4.0


def test_a_rate_limit_is_one_for_all(api: Api, client: Make) -> None:
    """T04': while the server asks for patience, no other event is sent either; afterwards all are."""
    api.script(status(429, retry_after=1))
    analytics, answered = client(flush_at=1), Heard()
    analytics.on("http_response", answered)
    analytics.track("A", user_id="u")
    answered.wait_for(1)
    analytics.track("B", user_id="u")
    assert analytics.flush(timeout=10).delivered == 2
    first, *others = api.requests
    assert len(others) == 2
    assert all(other.time - first.time > 0.9 for other in others)


def test_there_is_an_end_to_patience(api: Api, client: Make) -> None:
    """T20': with `max_rate_limit_duration=1` and Retry-After 60 the event fails after a second and one request."""
    api.always = status(429, retry_after=60)
    begin = time.monotonic()
    error = _error(client(max_rate_limit_duration=1.0).track("A", user_id="u"))
    assert isinstance(error, RateLimitExpired)
    assert 0.9 < time.monotonic() - begin < 5.0
    assert len(api.requests) == 1


def test_there_is_an_end_to_back_off(api: Api, client: Make) -> None:
    """T19': after `max_total_backoff_duration` no further attempt is made, however many are left."""
    api.always = status(500)
    error = _error(client(max_total_backoff_duration=0.5, max_retries=50).track("A", user_id="u"))
    assert isinstance(error, RetriesExhausted)
    assert error.attempts == len(api.requests) == 2


def _counts(api: Api, name: str) -> list[str | None]:
    return [seen.header("x-retry-count") for seen in api.requests if seen.events[0]["event"] == name]


def _gap(api: Api, name: str) -> float:
    """Seconds between the first two attempts."""
    first, second = [seen.time for seen in api.requests if seen.events[0]["event"] == name][:2]
    return second - first


def _error(receipt: Receipt) -> Exception:
    with pytest.raises(Exception) as caught:
        receipt.wait(timeout=15)
    return caught.value
