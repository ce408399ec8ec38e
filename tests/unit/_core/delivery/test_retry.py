"""How an answer is judged, and how long the next attempt waits."""

from __future__ import annotations

from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream._core.delivery.retry import BACKOFF_CAP, backoff, judge, retry_after
from millstream._core.delivery.verdicts import Delivered, Limited, Paused, Refused, Retry, Split, Unauthorized
from millstream.errors import Rejected
from millstream.types import Response

NOON = 784_111_777.0
"""1994-11-06 08:49:37 UTC, the moment that RFC 9110 §5.6.7 writes in three ways."""
WRITTEN = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]


def verdict(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> object:
    return judge(Response(status, headers or {}, body), NOON)


# -- statuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_2xx(status: int):
    """Every 2xx means that the batch has arrived, whatever its headers or body say."""
    assert verdict(status, {"Retry-After": "5"}, b'{"success": false}') == Delivered()


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 520, 529, 599, 100, 102, 199, 600, 999])
def test_what_may_pass_is_tried_again(status: int):
    """Statuses that speak of a passing state, and those that mean nothing, are retried and counted."""
    answer = verdict(status)
    assert isinstance(answer, Retry)
    assert isinstance(answer.error, Rejected)
    assert answer.error.status == status


@pytest.mark.parametrize("status", [402, 404, 405, 409, 411, 414, 415, 426, 431, 451, 499])
def test_what_will_not_pass_is_refused(status: int):
    """Client errors are final, also when they carry a Retry-After."""
    assert isinstance(verdict(status), Refused)
    assert isinstance(verdict(status, {"Retry-After": "5"}), Refused)


@pytest.mark.parametrize("status", [501, 505, 511])
def test_some_server_errors_are_final(status: int):
    """A server that lacks the method, the version or a login page lacks it the next time too."""
    assert isinstance(verdict(status, {"Retry-After": "5"}), Refused)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_refused(status: int):
    """No 3xx is a success, and none turns a POST into a GET: the error says where it pointed."""
    answer = verdict(status, {"location": "https://elsewhere.example/"})
    assert isinstance(answer, Refused)
    assert "https://elsewhere.example/" in str(answer.error)
    assert "host" in str(answer.error)


def test_a_redirect_to_nowhere_is_refused_too():
    """A 3xx without a Location is still explained."""
    answer = verdict(302)
    assert isinstance(answer, Refused)
    assert "nowhere" in str(answer.error)


@pytest.mark.parametrize(("status", "word"), [(401, "write key"), (403, "write key"), (404, "path")])
def test_an_error_says_what_to_look_at(status: int, word: str):
    """A refusal that a setting can cause names the setting."""
    answer = verdict(status)
    assert isinstance(answer, Paused | Refused)
    assert word in str(answer.error)


def test_oauth_changes_the_meaning_of_two_statuses():
    """With OAuth 401 asks for another token and 511 may pass; every other answer means what it means without."""
    with_oauth = {status: type(judge(Response(status), NOON, oauth=True)) for status in range(100, 600)}
    without = {status: type(verdict(status)) for status in range(100, 600)}
    assert with_oauth == {**without, 401: Unauthorized, 511: Retry}


def test_a_refusal_under_oauth_says_where_else_to_look():
    """Where a token can be at fault, the error names the application's access besides the write key."""
    answer = judge(Response(403), NOON, oauth=True)
    assert isinstance(answer, Paused)
    assert "write key" in str(answer.error)
    assert "OAuth" in str(answer.error)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_a_request_holds_is_searched_for_what_is_refused(status: int):
    """A status that speaks of the content splits the batch: one bad event among many costs no other."""
    assert isinstance(verdict(status), Split)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause(status: int):
    """401 and 403 speak of the key, not of the events."""
    assert isinstance(verdict(status), Paused)


