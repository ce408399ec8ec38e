"""The six calls: what they check at the door, and what stands on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import millstream
from millstream import Analytics, InvalidEvent
from support.api import Api

LIBRARY = {"name": "millstream", "version": millstream.__version__}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
WHEN = datetime(2020, 2, 3, 4, 5, 6, 789_000, tzinfo=timezone.utc)
Make = Callable[..., Analytics]

# Each call with all of its own arguments, and what is on the wire for them.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "identify": (
        lambda a, **kw: a.identify("u1", anonymous_id="a1", traits={"plan": "pro"}, **kw),
        {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}},
    ),
    "track": (
        lambda a, **kw: a.track("Paid", user_id="u1", anonymous_id="a1", properties={"revenue": 3}, **kw),
        {"event": "Paid", "userId": "u1", "anonymousId": "a1", "properties": {"revenue": 3}},
    ),
    "page": (
        lambda a, **kw: a.page("Home", category="Docs", user_id="u1", properties={"url": "/"}, **kw),
        {"name": "Home", "category": "Docs", "userId": "u1", "properties": {"url": "/", "category": "Docs"}},
    ),
    "screen": (
        lambda a, **kw: a.screen("Home", category="Docs", anonymous_id="a1", properties={"url": "/"}, **kw),
        {"name": "Home", "category": "Docs", "anonymousId": "a1", "properties": {"url": "/"}},
    ),
    "group": (
        lambda a, **kw: a.group("g1", user_id="u1", anonymous_id="a1", traits={"name": "Initech"}, **kw),
        {"groupId": "g1", "userId": "u1", "anonymousId": "a1", "traits": {"name": "Initech"}},
    ),
    "alias": (
        lambda a, **kw: a.alias("new", previous_id="old", **kw),
        {"userId": "new", "previousId": "old"},
    ),
}
kinds = pytest.mark.parametrize("kind", CALLS)


@kinds
def test_each_call_arrives_with_exactly_its_fields(api: Api, client: Make, kind: str) -> None:
    """N33-N38, N45, N47, N50, N51, N53, N56, M1-M6, C11, C13, C17, C20, C24: a call's body, key for key."""
    call, fields = CALLS[kind]
    call(client()).wait(timeout=10)
    body = api.requests[0].json
    assert list(body) == ["batch", "writeKey", "sentAt"]
    assert body["writeKey"] == "key"
    (event,) = body["batch"]
    assert UUID7.fullmatch(event.pop("messageId"))
    assert ISO.fullmatch(event.pop("timestamp"))
    assert event == {"type": kind, **fields, "context": {"library": LIBRARY}, "integrations": {}}


@kinds
def test_a_message_id_of_ones_own_is_kept(api: Api, client: Make, kind: str) -> None:
    """N46, N49, N52, N54, N57, C38, C114: the caller's `message_id` is the event's, for every kind."""
    CALLS[kind][0](client(), message_id="mine").wait(timeout=10)
    assert api.events[0]["messageId"] == "mine"


@kinds
def test_a_timestamp_of_ones_own_is_kept(api: Api, client: Make, kind: str) -> None:
    """N32, C26: a datetime becomes ISO-8601 in UTC with milliseconds, for every kind."""
    CALLS[kind][0](client(), timestamp=WHEN).wait(timeout=10)
    assert api.events[0]["timestamp"] == "2020-02-03T04:05:06.789Z"


@kinds
def test_integrations_are_forwarded_as_they_are(api: Api, client: Make, kind: str) -> None:
    """N32, C29: booleans and objects alike, for every kind."""
    integrations = {"All": False, "Mixpanel": True, "Facebook": {"limited": True}}
    CALLS[kind][0](client(), integrations=integrations).wait(timeout=10)
    assert api.events[0]["integrations"] == integrations


@kinds
def test_context_is_forwarded_with_our_library_in_it(api: Api, client: Make, kind: str) -> None:
    """C36, C37: the caller's context is sent, and `library` says who sent it, for every kind."""
    CALLS[kind][0](client(), context={"ip": "1.2.3.4"}).wait(timeout=10)
    assert api.events[0]["context"] == {"ip": "1.2.3.4", "library": LIBRARY}


def test_without_a_timestamp_it_is_now(api: Api, client: Make) -> None:
    """N50, C26: the time of the call, by the caller's clock."""
    client().identify("u1").wait(timeout=10)
    stamped = datetime.fromisoformat(api.events[0]["timestamp"].replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - stamped) < timedelta(seconds=30)


def test_a_message_id_is_a_uuid_of_version_7(client: Make) -> None:
    """L15, C25 (differs): ids are UUIDv7 from the system's random numbers; upstream's share 15 of their 16 bytes."""
    analytics = client()
    ids = {analytics.track("A", user_id="u").message_id for _ in range(500)}
    assert len(ids) == 500
    assert all(UUID7.fullmatch(one) for one in ids)


def test_no_metadata_is_sent(api: Api, client: Make) -> None:
    """N30 (differs): there is no `_metadata`; what it says is in `context.library` and the User-Agent."""
    client().track("A", user_id="u").wait(timeout=10)
    assert "_metadata" not in api.events[0]


