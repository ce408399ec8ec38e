"""The six calls, and whole events: what is accepted, what is refused and how, and what is sent."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from millstream import Analytics, InvalidEvent
from millstream._core.events.build import (
    LIBRARY,
    Alias,
    Defaults,
    Group,
    Identify,
    Page,
    Screen,
    Track,
    WireEvent,
    whole,
)
from millstream._core.events.encode import decode, encode
from millstream.spec import MAX_MESSAGE_ID, TYPES

PAGE = (Path(__file__).parents[4] / "docs/reference/events.md").read_text("utf-8")
STAMP = "2024-05-17T09:30:15.123Z", "018f85a1-0000-7000-8000-000000000000"
DEFAULTS = Defaults.of({"library": LIBRARY}, {})
KIND: dict[str, tuple[type[WireEvent], dict[str, Any]]] = {
    "identify": (Identify, {"traits": None}),
    "track": (Track, {"event": "Paid", "properties": None}),
    "page": (Page, {"name": None, "category": None, "properties": None}),
    "screen": (Screen, {"name": None, "category": None, "properties": None}),
    "group": (Group, {"group_id": "g", "traits": None}),
    "alias": (Alias, {"previous_id": "p"}),
}
ENVELOPE = ("message_id", "timestamp", "user_id", "anonymous_id", "context", "integrations")


def event_of(kind: str = "track", *, defaults: Defaults = DEFAULTS, **arguments: Any) -> dict[str, Any]:
    """The event of a call with these arguments, as it was sent; the user is `u` unless somebody is given."""
    struct, own = KIND[kind]
    if kind == "alias" or not arguments.keys() & {"user_id", "anonymous_id"}:
        arguments = {"user_id": "u", **arguments}
    event = struct(*(arguments.get(name) for name in ENVELOPE), *(arguments.get(name, own[name]) for name in own))
    given = event.complete(STAMP, defaults)
    return decode(encode(event, given))


def refusal(kind: str = "track", **arguments: Any) -> str:
    with pytest.raises(InvalidEvent) as caught:
        event_of(kind, **arguments)
    return str(caught.value)


def sent(event: object, defaults: Defaults = DEFAULTS) -> dict[str, Any]:
    """The whole event as it was sent."""
    return decode(encode(whole(event, STAMP, defaults)))


def send_refusal(event: object) -> str:
    with pytest.raises(InvalidEvent) as caught:
        whole(event, STAMP, DEFAULTS)
    return str(caught.value)


# -- the page ---------------------------------------------------------------------------------------

SHOWN = re.findall(r"```python\n(analytics\.\w+\(.*?\))\n```\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("call", "written"), SHOWN, ids=lambda text: text[:20])
def test_each_call_is_sent_as_the_page_says(call: str, written: str) -> None:
    """Every example of the reference is so: these fields and no others."""
    analytics = Analytics("key", disable=True)
    event = eval(call, {"analytics": analytics}).wait(timeout=5).event
    analytics.close_and_flush(timeout=5)
    rest = {name: event.pop(name) for name in ("messageId", "timestamp", "context", "integrations")}
    assert event == json.loads(written)
    assert rest["context"] == {"library": LIBRARY}
    assert rest["integrations"] == {}


def test_the_page_shows_every_call() -> None:
    """No call is missing from the reference."""
    assert [re.match(r"analytics\.(\w+)", call)[1] for call, _ in SHOWN] == [*TYPES, "send"]  # type: ignore[index]


# -- who --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "alias"])
def test_every_event_is_somebodys(kind: str) -> None:
    """A call without a user or an anonymous id is refused, a group call too; either of the two is enough."""
    assert f"{kind}: pass user_id or anonymous_id" in refusal(kind, user_id=None, anonymous_id=None)
    assert event_of(kind, user_id="u")["userId"] == "u"
    event = event_of(kind, anonymous_id="a")
    assert event["anonymousId"] == "a"
    assert "userId" not in event


class Member(str, enum.Enum):
    ADA = "ada"


IDS = [
    ("u", "u"),
    (7, "7"),
    (-1, "-1"),
    (0, "0"),
    (np.str_("x"), "x"),
    (Member.ADA, "ada"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (type("Own", (UUID,), {"__str__": lambda _: "other"})(int=1), str(UUID(int=1))),
    (np.int64(7), "7"),
    (np.uint8(0), "0"),
]


@pytest.mark.parametrize(("given", "written"), IDS, ids=lambda part: type(part).__name__)
def test_an_id_is_text(given: object, written: str) -> None:
    """An int or a UUID is sent as its text, because many databases have those as keys; zero is an id too."""
    assert event_of(user_id=given)["userId"] == written
    assert event_of("group", group_id=given)["groupId"] == written
    assert event_of("alias", previous_id=given)["previousId"] == written


NO_IDS = [
    "",
    True,
    False,
    1.5,
    b"u",
    ["u"],
    {"id": 1},
    object(),
    10**5000,
    np.bool_(True),
    np.float64(1),
    np.array([1]),
]


@pytest.mark.parametrize("given", NO_IDS, ids=range(len(NO_IDS)))
@pytest.mark.parametrize("field", ["user_id", "anonymous_id", "group_id", "previous_id"])
def test_what_is_no_id_is_refused_by_name(field: str, given: object) -> None:
    """The refusal says which argument, and which type came."""
    kind = {"group_id": "group", "previous_id": "alias"}.get(field, "track")
    message = refusal(kind, **{"user_id": "u"} | {field: given})
    assert message.startswith(f"{field} must be a non-empty str or an int, got ")
    assert type(given).__name__ in message


@pytest.mark.parametrize("field", ["user_id", "previous_id"])
def test_an_alias_needs_both_ids(field: str) -> None:
    """An alias ties two ids: neither may be missing."""
    assert refusal("alias", **{field: None}).startswith(field)


def test_a_group_needs_its_id() -> None:
    """A group call without a group is refused."""
    assert refusal("group", group_id=None).startswith("group_id must be")


# -- what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", None, 7, b"x", object()], ids=range(5))
def test_a_name_is_text(given: object) -> None:
    """A track call needs an event's name; a page's or screen's name and category may be left out, but not be empty."""
    assert refusal(event=given).startswith("event must be a non-empty str")
    if given is not None:
        assert refusal("page", name=given).startswith("name must be")
        assert refusal("screen", category=given).startswith("category must be")


