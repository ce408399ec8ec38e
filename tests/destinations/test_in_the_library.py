"""Destinations in a client: without a Tracking API, with a spool, with secrets that stay secret."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream import Analytics, DeliveryError, Request, Response, SettingsError
from millstream.destinations import GA4, Mixpanel, PostHog, Secret, Slack, TrackingAPI, Webhook
from support.api import Api, status
from support.driven import DRIVEN, Driven

OK = Response(200, {}, b'{"code":200,"status":"Ok"}')


class Wire:
    """An HTTP client that keeps requests, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Response | Exception = OK

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def names(self) -> list[str]:
        return [item["event"] for request in self.requests for item in json.loads(request.body)]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """An HTTP client, in an environment without a key."""
    monkeypatch.delenv("MILLSTREAM_WRITE_KEY", raising=False)
    return Wire()


@pytest.fixture(params=DRIVEN)
def make(request: pytest.FixtureRequest, api: Api, wire: Wire) -> Iterator[Callable[..., Driven]]:
    """Makes a client on each kind of runtime, without a write key."""
    made: list[Driven] = []

    def make(**settings: Any) -> Driven:
        made.append(DRIVEN[request.param](host=api.url, write_key="", **{"flush_interval": 0.05, **settings}))
        return made[-1]

    yield make
    for driven in made:
        driven.end()


def mixpanel(api: Api, **settings: Any) -> Mixpanel:
    return Mixpanel(token="token-of-a-test", host=api.url, **settings)


def test_a_client_needs_no_tracking_api(make: Callable[..., Driven], api: Api) -> None:
    """With a destination there need be no key: events go there alone, and their outcome is its."""
    api.always = status(200, body=b'{"code":200}')
    driven = make(destinations=[mixpanel(api)])
    receipt = driven.track("A")
    assert driven.flush().delivered == 1
    assert {name: outcome.kind for name, outcome in driven.wait(receipt).deliveries.items()} == {
        "Mixpanel": "delivered"
    }
    assert {request.path for request in api.requests} == {"/import?strict=1"}


def test_the_first_destination_decides(wire: Wire) -> None:
    """Without a Tracking API the receipt's outcome is that of the destination which was named first."""
    wire.answer = Response(404)
    first, second = Webhook("https://a.example", name="First"), Webhook("https://b.example", name="Second")
    with Analytics(destinations=[first], http_client=wire) as analytics:
        analytics.register(second)
        receipt = analytics.track("A", user_id="u")
        analytics.flush()
        with pytest.raises(DeliveryError, match="check `url`"):
            receipt.wait(timeout=5)
        assert [*analytics.stats().destinations] == ["First", "Second"]


def test_neither_a_key_nor_a_destination_is_an_error_at_once(wire: Wire) -> None:
    """The message names both ways out; what is no destination is refused, and so are two of one name."""
    with pytest.raises(SettingsError, match=r"destinations=\[Mixpanel"):
        Analytics()
    with pytest.raises(SettingsError, match="has a str, which is no destination"):
        Analytics(destinations=["mixpanel"])
    with pytest.raises(SettingsError, match="already"):
        Analytics(destinations=[Mixpanel(token="a"), Mixpanel(token="b")])


def test_with_a_spool_a_destination_gets_what_a_dead_one_missed(tmp_path: Path, wire: Wire) -> None:
    """What could not be delivered before a close is on disk, and goes out with the next start, by the same id."""
    wire.answer = Response(503, {"Retry-After": "300"})
    settings: dict[str, Any] = {"spool": tmp_path, "http_client": wire}
    first = Analytics(destinations=[Mixpanel(token="t")], **settings)
    first.track("A", user_id="u")
    assert first.close_and_flush(timeout=0.2).spooled == 1
    wire.requests.clear()
    wire.answer = OK
    with Analytics(destinations=[Mixpanel(token="t")], **settings) as again:
        again.track("B", user_id="u")
        again.flush()
    assert sorted(wire.names()) == ["A", "B"]
    wire.requests.clear()
    with Analytics(destinations=[Mixpanel(token="t")], **settings):
        pass
    assert wire.requests == []


