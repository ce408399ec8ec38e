"""What the requests of each destination say, of an event that has everything and of events that have little."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from millstream.destinations import GA4, Amplitude, Mixpanel, PostHog, Slack, Webhook, preview
from millstream.errors import SettingsError
from millstream.types import Request

NOON = 1_772_366_400_250
"""When the event happened, in milliseconds."""


def sent(request: Request) -> Any:
    return json.loads(request.body)


def form(request: Request) -> dict[str, Any]:
    fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    return {name: json.loads(value) if value[:1] in "[{" else value for name, value in fields.items()}


def of(kind: str, **fields: Any) -> dict[str, Any]:
    made = {"type": kind, "messageId": "m-1", "timestamp": "2026-03-01T12:00:00.250Z", "integrations": {}, **fields}
    return made if "userId" in made or "anonymousId" in made else {**made, "userId": "u-1001"}


# -- Mixpanel ------------------------------------------------------------------------------------------


def test_mixpanel_gets_an_event_with_its_names_for_the_context(event: dict[str, Any]) -> None:
    """Each row of the mapping, and an event for each product of an order."""
    (request,) = preview(Mixpanel(token="tok"), event)
    assert (request.method, request.url) == ("POST", "https://api.mixpanel.com/import?strict=1")
    assert request.headers["Authorization"] == "Basic dG9rOg=="
    order, product = sent(request)
    assert order["event"] == "Order Completed"
    common = {
        "time": NOON,
        "distinct_id": "u-1001",
        "id": "u-1001",
        "$user_id": "u-1001",
        "$identified_id": "u-1001",
        "$device_id": "a-77",
        "$anon_id": "a-77",
        "$insert_id": event["messageId"],
        "$source": "millstream",
        "event_original_name": "Order Completed",
        "ip": "203.0.113.7",
        "$locale": "nl-NL",
        "timezone": "Europe/Amsterdam",
        "$group_id": "g-9",
        "$browser": "Chrome",
        "$browser_version": "126.0.0.0",
        "mp_lib": "millstream",
        "$lib_version": "1.0",
        "$app_name": "Shop",
        "$app_version_string": "2.3",
        "$app_build_number": "77",
        "$app_namespace": "example.shop",
        "utm_campaign": "spring",
        "utm_source": "mail",
        "utm_medium": "email",
        "utm_term": "lamp",
        "utm_content": "top",
        "$device": "Px",
        "$device_name": "Px",
        "$device_type": "android",
        "$manufacturer": "G",
        "$model": "P8",
        "$ios_ifa": "ad-1",
        "advertising_id": "ad-1",
        "ad_tracking_enabled": "false",
        "mp_country_code": "NL",
        "$bluetooth_enabled": False,
        "$carrier": "KPN",
        "$cellular_enabled": True,
        "$wifi_enabled": False,
        "$os": "Android",
        "$os_version": "16",
        "$current_url": "https://shop.example/done",
        "$referrer": "https://search.example/",
        "$screen_width": 1080,
        "$screen_height": 2400,
        "$screen_density": 3,
    }
    assert order["properties"] == common | event["properties"]
    assert product["event"] == "Product Purchased"
    insert_id = product["properties"].pop("$insert_id")
    assert insert_id != event["messageId"]
    assert product["properties"] == {
        **{name: value for name, value in common.items() if name != "$insert_id"},
        "time": NOON - 1,
        "order_id": "o-5",
        **event["properties"]["products"][0],
    }


def test_mixpanel_gets_what_an_event_with_little_in_it_has() -> None:
    """Nothing is made up; a reserved property does not replace what it is reserved for; a long id is made shorter."""
    event = of("page", name="Home", userId=None, anonymousId=12, messageId="x" * 60, properties={"time": 1, "a": None})
    (request,) = preview(Mixpanel(token="tok", host="https://api-eu.mixpanel.com/"), event)
    assert request.url == "https://api-eu.mixpanel.com/import?strict=1"
    ((viewed),) = sent(request)
    assert len(viewed["properties"].pop("$insert_id")) == 36
    assert viewed == {
        "event": "Viewed Home",
        "properties": {
            "time": NOON,
            "id": "12",
            "distinct_id": "12",
            "$device_id": "12",
            "$anon_id": "12",
            "$source": "millstream",
            "event_original_name": "Home",
            "a": None,
        },
    }


def test_mixpanel_gets_people_groups_and_aliases() -> None:
    """Each by its own endpoint, in one preview in order."""
    mixpanel = Mixpanel(token="tok", group_key="company")
    traits = {"firstName": "Ada", "lastName": "L", "email": "a@b.example", "createdAt": "2020-01-01", "plan": "pro"}
    merge, profile = preview(mixpanel, of("identify", userId="u", anonymousId="a", traits=traits))
    assert urlsplit(merge.url).path == "/track"
    ids = {"$identified_id": "u", "$anon_id": "a", "token": "tok"}
    assert sent(merge) == [{"event": "$identify", "properties": ids}]
    assert urlsplit(profile.url).path == "/engage"
    person = {"$first_name": "Ada", "$last_name": "L", "$name": "Ada L", "$email": "a@b.example"}
    person |= {"$created": "2020-01-01", "plan": "pro"}
    assert sent(profile) == [{"$token": "tok", "$distinct_id": "u", "$set": person}]
    (group,) = preview(mixpanel, of("group", groupId="g", traits={"name": "Initech", "company": "initech.example"}))
    assert urlsplit(group.url).path == "/groups"
    assert sent(group)[0] == {
        "$token": "tok",
        "$group_key": "company",
        "$group_id": "initech.example",
        "$set": {"$name": "Initech", "company": "initech.example"},
    }
    (alias,) = preview(mixpanel, of("alias", previousId="old"))
    ids = {"distinct_id": "old", "alias": "u-1001", "token": "tok"}
    assert sent(alias) == [{"event": "$create_alias", "properties": ids}]
    assert preview(mixpanel, of("identify")) == []


# -- Amplitude -----------------------------------------------------------------------------------------


def test_amplitude_gets_an_event_with_its_names_for_the_context(event: dict[str, Any]) -> None:
    """Each row of the mapping; the first attribution is kept apart; an order has revenue, and its products events."""
    (request,) = preview(Amplitude(api_key="key", min_id_length=3), event)
    assert request.url == "https://api2.amplitude.com/2/httpapi"
    body = sent(request)
    assert (body["api_key"], body["options"]) == ("key", {"min_id_length": 3})
    order, product = body["events"]
    attribution = {"utm_campaign": "spring", "utm_source": "mail", "utm_medium": "email", "utm_term": "lamp"}
    attribution |= {"utm_content": "top", "referrer": "https://search.example/"}
    common = {
        "user_id": "u-1001",
        "device_id": "d-1",
        "time": NOON,
        "user_properties": {
            "$set": attribution,
            "$setOnce": {f"initial_{name}": value for name, value in attribution.items()},
        },
        "platform": "Android",
        "language": "nl-NL",
        "ip": "203.0.113.7",
        "app_version": "2.3",
        "device_manufacturer": "G",
        "device_model": "P8",
        "idfa": "ad-1",
        "adid": "ad-1",
        "idfv": "d-1",
        "library": "millstream",
        "country": "NL",
        "region": "ZH",
        "city": "Delft",
        "location_lat": 52.01,
        "location_lng": 4.36,
        "carrier": "KPN",
        "os_name": "Android",
        "os_version": "16",
    }
    assert order == common | {
        "event_type": "Order Completed",
        "event_properties": event["properties"],
        "insert_id": event["messageId"],
        "revenue": 39.95,
        "revenueType": "Purchase",
    }
    assert product == common | {
        "event_type": "Product Purchased",
        "event_properties": event["properties"]["products"][0],
        "insert_id": f"{event['messageId']}:0",
    }


def test_amplitude_gets_people_groups_and_aliases() -> None:
    """By forms; groups only with a type for them; the session comes from `integrations`."""
    amplitude = Amplitude(api_key="k&y", group_type="company")
    (person,) = preview(amplitude, of("identify", traits={"plan": "pro"}))
    assert person.url == "https://api2.amplitude.com/identify"
    assert form(person) == {
        "api_key": "k&y",
        "identification": [{"user_id": "u-1001", "user_properties": {"plan": "pro"}}],
    }
    member, group = preview(amplitude, of("group", groupId="g", traits={"name": "Initech"}))
    assert form(member)["identification"] == [{"user_id": "u-1001", "groups": {"company": "g"}}]
    assert urlsplit(group.url).path == "/groupidentify"
    assert form(group)["identification"] == [
        {"group_type": "company", "group_value": "g", "group_properties": {"name": "Initech"}}
    ]
    assert preview(Amplitude(api_key="key"), of("group", groupId="g")) == []
    (alias,) = preview(amplitude, of("alias", previousId="old"))
    assert alias.url == "https://api.amplitude.com/usermap"
    assert form(alias)["mapping"] == [{"user_id": "old", "global_user_id": "u-1001"}]
    options = {"Actions Amplitude": {"session_id": 1772366400000}}
    (request,) = preview(amplitude, of("screen", name="Home", integrations=options))
    (screen,) = sent(request)["events"]
    assert (screen["event_type"], screen["session_id"]) == ("Viewed Home", 1772366400000)


# -- PostHog -------------------------------------------------------------------------------------------


def test_posthog_gets_an_event_with_its_names_for_the_context(event: dict[str, Any]) -> None:
    """Each row of the mapping, with the time of the event and a UUID."""
    (request,) = preview(PostHog(api_key="phc_key"), event)
    assert request.url == "https://us.i.posthog.com/batch/"
    assert sent(request) == {
        "api_key": "phc_key",
        "historical_migration": False,
        "batch": [
            {
                "event": "Order Completed",
                "distinct_id": "u-1001",
                "timestamp": event["timestamp"],
                "uuid": event["messageId"],
                "properties": {
                    **event["properties"],
                    "$ip": "203.0.113.7",
                    "$lib": "millstream",
                    "$lib_version": "1.0",
                    "$os": "Android",
                    "$os_version": "16",
                    "$current_url": "https://shop.example/done",
                    "$referrer": "https://search.example/",
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("event", "name", "distinct_id", "properties"),
    [
        (of("page", properties={"url": "https://x.example/"}), "$pageview", "u-1001",
         {"url": "https://x.example/", "$current_url": "https://x.example/"}),
        (of("screen", name="Home", anonymousId="a"), "$screen", "a",
         {"$screen_name": "Home", "$process_person_profile": False}),
        (of("identify", userId="u", anonymousId="a", traits={"plan": "pro"}), "$identify", "u",
         {"$set": {"plan": "pro"}, "$anon_distinct_id": "a"}),
        (of("group", groupId="g", traits={"name": "I", "groupType": "company"}), "$groupidentify", "u-1001",
         {"$group_type": "company", "$group_key": "g", "$group_set": {"name": "I"}}),
        (of("alias", previousId="old"), "$create_alias", "u-1001", {"distinct_id": "u-1001", "alias": "old"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_posthog_gets_the_other_types(
    event: dict[str, Any], name: str, distinct_id: str, properties: dict[str, Any]
) -> None:
    """Pages, screens, people, groups and aliases under PostHog's names; an id that is no UUID becomes one."""
    (request,) = preview(PostHog(api_key="phc_key"), event)
    (made,) = sent(request)["batch"]
    assert (made["event"], made["distinct_id"], made["properties"]) == (name, distinct_id, properties)
    assert len(made["uuid"]) == 36