@pytest.mark.parametrize("kind", TYPES)
def test_no_field_is_invented(kind: str) -> None:
    """An event has the fields of its kind and the envelope, and `{}` where a mapping was left out."""
    own = {
        "identify": {"traits"},
        "track": {"event", "properties"},
        "page": {"properties"},
        "screen": {"properties"},
        "group": {"groupId", "traits"},
        "alias": {"previousId"},
    }[kind]
    event = event_of(kind)
    assert event.keys() == {"type", "messageId", "timestamp", "userId", "context", "integrations", *own}
    assert all(event[name] == {} for name in own & {"traits", "properties"})


def test_only_a_page_has_its_category_twice() -> None:
    """`page` puts the category into a copy of the properties, over the caller's own; `screen` does not."""
    given = {"category": "old", "url": "/"}
    assert event_of("page", category="Docs", properties=given)["properties"] == {"category": "Docs", "url": "/"}
    assert event_of("page", category="Docs")["properties"] == {"category": "Docs"}
    assert event_of("screen", category="Docs")["properties"] == {}
    assert given == {"category": "old", "url": "/"}


MAPPINGS = [{"a": 1}, MappingProxyType({"a": 1}), type("Own", (dict,), {})(a=1)]


@pytest.mark.parametrize("given", MAPPINGS, ids=range(3))
def test_any_mapping_will_do(given: Any) -> None:
    """Properties, traits, context and integrations take whatever is a mapping."""
    assert event_of(properties=given)["properties"] == {"a": 1}
    assert event_of("identify", traits=given)["traits"] == {"a": 1}
    assert event_of("page", category="c", properties=given)["properties"] == {"a": 1, "category": "c"}
    assert event_of(context=given)["context"] == {"a": 1, "library": LIBRARY}
    assert event_of(integrations=given)["integrations"] == {"a": 1}
    assert sent({"type": "track", "event": "e", "userId": "u", "properties": given})["properties"] == {"a": 1}