def test_parts_of_one_key_share_requests(wire: Wire) -> None:
    """Events and profiles go out in a request each, though they were recorded in turns."""
    wire.answer = Response(200, {}, b'{"status":1}')
    with Analytics(destinations=[Mixpanel(token="t")], http_client=wire, flush_at=100, flush_interval=60) as analytics:
        for n in range(10):
            analytics.track(f"E{n}", user_id="u")
            analytics.identify("u", traits={"n": n})
    paths = [request.url.partition(".com")[2].partition("?")[0] for request in wire.requests]
    assert sorted(paths) == ["/engage", "/import"]
    assert [len(json.loads(request.body)) for request in wire.requests] == [10, 10]


def test_an_event_of_last_month_is_no_event_of_google_analytics(wire: Wire) -> None:
    """A destination that takes no old events drops them, and says why."""
    with Analytics(destinations=[GA4(measurement_id="G-1", api_secret="s")], http_client=wire) as analytics:
        receipt = analytics.track("A", user_id="u", timestamp="2020-01-01T00:00:00Z")
        analytics.flush()
        with pytest.raises(DeliveryError, match="more than 72 hours ago"):
            receipt.wait(timeout=5)
    assert wire.requests == []


def test_a_partly_accepted_request_settles_each_event(wire: Wire) -> None:
    """Those that Mixpanel has are delivered, the one that it refuses fails, and none is sent again."""
    wire.answer = Response(400, {}, b'{"code":400,"failed_records":[{"index":1,"message":"no"}]}')
    with Analytics(destinations=[Mixpanel(token="t")], http_client=wire, flush_at=100, flush_interval=60) as analytics:
        receipts = [analytics.track(name, user_id="u") for name in "ABC"]
        result = analytics.flush()
        assert (result.delivered, result.failed) == (2, 1)
        with pytest.raises(DeliveryError, match="does not take this record"):
            receipts[1].wait(timeout=5)
    assert len(wire.requests) == 1


KEY = "sk-never-to-be-shown"
DESTINATIONS = {
    "tracking_api": lambda: TrackingAPI(KEY, name="Second"),
    "webhook": lambda: Webhook("https://me.example", secret=KEY, headers={"Authorization": KEY}),
    "mixpanel": lambda: Mixpanel(token=KEY),
    "posthog": lambda: PostHog(api_key=KEY),
    "ga4": lambda: GA4(measurement_id="G-1", api_secret=KEY),
    "slack": lambda: Slack(f"https://hooks.slack.example/services/{KEY}"),
}


@pytest.mark.parametrize("name", DESTINATIONS)
@pytest.mark.parametrize("answer", ["quotes it", "raises it"])
def test_a_secret_is_in_no_log_error_or_event(
    wire: Wire, caplog: pytest.LogCaptureFixture, name: str, answer: str
) -> None:
    """Also when a server quotes it, or an HTTP library its URL."""
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []

    def send(request: Request) -> Response:
        quoted = f"{request.url} {dict(request.headers)} {request.body!r}"
        if answer == "raises it":
            raise OSError(f"cannot connect: {quoted}")
        return Response(403, {"X-Echo": quoted}, quoted.encode())

    destination = DESTINATIONS[name]()
    with Analytics(destinations=[destination], http_client=send, max_retries=0) as analytics:
        for emitted in ("http_request", "http_response", "error"):
            analytics.on(emitted, lambda *args: shown.extend(args))
        receipt = analytics.track("A", user_id="u")
        analytics.flush()
        with pytest.raises(DeliveryError) as raised:
            receipt.wait(timeout=5)
        error = raised.value
    seen = [repr(error), str(error), repr(error.__cause__), str(vars(error)), repr(destination), caplog.text]
    for each in shown:
        seen += [
            repr(each),
            str(getattr(each, "url", "")),
            str(getattr(each, "headers", "")),
            str(getattr(each, "body", "")),
        ]
    assert len(shown) >= 2
    assert not [text for text in seen if KEY in text]


def test_a_secret_prints_as_stars_and_is_not_pickled() -> None:
    """It is compared by what it is, and revealed on request alone."""
    secret = Secret("abc")
    assert f"{secret} {secret!r} {secret!s}" == "*** *** ***"
    assert secret == Secret(secret)
    assert secret != Secret("abd")
    assert len({secret, Secret("abc")}) == 1
    assert secret.reveal() == "abc"
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copied(secret)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Mixpanel(token="abc"))
