"""Values: what cannot be sent, what is changed later, and neighbours of what is too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, Dropped, EventTooLarge, InvalidEvent, SettingsError
from support.api import Api
from support.background import Heard

Make = Callable[..., Analytics]
_circular: dict[str, Any] = {}
_circular["self"] = _circular

UNSENDABLE = {
    "circular": (_circular, r"properties\.value"),
    "object": (object(), r"properties\.value: object of type object"),
    "nested": ({"deep": [1, {"er": object()}]}, r"properties\.value\.deep\[1\]\.er"),
    "generator": ((x for x in "a"), r"properties\.value"),
    "module": (pytest, r"properties\.value"),
    "two keys": ({1: "a", "1": "b"}, r"value.*two keys"),
}


@pytest.mark.parametrize("case", UNSENDABLE)
def test_what_cannot_be_sent_is_refused_in_the_call(api: Api, client: Make, case: str) -> None:
    """The caller is told, with the path of the value; the events beside it are delivered."""
    value, message = UNSENDABLE[case]
    analytics = client()
    analytics.track("Before", user_id="u")
    with pytest.raises(InvalidEvent, match=message):
        analytics.track("Bad", user_id="u", properties={"value": value})
    analytics.track("After", user_id="u")
    assert analytics.flush(timeout=10).delivered == 2
    assert [event["event"] for event in api.events] == ["Before", "After"]


def test_the_event_is_what_it_was_at_the_call(api: Api, client: Make) -> None:
    """Whatever the caller changes afterwards, at any depth, changes nothing."""
    properties: dict[str, Any] = {"list": [1], "inner": {"a": 1}}
    context = {"ip": "1.2.3.4"}
    integrations: dict[str, Any] = {"All": True}
    analytics = client(flush_interval=300.0)
    analytics.track("A", user_id="u", properties=properties, context=context, integrations=integrations)
    properties["list"].append(2)
    properties["inner"]["a"] = 2
    context["ip"] = integrations["All"] = "changed"  # type: ignore[assignment]
    analytics.flush(timeout=10)
    (event,) = api.events
    assert event["properties"] == {"list": [1], "inner": {"a": 1}}
    assert event["context"]["ip"] == "1.2.3.4"
    assert event["integrations"] == {"All": True}


def test_the_callers_objects_are_not_changed(client: Make) -> None:
    """Nothing is added to a context, and `page` puts its category into a copy."""
    properties, context, traits = {"url": "/"}, {"ip": "1.2.3.4"}, {"plan": "pro"}
    analytics = client()
    analytics.page("P", category="C", user_id="u", properties=properties, context=context)
    analytics.identify("u", traits=traits, context=context)
    assert (properties, context, traits) == ({"url": "/"}, {"ip": "1.2.3.4"}, {"plan": "pro"})


def test_settings_are_what_they_were_too(api: Api, client: Make) -> None:
    """A change to the dict that was given as `context=` or `integrations=` changes no event."""
    context, integrations = {"app": {"name": "shop"}}, {"Slack": {"on": True}}
    analytics = client(context=context, integrations=integrations)
    context["app"]["name"] = "changed"
    integrations["Slack"]["on"] = False
    analytics.track("A", user_id="u").wait(timeout=10)
    (event,) = api.events
    assert event["context"]["app"] == {"name": "shop"}
    assert event["integrations"] == {"Slack": {"on": True}}


@pytest.mark.parametrize("name", ["context", "integrations"])
def test_a_default_that_cannot_be_sent_is_refused_with_the_client(name: str) -> None:
    """A default value that is in every event is checked when the client is made, as the setting that it is."""
    with pytest.raises(SettingsError, match=name):
        Analytics("key", **{name: {"value": object()}})


def test_an_event_that_is_too_large_leaves_its_neighbours_alone(api: Api, client: Make) -> None:
    """It fails by itself: the others go together, in order, when they would have gone."""
    analytics = client(flush_interval=300.0)
    errors, callback = Heard(), Heard()
    analytics.on("error", errors)
    analytics.track("Before", user_id="u")
    large = analytics.track("Large", user_id="u", properties={"t": "é" * 17_000}, callback=callback)
    analytics.track("After", user_id="u")
    assert large.done()
    with pytest.raises(EventTooLarge, match=r"properties\.t"):
        large.wait(timeout=1)
    assert isinstance(callback.calls[0][0], EventTooLarge)
    assert errors.calls[0][0].code == "delivery_failure"
    assert api.requests == []
    analytics.flush(timeout=10)
    assert [[e["event"] for e in seen.events] for seen in api.requests] == [["Before", "After"]]


def test_invalid_events_can_be_reported_instead(api: Api, client: Make) -> None:
    """With `on_invalid="report"` a bad call raises nothing: an `error` event, a failed receipt, a callback."""
    analytics = client(on_invalid="report")
    errors, callback = Heard(), Heard()
    analytics.on("error", errors)
    receipts = [
        analytics.track("", user_id="u", callback=callback),
        analytics.identify(),
        analytics.track("A", user_id="u", properties={"x": object()}),
        analytics.send({"type": "sell"}),
    ]
    assert all(event.code == "invalid_event" for (event,) in errors.calls)
    assert all(isinstance(event.reason, InvalidEvent) for (event,) in errors.calls)
    assert len(errors.calls) == 4
    assert isinstance(callback.calls[0][0], Dropped)
    for receipt in receipts:
        with pytest.raises(Dropped) as caught:
            receipt.wait(timeout=1)
        assert isinstance(caught.value.__cause__, InvalidEvent)
    assert analytics.stats().accepted == 0
    analytics.flush(timeout=10)
    assert api.requests == []