class Liar(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise LookupError("secret")

    def __iter__(self) -> Iterator[str]:
        return iter(["secret"])

    def __len__(self) -> int:
        return 0


class Twice(Liar):
    def items(self) -> Any:
        return [("a", 1), ("a", 2)]


class Unhelpful:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    __hash__ = object.__hash__


# In `pytest.param`, because pytest asks a bare value what it is, and some here do not bear being asked.
HOSTILE = [pytest.param(cls(), id=cls.__name__) for cls in (Liar, Twice, Unhelpful)]
OTHERS = ["secret", "", [("a", 1)], 7, 7.5, True, b"secret", object(), np.arange(3)]
NO_MAPPINGS = [*HOSTILE, *(pytest.param(value, id=type(value).__name__) for value in OTHERS)]


@pytest.mark.parametrize("given", NO_MAPPINGS)
@pytest.mark.parametrize("field", ["properties", "traits", "context", "integrations"])
def test_what_is_no_mapping_is_refused_by_name(field: str, given: object) -> None:
    """The refusal says which argument and which type, and never what was in it, whatever the object does."""
    message = refusal("identify" if field == "traits" else "track", **{field: given})
    assert message.startswith(field)
    assert type(given).__name__ in message or ".a: two keys" in message
    assert "secret" not in message.replace("properties.secret", "").replace("traits.secret", "")


FIELD_NAMES = ["user_id", "anonymous_id", "timestamp", "message_id", "event"]


@pytest.mark.parametrize("field", FIELD_NAMES)
@pytest.mark.parametrize("given", [*HOSTILE, pytest.param(np.arange(3), id="array")])
def test_no_argument_makes_a_call_raise_anything_else(field: str, given: object) -> None:
    """An object that raises whatever it is asked is refused like any other wrong argument."""
    assert refusal(**{"user_id": "u"} | {field: given}).startswith(f"{field} must be")


# -- when -------------------------------------------------------------------------------------------

NAIVE = datetime(2024, 5, 17, 9, 30)  # noqa: DTZ001 - without a zone, on purpose
INDIA = timezone(timedelta(hours=5, minutes=30))


class NoOffset(tzinfo):
    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        return None


class BadZone(tzinfo):
    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        raise RuntimeError


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (datetime(2024, 5, 17, 9, 30, 15, 123999, timezone.utc), "2024-05-17T09:30:15.123Z"),
        (datetime(2024, 5, 17, 9, 30, tzinfo=INDIA), "2024-05-17T04:00:00.000Z"),
        (NAIVE, "2024-05-17T09:30:00.000Z"),
        (datetime(2024, 5, 17, 9, 30, tzinfo=NoOffset()), "2024-05-17T09:30:00.000Z"),
        (datetime(33, 4, 3, tzinfo=timezone.utc), "0033-04-03T00:00:00.000Z"),
        (type("Own", (datetime,), {})(2024, 5, 17, tzinfo=INDIA), "2024-05-16T18:30:00.000Z"),
        ("2024-05-17T09:30:15.123456789+05:30", "2024-05-17T04:00:15.123Z"),
        ("2024-05-17T09:30:15Z", "2024-05-17T09:30:15.000Z"),
        ("2024-05-17t09:30:15.5z", "2024-05-17T09:30:15.500Z"),
        ("2024-05-17 09:30:15,5-0800", "2024-05-17T17:30:15.500Z"),
        ("2024-05-17T09:30+05", "2024-05-17T04:30:00.000Z"),
        ("2024-05-17T09:30", "2024-05-17T09:30:00.000Z"),
        ("2024-05-17", "2024-05-17T00:00:00.000Z"),
        (np.str_("2024-05-17"), "2024-05-17T00:00:00.000Z"),
    ],
)
def test_a_time_is_sent_in_utc(given: object, written: str) -> None:
    """A datetime or ISO text goes out in UTC with milliseconds; without a zone it is taken as UTC, wherever we run."""
    assert event_of(timestamp=given)["timestamp"] == written