# -- Retry-After --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 503, 529])
@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_patience_is_honoured_on_every_retryable_status(status: int, name: str):
    """Retry-After counts wherever a retry does, in any case of letters."""
    answer = verdict(status, {"Date": "x", name: "7"})
    assert isinstance(answer, Limited)
    assert answer.seconds == 7
    assert answer.error.status == status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1), ("60", 60), ("300", 300), (" 5 ", 5), ("007", 7),
        ("0", 1), ("0.9", 1), ("1.5", 1), ("2.", 2),
        ("301", 300), ("86400", 300), ("1700000000", 300), ("9" * 400, 300),
    ],
)  # fmt: skip
def test_seconds_are_cut_to_whole_ones_from_1_to_300(value: str, seconds: float):
    """A number of seconds is kept within 1 and 300, and a fraction is cut off."""
    assert retry_after(value, NOON) == seconds


@pytest.mark.parametrize("value", WRITTEN)
def test_a_date_counts_in_all_its_forms(value: str):
    """The three forms of an HTTP date name the same moment."""
    assert retry_after(value, NOON - 42) == 42


def test_a_date_is_kept_within_1_and_300_seconds():
    """A date that is past means soon, and one that is far means 300 s."""
    assert retry_after(WRITTEN[0], NOON + 3600) == 1
    assert retry_after(WRITTEN[0], NOON) == 1
    assert retry_after(WRITTEN[0], NOON - 3600) == 300


@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_date_is_read_by_the_clock_of_the_server_that_wrote_it(off: int):
    """With a Date header beside it, a date means the same wait whatever our own clock shows."""
    headers = {"date": "Sun, 06 Nov 1994 08:49:30 GMT", "Retry-After": WRITTEN[0]}
    answer = judge(Response(503, headers, b""), NOON + off)
    assert isinstance(answer, Limited)
    assert answer.seconds == 7


@pytest.mark.parametrize("date", ["", "noon", "Sun, 31 Feb 1994 08:49:37 GMT"])
def test_a_server_that_does_not_know_the_time_is_not_asked(date: str):
    """A Date header that cannot be read leaves our own clock."""
    answer = judge(Response(503, {"Date": date, "Retry-After": WRITTEN[0]}, b""), NOON - 42)
    assert isinstance(answer, Limited)
    assert answer.seconds == 42


def test_a_date_without_a_usable_zone_is_utc():
    """`-0000`, which says nothing about the zone, is read as UTC and not as local time."""
    assert retry_after("Sun, 06 Nov 1994 08:49:37 -0000", NOON - 42) == 42


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "soon", "-5", "+5", "1e3", "0x10", "NaN", "inf", "5 s", "5, 6", "Sun, 31 Feb 1994 08:49:37 GMT"],
)
def test_garbage_means_no_patience_was_asked_for(value: str | None):
    """What cannot be read leaves a counted retry with back-off."""
    assert retry_after(value, NOON) is None
    if value is not None:
        assert isinstance(verdict(429, {"Retry-After": value}), Retry)


@given(st.text(max_size=40) | st.datetimes().map(format_datetime) | st.from_regex(r"[A-Za-z0-9:, +-]{0,40}"))
def test_no_header_breaks_the_worker(value: str):
    """Whatever a server writes there, the answer is None or within bounds."""
    wait = retry_after(value, NOON)
    assert wait is None or 1 <= wait <= 300


@given(st.integers(-1, 1000), st.binary(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_every_answer_has_a_verdict(status: int, body: bytes, headers: dict[str, str]):
    """No status, body or header is without a verdict, and only 2xx is a success."""
    answer = verdict(status, headers, body)
    assert isinstance(answer, Delivered | Retry | Limited | Split | Paused | Refused)
    assert isinstance(answer, Delivered) == (200 <= status < 300)


# -- back-off -----------------------------------------------------------------------------------------


def test_backoff_grows_to_its_cap():
    """Without jitter: 1, 2, 4, 8, 16, then 30 s for good."""
    assert [backoff(k, 0.0) for k in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_jitter_lengthens_up_to_twofold(failures: int, jitter: float):
    """Jitter is kept at the cap, never shortens the delay, and never exceeds the cap."""
    least = backoff(failures, 0.0)
    assert least <= backoff(failures, jitter) <= backoff(failures, 1.0) == 2 * least <= BACKOFF_CAP == 60
