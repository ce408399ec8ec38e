"""What the answers of each service mean for the events of a request: the rows of the reference's table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millstream.destinations import (
    GA4,
    Amplitude,
    Delivered,
    Destination,
    Limited,
    Mixpanel,
    Part,
    Partial,
    Paused,
    PostHog,
    Refused,
    Retry,
    Slack,
    Split,
    Webhook,
)
from millstream.types import Response

MADE: dict[str, Destination] = {
    "mixpanel": Mixpanel(token="token"),
    "amplitude": Amplitude(api_key="key"),
    "posthog": PostHog(api_key="phc_key"),
    "ga4": GA4(measurement_id="G-1", api_secret="secret"),
    "slack": Slack("https://hooks.slack.example/x"),
    "webhook": Webhook("https://me.example/in"),
}


def judged(name: str, status: int, answer: Any = b"", key: str = "", **headers: str) -> Any:
    """The verdict on three parts; of a Partial the names of its verdicts."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    response = Response(status, {header.replace("_", "-"): value for header, value in headers.items()}, body)
    verdict = MADE[name].judge(response, [Part(b"{}", key)] * 3, 0.0)
    if isinstance(verdict, Partial):
        return [type(each).__name__ for each in verdict.verdicts]
    return type(verdict)


@pytest.mark.parametrize(
    ("name", "status", "answer", "verdict"),
    [
        ("mixpanel", 200, {"code": 200, "num_records_imported": 3, "status": "OK"}, Delivered),
        ("mixpanel", 400, {"code": 400, "failed_records": [{"index": 1, "message": "'time' is invalid"}]},
         ["Delivered", "Refused", "Delivered"]),
        ("mixpanel", 400, {"error": "malformed"}, Split),
        ("mixpanel", 200, b"<html>Welcome to the hotel</html>", Retry),
        ("amplitude", 200, {"code": 200, "events_ingested": 3}, Delivered),
        ("amplitude", 200, b"OK", Retry),
        ("amplitude", 200, {"code": 400}, Retry),
        ("amplitude", 400, {"code": 400, "events_with_invalid_fields": {"time": [0]}, "silenced_events": [2]},
         ["Refused", "Limited", "Refused"]),
        ("amplitude", 400, {"code": 400, "events_with_missing_fields": {"event_type": [1]}},
         ["Limited", "Refused", "Limited"]),
        ("amplitude", 400, {"code": 400, "error": "Invalid API key"}, Split),
        ("amplitude", 429, {"code": 429, "throttled_users": {"u": 40}}, Limited),
        ("posthog", 200, {"status": 1}, Delivered),
        ("posthog", 200, {"status": "Ok", "quota_limited": ["recordings"]}, Delivered),
        ("posthog", 200, {"status": "Ok", "quota_limited": ["events"]}, Paused),
        ("posthog", 200, b"", Retry),
        ("ga4", 204, b"", Delivered),
        ("ga4", 200, b"GIF89a", Delivered),
        ("slack", 200, b"ok", Delivered),
        ("slack", 200, b"<html>", Retry),
        ("slack", 400, b"invalid_payload", Refused),
        ("slack", 404, b"no_service", Paused),
        ("slack", 410, b"channel_is_archived", Paused),
        ("webhook", 202, b"anything", Delivered),
        ("webhook", 207, b"{}", Delivered),
        ("webhook", 404, b"", Paused),
        ("webhook", 410, b"", Paused),
    ],
)  # fmt: skip
def test_an_answer_of_the_service(name: str, status: int, answer: Any, verdict: Any) -> None:
    """Partial success is settled part by part, and a 200 counts only if the service says so itself."""
    assert judged(name, status, answer) == verdict


@pytest.mark.parametrize("key", ["track", "engage", "groups"])
def test_mixpanel_says_with_a_200_that_it_does_not_take_profiles(key: str) -> None:
    """The bad one among them is then found by halves."""
    assert judged("mixpanel", 200, {"status": 1, "error": None}, key) == Delivered
    assert judged("mixpanel", 200, {"status": 0, "error": "no token"}, key) == Split


def test_amplitude_answers_forms_with_a_word() -> None:
    """`success`, for identifications and mappings."""
    assert judged("amplitude", 200, b"success", "identify") == Delivered


@pytest.mark.parametrize("name", MADE)
def test_an_answer_of_http(name: str) -> None:
    """What holds for all of them alike."""
    assert judged(name, 413) == Split
    assert judged(name, 401) == judged(name, 403) == Paused
    assert judged(name, 429, retry_after="9") == Limited
    assert judged(name, 503, retry_after="9") == Limited
    assert judged(name, 500) == judged(name, 408) == Retry
    assert judged(name, 302, location="https://elsewhere.example") == Refused


@pytest.mark.parametrize(("name", "says"), [("mixpanel", "`token`"), ("ga4", "`api_secret`"), ("slack", "`url`")])
def test_a_refusal_names_the_argument_to_look_at(name: str, says: str) -> None:
    """Not the write key, which is of another server."""
    verdict = MADE[name].judge(Response(401), [Part(b"{}")], 0.0)
    assert isinstance(verdict, Paused)
    assert f"check {says}" in str(verdict.error)