NO_TIMES = [
    *("", "today", "17.05.2024", "2024-13-01", "2024-05-17T25:00Z", "2024-05-17T09:30:15+24:00", "1715938215"),
    *("20240517", "2024-W20-5", "2024-05-17\n", "٢٠٢٤-05-17", "x" * 9_999, "2024-05-17T09:30:15.Z"),
    *(1715938215, 0.5, True, NAIVE.date(), np.datetime64("2024-05-17"), object(), [], b"2024-05-17"),
    datetime(2024, 5, 17, tzinfo=BadZone()),
]


@pytest.mark.parametrize("given", NO_TIMES, ids=range(len(NO_TIMES)))
def test_what_is_no_time_is_refused(given: object) -> None:
    """A number could be seconds or milliseconds, other text anything: neither is guessed at."""
    message = refusal(timestamp=given)
    assert message.startswith("timestamp must be a datetime or an ISO-8601 str")
    assert len(message) < 200
    assert send_refusal({"type": "track", "event": "e", "userId": "u", "timestamp": given}).startswith("timestamp must")


@pytest.mark.parametrize("given", [datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "0001-01-01T00:00+01"])
def test_a_time_beyond_the_calendar_is_refused(given: object) -> None:
    """A moment that has no year in UTC has no text either."""
    assert "outside the years 1 to 9999" in refusal(timestamp=given)


# -- the envelope -----------------------------------------------------------------------------------


def test_a_call_is_stamped() -> None:
    """An event without a time or id of its own has those of the call; its own are kept."""
    event = event_of()
    assert (event["timestamp"], event["messageId"]) == STAMP
    assert event_of(message_id="mine")["messageId"] == "mine"
    assert event_of(message_id=UUID(int=1))["messageId"] == str(UUID(int=1))
    assert event_of(message_id="m" * MAX_MESSAGE_ID)["messageId"] == "m" * 100


@pytest.mark.parametrize("given", ["", "m" * 101, 7, b"m", object()], ids=range(5))
def test_a_message_id_is_short_text(given: object) -> None:
    """The API takes 1 to 100 characters."""
    assert refusal(message_id=given).startswith("message_id must be a str of 1 to 100 characters, got ")
    assert "mmm" not in refusal(message_id=given)


def test_a_receipt_knows_the_id_that_is_sent() -> None:
    """What becomes of half a surrogate pair is decided before the receipt is made, not while encoding."""
    event = Identify("m\ud800", user_id="u")
    given = event.complete(STAMP, DEFAULTS)
    assert event.message_id == decode(encode(event, given))["messageId"] == "m\ufffd"


def test_the_library_is_named_in_a_copy() -> None:
    """`context.library` has our name and version over the caller's, keeps his other keys, and is put into a copy."""
    given = {"ip": "1.2.3.4", "library": {"name": "theirs", "wrapper": "w"}}
    before = json.dumps(given)
    assert event_of(context=given)["context"] == {"ip": "1.2.3.4", "library": {"wrapper": "w", **LIBRARY}}
    assert json.dumps(given) == before
    assert event_of(context={"library": None})["context"] == {"library": LIBRARY}
    assert refusal(context={"library": "theirs"}).startswith("context.library must be a mapping")


def test_defaults_lie_beneath() -> None:
    """The client's context and integrations are in every event, under the call's own, and stay as they are."""
    context = {"app": {"name": "shop"}, "ip": "0.0.0.0", "library": {**LIBRARY, "wrapper": "w"}}
    integrations = {"All": True, "Slack": False}
    defaults = Defaults.of(context, integrations)
    event = event_of(defaults=defaults, context={"ip": "1.2.3.4"}, integrations={"Slack": {"channel": "c"}})
    assert event["context"] == {"app": {"name": "shop"}, "ip": "1.2.3.4", "library": {**LIBRARY, "wrapper": "w"}}
    assert event["integrations"] == {"All": True, "Slack": {"channel": "c"}}
    plain = event_of(defaults=defaults)
    assert (plain["context"], plain["integrations"]) == (context, integrations)
    assert (defaults.context, defaults.integrations) == (context, integrations)


