"""The emitter: which events, how often, with what; and who hears them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import pytest

from millstream import Analytics, RetriesExhausted
from support.api import Api, by_event, status
from support.background import Heard

Make = Callable[..., Analytics]


def test_http_request_is_emitted_with_the_request(api: Api, client: Make) -> None:
    """N7, P17: once, with url, method, headers and a body of one event."""
    heard = Heard()
    analytics = client()
    analytics.on("http_request", heard)
    analytics.track("A", user_id="u").wait(timeout=10)
    ((request,),) = heard.calls
    assert (request.url, request.method) == (f"{api.url}/v1/batch", "POST")
    assert request.headers["Content-Type"] == "application/json"
    assert len(json.loads(request.body)["batch"]) == 1


def test_http_request_is_emitted_when_the_answer_is_an_error(api: Api, client: Make) -> None:
    """N8: what is emitted before the answer does not depend on it."""
    api.always = status(400)
    heard = Heard()
    analytics = client()
    analytics.on("http_request", heard)
    analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    assert len(heard.calls) == 1


def test_http_request_is_emitted_for_every_attempt(api: Api, client: Make) -> None:
    """N9: with one retry and a server that fails, twice (upstream: two retries, three times; the rule is the same)."""
    api.always = status(500)
    heard = Heard()
    analytics = client(max_retries=1)
    analytics.on("http_request", heard)
    analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    assert [call[0].headers.get("X-Retry-Count") for call in heard.calls] == [None, "1"]


def test_http_response_is_emitted_with_both(client: Make) -> None:
    """N7 (beyond): request and answer, once for each answer."""
    heard = Heard()
    analytics = client()
    analytics.on("http_response", heard)
    analytics.track("A", user_id="u").wait(timeout=10)
    ((request, response),) = heard.wait_for()
    assert (request.method, response.status) == ("POST", 200)


def test_a_failed_event_is_emitted_as_an_error(api: Api, client: Make) -> None:
    """N44: code, reason and Context; the reason of a 503 says [503]."""
    api.always = status(503)
    heard = Heard()
    analytics = client()
    analytics.on("error", heard)
    analytics.track("A", user_id="u", message_id="m1")
    analytics.flush(timeout=10)
    ((event,),) = heard.calls
    assert event.code == "delivery_failure"
    assert isinstance(event.reason, RetriesExhausted)
    assert str(event.reason.last).startswith("[503]")
    assert event.context.event["messageId"] == "m1"


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "group", "alias"])
def test_each_kind_is_emitted_after_delivery(client: Make, kind: str) -> None:
    """N19: the event of the call's own name comes once, with its Context."""
    heard = Heard()
    analytics = client()
    analytics.on(kind, heard)
    analytics.send({"type": kind, "userId": "u", "event": "A", "groupId": "g", "previousId": "p"})
    analytics.flush(timeout=10)
    ((ctx,),) = heard.calls
    assert ctx.event["type"] == kind


def test_a_failed_event_is_not_emitted_as_delivered(api: Api, client: Make) -> None:
    """N44: the event of the call's own name means success, and nothing else."""
    api.always = by_event(Bad=[status(400)], Good=[status(200)])
    heard = Heard()
    analytics = client(flush_at=1)
    analytics.on("track", heard)
    analytics.track("Bad", user_id="u")
    analytics.track("Good", user_id="u")
    analytics.flush(timeout=10)
    assert [ctx.event["event"] for (ctx,) in heard.calls] == ["Good"]


def test_listeners_are_called_in_order_each_time_with_all_arguments(client: Make) -> None:
    """G5-G7: several subscribers, several emits, several arguments."""
    analytics = client()
    heard: list[tuple[object, ...]] = []
    analytics.on("shop:mine", lambda *args: heard.append(("first", *args)))
    analytics.on("shop:mine", lambda *args: heard.append(("second", *args)))
    analytics.emit("shop:mine", 1, 2)
    analytics.emit("shop:mine", 3)
    assert heard == [("first", 1, 2), ("second", 1, 2), ("first", 3), ("second", 3)]


def test_once_is_once(client: Make) -> None:
    """G8: a listener subscribed with `once` is called the first time, and not again."""
    analytics, heard = client(), Heard()
    analytics.once("shop:mine", heard)
    analytics.emit("shop:mine", 1)
    analytics.emit("shop:mine", 2)
    assert heard.calls == [(1,)]


def test_off_ends_it(client: Make) -> None:
    """G9: after `off` a listener is not called; one of `once` neither, which upstream forgets."""
    analytics, heard = client(), Heard()
    analytics.on("shop:mine", heard)
    analytics.once("shop:mine", heard)
    analytics.off("shop:mine", heard)
    analytics.emit("shop:mine", 1)
    assert heard.calls == []


def test_on_is_a_decorator_too(client: Make) -> None:
    """G5 (beyond): `@analytics.on("…")` subscribes the function and leaves it as it is."""
    analytics = client()
    heard: list[int] = []

    @analytics.on("shop:mine")
    def listen(n: int) -> None:
        heard.append(n)

    analytics.emit("shop:mine", 1)
    listen(2)
    assert heard == [1, 2]


def test_any_number_of_listeners_is_fine(client: Make) -> None:
    """G10-G12 (differs): there is no limit and no warning; forty listeners are forty listeners."""
    analytics, heard = client(), Heard()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):
            analytics.on("shop:mine", heard)
    analytics.emit("shop:mine")
    assert len(heard.calls) == 40
