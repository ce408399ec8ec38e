"""Filters of a destination: what is dropped, what is sampled, and what is taken out of an event."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from millstream import Analytics, Dropped, SettingsError
from millstream.destinations import Destination, Event, Part, Skip, TrackingAPI
from millstream.filters import Filter, Sample, filtered
from support.api import Api

ORDER = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "user-1",
    "properties": {"email": "a@b.c", "total": 12.5, "products": [{"sku": "a", "cost": 1}, {"sku": "b", "cost": 2}]},
    "context": {"ip": "203.0.113.9", "traits": {"email": "a@b.c"}},
}


def sent(event: Mapping[str, Any], *filters: str | Filter | Mapping[str, Any]) -> Any:
    """What a destination behind filters gets of an event, or why it gets nothing."""
    prepared = filtered(TrackingAPI("key", name="Second"), *filters).prepare(Event(json.dumps(event).encode()), {})
    if isinstance(prepared, Skip):
        return prepared.reason
    assert isinstance(prepared, tuple)
    return json.loads(prepared[0].data)


def test_an_expression_says_which_events_are_sent():
    """Others are skipped, and the reason has the expression."""
    assert sent(ORDER, "type = 'track'") == ORDER
    assert sent(ORDER, "type = 'page'") == "a filter drops it: !( type = 'page' )"


def test_a_filter_drops_what_its_condition_is_true_of():
    """`drop` and `if`, as in a configuration; without `if` a filter is for all events."""
    assert sent(ORDER, {"if": "properties.total > 10", "drop": True}) == "a filter drops it: properties.total > 10"
    assert sent(ORDER, {"if": "properties.total > 20", "drop": True}) == ORDER
    assert sent(ORDER, Filter(drop=True)) == "a filter drops it: all"
    assert sent(ORDER, {"if": "all", "drop": True}) == "a filter drops it: all"


def test_members_are_dropped_or_allowed_at_their_paths():
    """The empty path is the event; a list stands for its items, on the way and at the end."""
    left = sent(
        ORDER,
        {"drop_properties": {"": ["context", "absent"], "properties": ["email"], "properties.products": ["cost"]}},
    )
    assert left == {
        **{name: ORDER[name] for name in ("type", "event", "messageId", "userId")},
        "properties": {"total": 12.5, "products": [{"sku": "a"}, {"sku": "b"}]},
    }
    left = sent(ORDER, {"if": "type = 'track'", "allow_properties": {"properties": ["total"], "context.traits": []}})
    assert left == {**ORDER, "properties": {"total": 12.5}, "context": {"ip": "203.0.113.9", "traits": {}}}
    nested = {**ORDER, "properties": {"orders": [{"lines": [{"sku": "a", "cost": 1}]}]}}
    left = sent(nested, {"drop_properties": {"properties.orders.lines": ["cost"], "userId.x": ["y"]}})
    assert left["properties"] == {"orders": [{"lines": [{"sku": "a"}]}]}


def test_conditions_are_about_the_event_as_it_came():
    """A member that one filter removes is there for the conditions of all; drops come before removals."""
    filters: Sequence[Mapping[str, Any]] = [
        {"drop_properties": {"properties": ["email"]}},
        {"if": "properties.email != null", "allow_properties": {"properties": ["email", "total"]}},
    ]
    assert sent(ORDER, *filters)["properties"] == {"total": 12.5}
    assert sent(ORDER, *filters, {"if": "properties.email = 'a@b.c'", "drop": True}).startswith("a filter drops it")


def test_what_is_removed_leaves_other_numbers_exact():
    """An amount of money that no float holds passes a filter as it is."""
    event = Event(b'{"properties":{"amount":12345678901234567.89,"email":"x"}}')
    prepared = filtered(TrackingAPI("key"), {"drop_properties": {"properties": ["email"]}}).prepare(event, {})
    assert prepared == (Part(b'{"properties":{"amount":12345678901234567.89}}'),)


# The first 16 hexadecimal digits that md5sum gives for the JSON of the value.
SAMPLES = {
    "user-1": 0xB78E041863FBAE8B,
    "user-2": 0x8830F491C2E51E38,
    "Zoë": 0xCE6F9925E1F60194,
    17: 0x70EFDF2EC9B08607,
}


@pytest.mark.parametrize("value", SAMPLES)
def test_a_sample_by_path_keeps_a_value_from_its_share_on(value: Any):
    """The MD5 of the value's JSON is a fraction: the same every time, and a larger sample has all of a smaller."""
    fraction = SAMPLES[value] / 2**64
    event = {**ORDER, "userId": value}
    for share in (0.0, fraction * 0.999, fraction * 1.001, 1.0):
        kept = sent(event, {"sample": {"percent": share, "path": "userId"}}) == event
        assert kept is (share > fraction)