def test_absent_fields_have_their_empty_form_or_none(api: Api, client: Make) -> None:
    """N50, N51, N56, C14-C16, C18, C19, C21, C22, C39: traits and properties are `{}`, name and category are absent."""
    analytics = client()
    analytics.identify("u", traits=None)
    analytics.track("A", user_id="u", properties=None)
    analytics.page(None, category=None, user_id="u")
    analytics.group("g", user_id="u", traits=None)
    analytics.flush(timeout=10)
    identify, track, page, group = api.events
    assert identify["traits"] == track["properties"] == page["properties"] == group["traits"] == {}
    assert not {"name", "category"} & set(page)
    assert "anonymousId" not in identify


def test_an_alias_has_neither_traits_nor_properties(api: Api, client: Make) -> None:
    """C12, C113: an alias needs and has its two ids, and nothing else."""
    client().alias("new", previous_id="old").wait(timeout=10)
    assert not {"traits", "properties"} & set(api.events[0])


def test_one_group_call_takes_nothing_from_another(api: Api, client: Make) -> None:
    """N48: ids and traits of a call are that call's alone."""
    analytics = client()
    analytics.group("g1", user_id="u1", traits={"a": 1})
    analytics.group("g2", anonymous_id="a2")
    analytics.flush(timeout=10)
    second = api.events[1]
    assert (second["groupId"], second["anonymousId"], second["traits"]) == ("g2", "a2", {})
    assert "userId" not in second


@pytest.mark.parametrize("call", ["identify", "track", "page", "screen", "group"])
def test_a_call_without_any_id_is_refused(client: Make, call: str) -> None:
    """N1, N43, C109: an event must be somebody's; the message names the ids."""
    arguments = {"track": ["A"], "group": ["g"]}.get(call, [])
    with pytest.raises(InvalidEvent, match="user_id or anonymous_id"):
        getattr(client(), call)(*arguments)


def test_a_group_call_needs_somebody(client: Make) -> None:
    """C107 (differs): a `group_id` alone is no identity, because the API discards such an event."""
    with pytest.raises(InvalidEvent, match="user_id or anonymous_id"):
        client().group("g1")


@pytest.mark.parametrize("field", ["user_id", "anonymous_id"])
@pytest.mark.parametrize("value", ["", True, 1.5, [], {}, b"u", object()])
def test_an_id_must_be_text(client: Make, field: str, value: object) -> None:
    """C108: what is no text is refused by the field's name; so is the empty text, which upstream lets through."""
    with pytest.raises(InvalidEvent, match=field):
        client().track("A", **{field: value})


def test_a_number_is_an_id(api: Api, client: Make) -> None:
    """C108 (differs): an int is sent as its text, because so many databases count their users."""
    client().track("A", user_id=42).wait(timeout=10)
    assert api.events[0]["userId"] == "42"


@pytest.mark.parametrize("value", [None, "", 5, ["A"]])
def test_a_track_call_needs_a_name(client: Make, value: Any) -> None:
    """C110: `event` must be text, and not empty."""
    with pytest.raises(InvalidEvent, match="event must be"):
        client().track(value, user_id="u")


@pytest.mark.parametrize("value", [[1], "text", 5, [("a", 1)]])
def test_properties_must_be_a_mapping(client: Make, value: Any) -> None:
    """C23, C111: a list, a text or a number is refused, for page and screen too, where upstream copies it."""
    for name in ("track", "page", "screen"):
        with pytest.raises(InvalidEvent, match="properties"):
            getattr(client(), name)("A", user_id="u", properties=value)


@pytest.mark.parametrize("value", [[1], "text", 5])
def test_traits_must_be_a_mapping(client: Make, value: Any) -> None:
    """C112: a list, a text or a number is refused."""
    with pytest.raises(InvalidEvent, match="traits"):
        client().identify("u", traits=value)
    with pytest.raises(InvalidEvent, match="traits"):
        client().group("g", user_id="u", traits=value)


@pytest.mark.parametrize("value", [5, "", "x" * 101, ["m"]])
def test_a_message_id_must_be_short_text(client: Make, value: Any) -> None:
    """C114: what is no text is refused; so is the empty text, which upstream replaces."""
    with pytest.raises(InvalidEvent, match="message_id"):
        client().track("A", user_id="u", message_id=value)


def test_an_unknown_argument_is_an_error(client: Make) -> None:
    """C27, C31 (differs): an argument that does not exist is a TypeError, and not silently context."""
    with pytest.raises(TypeError, match="ip"):
        client().track("A", user_id="u", ip="1.2.3.4")


def test_what_a_call_refuses_is_not_sent(api: Api, client: Make) -> None:
    """C110: an invalid call leaves nothing behind, not even a count."""
    analytics = client()
    with pytest.raises(InvalidEvent):
        analytics.track("", user_id="u")
    analytics.track("Good", user_id="u").wait(timeout=10)
    assert [event["event"] for event in api.events] == ["Good"]
    assert analytics.stats().accepted == 1


def test_integrations_of_the_client_give_way_to_those_of_the_call(api: Api, client: Make) -> None:
    """C28-C30: the client's are sent with every event; the call's own win, and keep their objects."""
    analytics = client(integrations={"All": True, "Slack": False})
    analytics.track("A", user_id="u", integrations={"Slack": {"channel": "c"}})
    analytics.track("B", user_id="u")
    analytics.flush(timeout=10)
    first, second = (event["integrations"] for event in api.events)
    assert first == {"All": True, "Slack": {"channel": "c"}}
    assert second == {"All": True, "Slack": False}