def test_keys_that_are_no_text_survive_the_merge() -> None:
    """Two keys that become the same text are refused in the merged mappings too."""
    assert event_of(context={1: "a"})["context"]["1"] == "a"
    assert "context.1: two keys" in refusal(context={1: "a", "1": "b"})


# -- whole events -----------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "type": "track",
    "event": "Paid",
    "userId": "u",
    "anonymousId": "a",
    "properties": {"revenue": 5},
    "messageId": "m",
    "timestamp": "2024-05-17 09:30",
    "context": {"ip": "1.2.3.4", "library": {"name": "analytics.js"}},
    "integrations": {"All": False},
    "channel": "server",
    "nothing": None,
}


def test_a_whole_event_is_sent_as_it_is() -> None:
    """`send` keeps the id, the text of the time, the library and every key that it does not know."""
    before = json.dumps(WHOLE)
    assert sent(WHOLE) == WHOLE
    assert sent(MappingProxyType(WHOLE)) == WHOLE
    assert sent(sent(WHOLE)) == WHOLE
    assert json.dumps(WHOLE) == before


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_call_sent_can_be_sent_again(kind: str) -> None:
    """An event that was built comes through `send` unchanged, so nothing is sent as a second event."""
    event = event_of(kind)
    assert sent(event) == event


def test_a_whole_event_is_completed() -> None:
    """A missing id, time, context or integrations are added; fields that are null are absent."""
    event = sent({"type": "identify", "userId": 7, "anonymousId": None, "traits": None, "timestamp": None})
    assert event == {
        "type": "identify",
        "userId": "7",
        "messageId": STAMP[1],
        "timestamp": STAMP[0],
        "context": {"library": LIBRARY},
        "integrations": {},
    }
    assert sent({**WHOLE, "timestamp": NAIVE})["timestamp"] == "2024-05-17T09:30:00.000Z"
    assert sent({**WHOLE, "type": np.str_("track")})["type"] == "track"
    assert sent({**WHOLE, "type": "page", "name": "", "category": ""})["name"] == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "sell"}, "type must be one of identify, track, page, screen, group, alias"),
        ({"type": None}, "type must be one of"),
        ({"type": np.arange(3)}, "type must be one of"),
        ({"type": Unhelpful()}, "type must be one of"),
        ({"event": None}, "track: event is needed"),
        ({"event": ""}, "track: event is needed"),
        ({"event": 7}, "event must be"),
        ({"userId": None, "anonymousId": None}, "track: pass userId or anonymousId"),
        ({"userId": True}, "userId must be a non-empty str or an int, got bool"),
        ({"userId": "", "anonymousId": ""}, "track: pass userId or anonymousId"),
        ({"userId": float("nan")}, "userId must be a non-empty str or an int, got float"),
        ({"groupId": []}, "groupId must be"),
        ({"previousId": False}, "previousId must be"),
        ({"properties": [1]}, "properties must be a mapping (a dict), got list"),
        ({"traits": "secret"}, "traits must be a mapping (a dict), got a str of 6 characters"),
        ({"context": 7}, "context must be"),
        ({"context": Liar()}, "context: "),
        ({"integrations": []}, "integrations must be"),
        ({"messageId": "m" * 101}, "messageId must be"),
        ({"name": 7}, "name must be"),
        ({"category": b""}, "category must be"),
    ],
)
def test_a_whole_event_is_checked(change: dict[str, Any], message: str) -> None:
    """What the API would discard without a word is refused, under the wire's names."""
    assert send_refusal({**WHOLE, **change}).startswith(message)


@pytest.mark.parametrize("given", [None, "event", [WHOLE], 7, *HOSTILE])
def test_what_is_no_event_is_refused(given: object) -> None:
    """Anything but a mapping that can be read is refused."""
    assert send_refusal(given).startswith("an event")


def test_a_whole_event_with_odd_keys() -> None:
    """Keys of the event itself follow the same rule as all others."""
    assert sent({**WHOLE, 1: "a"})["1"] == "a"
    with pytest.raises(InvalidEvent, match="two keys"):
        sent({**WHOLE, 1: "a", "1": "b"})