def test_a_sample_without_a_path_or_value_goes_by_message_id():
    """A replay keeps the same events; some of many are kept, and the reason names the sample."""
    events = [{**ORDER, "messageId": f"m-{n}"} for n in range(1000)]
    kept = [event for event in events if sent(event, Filter(sample=Sample(0.25))) == event]
    assert 200 < len(kept) < 300
    assert kept == [event for event in events if sent(event, Filter(sample=Sample(0.25, path="absent.id"))) == event]
    assert "a filter keeps a sample, and this event is not in it" in {
        reason for event in events if isinstance(reason := sent(event, Filter(sample=Sample(0.25))), str)
    }


def test_a_whole_number_is_sampled_alike_however_it_is_written():
    """JavaScript writes 17.0 as 17, so that both are one value."""
    share = SAMPLES[17] / 2**64 * 1.001
    assert sent({**ORDER, "userId": 17.0}, Filter(sample=Sample(share, path="userId"))) == {**ORDER, "userId": 17}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("event == 'a'", "filter \"event == 'a'\", column 7: FQL has no =="),
        ({"if": "event =", "drop": True}, "column 8"),
        ({"drops": True}, "a filter has no key 'drops': did you mean drop?"),
        ({"when": "true"}, "there are if, drop, sample, drop_properties, allow_properties"),
        ({"if": "type = 'page'"}, "filter \"type = 'page'\" does nothing: add drop, sample"),
        ({"drop": "yes"}, "filter 'all': Expected `bool`, got `str` - at `$.drop`"),
        ({"sample": {"percent": 10}}, "percent must be from 0 to 1 (0.1 keeps one in ten), got 10"),
        ({"sample": {}}, "`percent`"),
        ({"sample": {"percent": 0.1, "by": "userId"}}, "unknown field `by`"),
        ({"drop_properties": {"properties": "email"}}, "Expected `array`"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused_when_it_is_made(given: Any, problem: str):
    """The message names the filter, the key or the column, and the remedy."""
    with pytest.raises(SettingsError) as refusal:
        filtered(TrackingAPI("key"), given)
    assert problem in str(refusal.value)


def test_a_filtered_destination_is_the_destination_otherwise():
    """Name, limits, requests and verdicts are its own, and what it has beyond the protocol."""
    plain = TrackingAPI("key", name="Second")
    behind = filtered(plain, "type = 'track'")
    assert isinstance(behind, Destination)
    assert (behind.name, behind.limits, behind.alternative_names) == (plain.name, plain.limits, plain.alternative_names)
    assert behind.request([Part(b"{}")], 1, 0.0) == plain.request([Part(b"{}")], 1, 0.0)
    assert behind.obeys_all is True  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = behind.absent  # type: ignore[attr-defined]


def test_a_client_sends_a_filtered_destination_what_its_filter_leaves(api: Api):
    """The Tracking API gets every event, the second only those that the filter is true of; the context says so."""
    with Analytics("key", host=api.url) as analytics:
        analytics.register(
            filtered(
                TrackingAPI("other-key", host=api.url, name="Second"),
                "event = 'Kept'",
                {"drop_properties": {"properties": ["email"]}},
            )
        )
        receipts = [analytics.track(event, user_id="u", properties={"email": "x"}) for event in ("Kept", "Left Out")]
        analytics.flush()
        deliveries = [receipt.wait(10).deliveries["Second"] for receipt in receipts]
    assert [outcome.kind for outcome in deliveries] == ["delivered", "dropped"]
    assert isinstance(deliveries[1].error, Dropped)
    by_key = {request.json["writeKey"]: request.json["batch"] for request in api.requests}
    assert [event["event"] for event in by_key["key"]] == ["Kept", "Left Out"]
    assert [(event["event"], event["properties"]) for event in by_key["other-key"]] == [("Kept", {})]
