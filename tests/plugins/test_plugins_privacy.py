"""Privacy: what is redacted, whom consent keeps from what, and which users are in a sample."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import pytest

from millstream import Analytics, Dropped, SettingsError
from millstream.destinations import TrackingAPI
from millstream.plugins import consent, redact, sample
from support.api import Api

EMAIL = r"[\w.+-]+@[\w-]+\.[\w.]+"


def signed_up() -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Signed Up",
        "messageId": "m-1",
        "userId": "ann@shop.example",
        "properties": {"E-Mail": "ann@shop.example", "note": "write to ann@shop.example or bo@x.example", "n": 3},
        "context": {"ip": "203.0.113.9", "traits": {"eMail": "a", "list": [{"e_mail": "b"}, "to ann@shop.example"]}},
    }


def test_members_are_removed_by_their_names_and_paths():
    """In any spelling, at any depth; a name with dots is one place."""
    event = redact(keys=["email", "context.ip", "n"])(signed_up())
    assert event is not None
    assert event["properties"] == {"note": "write to ann@shop.example or bo@x.example"}
    assert event["context"] == {"traits": {"list": [{}, "to ann@shop.example"]}}
    assert redact(keys=["properties.ip"])(signed_up()) == signed_up()


def test_what_a_pattern_matches_is_replaced_in_every_text():
    """But for ids, which would all become one, and what names the event."""
    event = redact(patterns=[EMAIL, "Signed"])(signed_up())
    assert event is not None
    assert (event["event"], event["userId"]) == ("Signed Up", "ann@shop.example")
    assert event["properties"]["note"] == "write to [redacted] or [redacted]"
    assert event["context"]["traits"]["list"][1] == "to [redacted]"


def test_with_a_salt_values_are_hashed():
    """HMAC-SHA256: equal values stay equal, an id too; null stays null, and another salt gives other hashes."""

    def digest(text: str) -> str:
        return hmac.new(b"pepper", text.encode(), sha256).hexdigest()

    event = redact(keys=["user_id", "email", "n"], patterns=[EMAIL], salt="pepper")(
        {**signed_up(), "traits": {"email": None}}
    )
    assert event is not None
    assert event["userId"] == event["properties"]["E-Mail"] == digest("ann@shop.example")
    assert event["properties"]["n"] == digest("3")
    assert event["properties"]["note"] == f"write to {digest('ann@shop.example')} or {digest('bo@x.example')}"
    assert event["traits"] == {"email": None}
    other = redact(keys=["email"], salt=b"salt")(signed_up())
    assert other is not None
    assert other["properties"]["E-Mail"] != digest("ann@shop.example")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "redact needs keys or patterns"),
        ({"keys": "email"}, "keys must be a list, got str: write ['email']"),
        ({"patterns": ["("]}, "the pattern '(' is no regular expression"),
        ({"patterns": ["a*"]}, "the pattern 'a*' matches the empty text"),
        ({"keys": ["user_id"]}, "user_id cannot be removed, as an event needs one: pass a salt"),
        ({"keys": ["a"], "salt": ""}, "salt is empty"),
    ],
)
def test_a_redaction_that_cannot_be_done_is_refused(arguments: Any, problem: str):
    """When the plugin is made, with the remedy."""
    with pytest.raises(SettingsError) as refusal:
        redact(**arguments)
    assert problem in str(refusal.value)


def test_a_client_sends_what_redaction_leaves(api: Api):
    """As a plugin, for every kind of event; what the caller has in hand is not changed."""
    properties = {"email": "a@b.example", "plan": "pro"}
    with Analytics("key", host=api.url) as analytics:
        analytics.register(redact(keys=["email"]))
        analytics.track("Signed Up", user_id="u", properties=properties)
        analytics.identify("u", traits=properties)
        analytics.group("g", user_id="u", traits=properties)
        analytics.page("Home", user_id="u", properties=properties)
        analytics.screen("Home", user_id="u", properties=properties)
    assert [event.get("properties", event.get("traits")) for event in api.accepted] == [{"plan": "pro"}] * 5
    assert properties == {"email": "a@b.example", "plan": "pro"}


CATEGORIES = {"Ads": ["Advertising"], "Stats": ["Analytics", "Functional"], "Plain": []}


@pytest.mark.parametrize(
    ("preferences", "kept_from"),
    [
        ({"Advertising": True, "Analytics": True, "Functional": True}, set()),
        ({"Advertising": False, "Analytics": True, "Functional": True}, {"Ads"}),
        ({"Advertising": True, "Analytics": True}, {"Stats"}),
        ({"Advertising": "yes", "Analytics": True, "Functional": True}, {"Ads"}),
        ({}, {"Ads", "Stats"}),
    ],
)
def test_an_event_is_kept_from_destinations_without_consent(preferences: Any, kept_from: set[str]):
    """All categories of a destination must be agreed to, with `true` and nothing else."""
    event = {**signed_up(), "integrations": {"Ads": {"id": 1}, "All": True}}
    event["context"]["consent"] = {"categoryPreferences": preferences}
    changed = consent(CATEGORIES)(event)
    assert changed is not None
    assert {name for name, value in changed["integrations"].items() if value is False} == kept_from
    assert changed["integrations"]["All"] is True


def test_an_event_that_says_nothing_of_consent():
    """It goes everywhere, as at Segment, or to no destination that has a category."""
    assert consent(CATEGORIES)(signed_up()) == signed_up()
    strict = consent(CATEGORIES, without_consent=False)(signed_up())
    assert strict is not None
    assert strict["integrations"] == {"Ads": False, "Stats": False}
    odd = {**signed_up(), "context": {"consent": "yes"}, "integrations": None}
    strict = consent(CATEGORIES, without_consent=False)(odd)
    assert strict is not None
    assert strict["integrations"] == {"Ads": False, "Stats": False}
    with pytest.raises(SettingsError, match="the categories of Ads must be a list of str, got 'Advertising'"):
        consent({"Ads": "Advertising"})


def test_a_client_obeys_consent(api: Api):
    """The destination gets the events of those who agree, and no others."""
    with Analytics("key", host=api.url) as analytics:
        analytics.register(TrackingAPI("ads", host=api.url, name="Ads"), consent({"Ads": ["Advertising"]}))
        for user, agrees in (("yes", True), ("no", False)):
            analytics.track("Paid", user_id=user, context={"consent": {"categoryPreferences": {"Advertising": agrees}}})
        analytics.flush()
    by_key: dict[str, list[str]] = {}
    for request in api.requests:
        by_key.setdefault(request.json["writeKey"], []).extend(event["userId"] for event in request.json["batch"])
    assert by_key == {"key": ["yes", "no"], "ads": ["yes"]}


def test_a_sample_keeps_all_events_of_some_users():
    """A user is in it or not, whatever they do; the anonymous id counts where there is no user id."""
    keep = sample(0.3)
    users = [f"user-{n}" for n in range(1000)]
    kept = {user for user in users if keep({"userId": user, "messageId": user + "-1"})}
    assert 240 < len(kept) < 360
    assert kept == {user for user in users if keep({"userId": user, "anonymousId": "x", "messageId": user + "-2"})}
    assert kept == {user for user in users if keep({"anonymousId": user, "messageId": user + "-3"})}
    by_group = sample(0.3, path="context.groupId")
    assert kept == {user for user in users if by_group({"userId": "u", "context": {"groupId": user}})}
    assert not sample(0)({"userId": "u"})
    assert sample(1)({"userId": "u"})
    with pytest.raises(SettingsError, match=r"percent must be from 0 to 1 \(0.1 keeps one in ten\), got 10"):
        sample(10)


def test_a_client_drops_those_who_are_not_in_the_sample(api: Api):
    """Their receipts say so."""
    with Analytics("key", host=api.url) as analytics:
        analytics.register(sample(0))
        with pytest.raises(Dropped, match="a sample of 0 is kept, and this user is not in it"):
            analytics.track("Paid", user_id="u").wait(10)