# -- Google Analytics ----------------------------------------------------------------------------------


def test_google_analytics_gets_an_order(event: dict[str, Any]) -> None:
    """Under its own names, with its items, and its own time."""
    (request,) = preview(GA4(measurement_id="G-1", api_secret="sec"), event)
    assert request.url == "https://www.google-analytics.com/mp/collect?api_secret=sec&measurement_id=G-1"
    item = {"item_id": "p1", "item_name": "Lamp", "price": 20, "quantity": 1, "index": 1}
    assert sent(request) == {
        "client_id": "u-1001",
        "user_id": "u-1001",
        "events": [
            {
                "name": "purchase",
                "params": {
                    "transaction_id": "o-5",
                    "value": 41.5,
                    "currency": "EUR",
                    "items": [item],
                    "engagement_time_msec": 1,
                },
                "timestamp_micros": NOON * 1000,
            }
        ],
    }


@pytest.mark.parametrize(
    ("event", "name", "params"),
    [
        (of("track", event="Plan Changed!", properties={"to plan": "pro", "n": 2, "x": None, "y": [1], "z": {}}),
         "Plan_Changed_", {"to_plan": "pro", "n": 2}),
        (of("track", event="7 days"), "x7_days", {}),
        (of("track", event="A", properties={"long": "é" * 200}), "A", {"long": "é" * 100}),
        (of("track", event="Products Searched", properties={"query": "lamp"}), "search", {"search_term": "lamp"}),
        (of("track", event="Product Added", properties={"product_id": "p", "price": 2, "value": 2, "position": 4}),
         "add_to_cart", {"value": 2, "items": [{"item_id": "p", "price": 2}]}),
        (of("track", event="Promotion Clicked", properties={"promotion_id": "q", "name": "Sale"}),
         "select_promotion", {"promotion_id": "q", "promotion_name": "Sale", "items": [{"item_name": "Sale"}]}),
        (of("page", context={"page": {"url": "https://x.example", "title": "T"}}),
         "page_view", {"page_location": "https://x.example", "page_title": "T"}),
        (of("screen", name="Home"), "screen_view", {"screen_name": "Home"}),
        (of("group", groupId="g"), "join_group", {"group_id": "g"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_google_analytics_gets_what_its_limits_allow(event: dict[str, Any], name: str, params: dict[str, Any]) -> None:
    """Names are made valid, long texts are cut, and what is no text, number or boolean is left out."""
    (request,) = preview(GA4(measurement_id="G-1", api_secret="sec"), event)
    (made,) = sent(request)["events"]
    assert made["name"] == name
    assert made["params"] == params | {"engagement_time_msec": 1}


def test_google_analytics_has_no_more_than_25_params() -> None:
    """The rest of an event's properties is left out."""
    event = of("track", event="A", properties={f"p{n}": n for n in range(60)})
    options = {"GA4": {"clientId": "555.777", "sessionId": "s1"}}
    (request,) = preview(GA4(measurement_id="G-1", api_secret="sec"), {**event, "integrations": options})
    body = sent(request)
    assert body["client_id"] == "555.777"
    assert len(body["events"][0]["params"]) == 25
    assert body["events"][0]["params"]["session_id"] == "s1"


def test_google_analytics_has_no_people_and_no_aliases() -> None:
    """They are skipped."""
    ga4 = GA4(measurement_id="G-1", api_secret="sec")
    assert preview(ga4, of("identify", traits={"a": 1})) == preview(ga4, of("alias", previousId="o")) == []


# -- webhooks and Slack --------------------------------------------------------------------------------


def test_a_webhook_gets_events_as_they_are(event: dict[str, Any]) -> None:
    """In an array, or one to a request; signed over the time and the body."""
    (batched,) = preview(Webhook("https://me.example/in", secret="shared secret"), event, now=1_772_366_460.9)
    assert sent(batched) == [event]
    text = b"1772366460." + batched.body
    assert batched.headers["X-Millstream-Timestamp"] == "1772366460"
    assert batched.headers["X-Millstream-Signature"] == hmac.new(b"shared secret", text, hashlib.sha256).hexdigest()
    assert batched.headers["X-Signature"] == hmac.new(b"shared secret", batched.body, hashlib.sha1).hexdigest()
    (single,) = preview(Webhook("https://me.example/in?x=1", batch=False, headers={"X-Team": "a"}), event)
    assert sent(single) == event
    assert single.url == "https://me.example/in?x=1"
    assert single.headers["X-Team"] == "a"
    assert "X-Signature" not in single.headers


def test_slack_gets_a_text_of_the_events_fields(event: dict[str, Any]) -> None:
    """Fields by their paths; those that are absent are empty; nobody is called by a name with control characters."""
    url = "https://hooks.slack.example/services/T/B/x"
    text = "{event}: {properties.revenue:.1f} by {userId} {traits.name} {properties[order_id]} {context.page.url}"
    (request,) = preview(Slack(url, text=text), {**event, "userId": "<!channel>"})
    assert sent(request) == {"text": "Order Completed: 40.0 by &lt;!channel&gt;  o-5 https://shop.example/done"}
    (request,) = preview(Slack(url), event)
    assert sent(request) == {"text": "track Order Completed by u-1001a-77"}
    assert preview(Slack(url, events=["Signed Up"]), event) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Mixpanel(token=""), "token is empty"),
        (lambda: Mixpanel(token=None), "token is a NoneType"),  # type: ignore[arg-type]
        (lambda: Mixpanel(token="a\nb"), "line break"),
        (lambda: Amplitude(api_key="k", host="api2.amplitude.com"), "host is 'api2.amplitude.com'"),
        (lambda: Webhook("me.example/in"), "url is 'me.example/in'"),
        (lambda: Webhook("https://me.example", headers={"X A": "b"}), "no name of a header"),
        (lambda: Slack("https://hooks.slack.example/x", text="{event"), "text cannot be formatted"),
        (lambda: Slack("https://hooks.slack.example/x", events="Signed Up"), "a list of names"),
    ],
    ids=range(8),
)
def test_an_argument_that_cannot_be_used_is_named(make: Any, says: str) -> None:
    """With what it must be."""
    with pytest.raises(SettingsError, match=says):
        make()
