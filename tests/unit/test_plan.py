"""Tracking plans: the formats, which rule an event is held against, and what is said of what it breaks."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from millstream import SettingsError
from millstream.destinations import Event
from millstream.plan import Plan, Policy, Violation

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "properties": {
            "type": "object",
            "additionalProperties": False,
            "required": ["order_id"],
            "properties": {
                "order_id": {"type": "string"},
                "total": {"type": ["number", "null"], "maximum": 1000},
                "coupon": {"type": "string", "pattern": "^[A-Z]+$"},
                "channel": {"enum": ["web", "app"]},
                "at": {"type": "string", "format": "date-time"},
                "products": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
            },
        }
    },
}


def rule(kind: str, key: str | None, schema: dict[str, Any], version: Any = 1) -> dict[str, Any]:
    return {"type": kind, "key": key, "version": version, "jsonSchema": schema}


def order(**properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": "u", "properties": properties}


PLAN = {"rules": [rule("TRACK", "Order Completed", SCHEMA)]}


def told(plan: dict[str, Any], event: dict[str, Any]) -> list[tuple[str, str]]:
    """Kinds and paths of what an event breaks, the same for the dict, its JSON and an Event."""
    parsed, data = Plan.parse(plan), json.dumps(event).encode()
    found = parsed.check(event)
    assert found == parsed.check(data) == parsed.check(Event(data))
    return sorted((each.kind, each.path) for each in found)


BROKEN = {
    "missing_property": ({}, "properties.order_id is missing", "properties.order_id"),
    "unplanned_property": (
        {"order_id": "1", "colour": "red"},
        "properties.colour is not in the plan",
        "properties.colour",
    ),
    "wrong_type": (
        {"order_id": 17},
        "properties.order_id must be string, and is integer",
        "properties.order_id",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_violation_names_the_field_and_what_the_plan_wants(kind: str):
    """The kind, the path and a sentence; never the value, which may be personal."""
    properties, message, path = BROKEN[kind]
    assert Plan.parse(PLAN).check(order(**properties)) == [Violation(kind, "Order Completed", path, message)]


def test_every_violation_is_told():
    """Patterns, values, limits, formats and lists, all in one event; a time without an offset is one."""
    event = order(total=1000.5, coupon="ab", channel="shop", at="yesterday", products=[{"sku": "a"}, {}], x=1, y=[2])
    assert told(PLAN, event) == [
        ("missing_property", "properties.order_id"),
        ("missing_property", "properties.products.1.sku"),
        ("other", "properties.at"),
        ("other", "properties.channel"),
        ("other", "properties.coupon"),
        ("other", "properties.total"),
        ("unplanned_property", "properties.x"),
        ("unplanned_property", "properties.y"),
    ]
    messages = {each.path: each.message for each in Plan.parse(PLAN).check(event)}
    assert messages["properties.coupon"] == 'properties.coupon breaks the plan\'s pattern "^[A-Z]+$"'
    assert messages["properties.channel"] == 'properties.channel breaks the plan\'s enum ["web","app"]'
    assert told(PLAN, order(order_id="1", total=None, at="2026-11-30T10:00:00")) == []
    assert told(PLAN, order(order_id="1", at="2026-11-30")) == [("other", "properties.at")]


def test_no_message_quotes_the_event():
    """A value that breaks a rule does not get into a log by way of the message."""
    schema = {"properties": {"traits": {"properties": {
        "a": {"anyOf": [{"type": "integer"}, {"const": 1}]}, "b": {"oneOf": [{"type": "null"}]}, "c": {"not": {}},
        "d": {"contains": {"type": "null"}}, "e": {"format": "email"}, "f": {"const": 1}, "g": {"maxLength": 2},
    }, "propertyNames": {"maxLength": 1}}}}  # fmt: skip
    plan = Plan.parse({"rules": [rule("IDENTIFY", None, schema)]})
    traits = {**dict.fromkeys("abcefg", "s3cret"), "d": ["s3cret"], "long": "s3cret"}
    violations = plan.check({"type": "identify", "traits": traits})
    assert len(violations) == 8
    assert "s3cret" not in str(violations)


def test_an_exact_number_is_a_number():
    """An amount that was decoded as a Decimal is checked as any other."""
    event = {**order(order_id="1"), "properties": {"order_id": "1", "total": Decimal("12345678901234567.89")}}
    assert [each.path for each in Plan.parse(PLAN).check(event)] == ["properties.total"]


def test_an_event_is_held_against_the_rule_of_its_name_or_type_and_the_common_one():
    """A page by its name, else by its type; only a track event can be unplanned."""
    needs = lambda name: {"type": "object", "required": [name]}  # noqa: E731
    plan = {
        "rules": [
            rule("COMMON", None, needs("userId")),
            rule("TRACK", "Known", {"properties": {"context": needs("ip")}, "required": ["context"]}),
            rule("PAGE", None, needs("properties")),
            rule("PAGE", "Home", needs("category")),
            rule("GROUP", None, needs("groupId")),
        ]
    }
    assert told(plan, {"type": "track", "event": "Known", "userId": "u", "context": {"ip": "::"}}) == []
    assert told(plan, {"type": "track", "event": "Known"}) == [
        ("missing_property", "context"),
        ("missing_property", "userId"),
    ]
    assert told(plan, {"type": "track", "event": "known", "userId": "u"}) == [("unplanned_event", "event")]
    assert told(plan, {"type": "page", "name": "Other", "userId": "u"}) == [("missing_property", "properties")]
    assert told(plan, {"type": "page", "name": "Home", "userId": "u"}) == [("missing_property", "category")]
    assert told(plan, {"type": "group", "userId": "u", "groupId": "g"}) == []
    assert told(plan, {"type": "identify"}) == [("missing_property", "userId")]
    assert told(plan, {"type": "alias", "userId": "u"}) == []


@pytest.mark.parametrize("versions", [(1, 2), (2, 10), ("1-0-0", "1-0-1"), ("1.9", "1.10"), (None, 1)])
def test_the_highest_version_of_a_rule_counts(versions: tuple[Any, Any]):
    """In whichever order they stand: numbers, and versions as Typewriter has them."""
    old, new = versions
    rules = [rule("TRACK", "A", {"required": ["old"]}, old), rule("TRACK", "A", {"required": ["new"]}, new)]
    for each in (rules, rules[::-1]):
        assert told({"rules": each}, {"type": "track", "event": "A"}) == [("missing_property", "new")]


FORMATS = {
    "Public API": {"rules": [rule("TRACK", "A", {"required": ["x"]}), rule("COMMON", None, {"required": ["y"]})]},
    "Public API's answer": {
        "data": {"trackingPlan": {"name": "P", "rules": [
            rule("TRACK", "A", {"required": ["x"]}), rule("COMMON", None, {"required": ["y"]})]}}
    },
    "Terraform": {"rules": [
        {"type": "TRACK", "key": "A", "version": 1, "json_schema": '{"required": ["x"]}'},
        {"type": "COMMON", "key": None, "version": 1, "json_schema": '{"required": ["y"]}'},
    ]},
    "Typewriter": {"display_name": "P", "rules": {
        "events": [{"name": "A", "version": 1, "rules": {"required": ["x"]}}],
        "global": {"required": ["y"]}, "identify": {}, "group": {},
    }},
    "RudderStack": {"name": "P", "events": [
        {"name": "A", "eventType": "track", "rules": {"required": ["x"]}},
        {"name": "", "eventType": "global", "rules": {"required": ["y"]}},
    ]},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_in_use_is_understood(name: str):
    """Segment's Public API, Typewriter's plan.json, RudderStack's, and what Terraform has."""
    assert told(FORMATS[name], {"type": "track", "event": "A"}) == [
        ("missing_property", "x"),
        ("missing_property", "y"),
    ]


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ({}, "the tracking plan has no rules"),
        ({"rules": []}, "the tracking plan has no rules"),
        ([], "a tracking plan must be an object, got list"),
        ({"rules": ["x"]}, "rule 0 of the tracking plan must be an object, got str"),
        (
            {"rules": [rule("CLICK", "A", {})]},
            "rule 0 of the tracking plan has type 'click': it must be one",
        ),
        ({"rules": [rule("TRACK", None, {})]}, "needs the name of one"),
        ({"rules": [{"type": "TRACK", "key": "A"}]}, "(A) needs a JSON schema, an object, got NoneType"),
        ({"rules": [rule("TRACK", "A", "{")]}, "(A): its schema is no JSON"),  # type: ignore[arg-type]
        (
            {"rules": [rule("TRACK", "A", {"type": "nonsense"})]},
            "plan's rule for track 'A' is no JSON schema",
        ),
        ({"rules": [rule("TRACK", "A", {"$ref": "http://127.0.0.1:9/x"})]}, "put what it refers to into the schema"),
        ({"rules": {"events": [3]}}, "event 0 of the tracking plan must be an object, got int"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused(plan: Any, problem: str):
    """When it is parsed, and the message names the rule; nothing is fetched from the network."""
    with pytest.raises(SettingsError) as refusal:
        Plan.parse(plan)
    assert problem in str(refusal.value)


def test_a_plan_is_loaded_from_a_file(tmp_path: Path):
    """What is wrong with the file is said with its path."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"name": "Shop", **PLAN}))
    plan = Plan.load(file)
    assert (plan.name, plan.check(order(order_id="1"))) == ("Shop", [])
    for content, problem in (("{", "is no JSON"), ("{}", "has no rules")):
        file.write_text(content)
        with pytest.raises(SettingsError) as refusal:
            Plan.load(str(file))
        assert str(file) in str(refusal.value)
        assert problem in str(refusal.value)
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        Plan.load(tmp_path / "absent.json")


def violations(*kinds: Any) -> list[Violation]:
    return [Violation(kind, "A", "properties.x", "…") for kind in kinds]


def test_the_strictest_mode_decides():
    """Block before drop, drop before warn; each kind of violation has its mode."""
    policy = Policy(unplanned_events="drop", unplanned_properties="allow", other_violations="block")
    assert policy.decide([]) == "allow"
    assert policy.decide(violations("unplanned_property")) == "allow"
    assert policy.decide(violations("unplanned_property", "unplanned_event")) == "drop"
    assert policy.decide(violations("unplanned_event", "wrong_type")) == "block"
    assert policy.decide(violations("missing_property")) == policy.decide(violations("other")) == "block"
    assert Policy().decide(violations("unplanned_event", "other", "unplanned_property")) == "warn"


def test_a_policy_with_a_wrong_key_or_mode_is_refused():
    """The message names the key, and what it may be."""
    assert Policy.parse({"unplanned_events": "block"}) == Policy(unplanned_events="block")
    with pytest.raises(SettingsError, match="unplanned_events must be one of allow, warn, drop, block, got 'reject'"):
        Policy.parse({"unplanned_events": "reject"})
    with pytest.raises(SettingsError, match="there is no 'unplanned' for a tracking plan: use unplanned_events"):
        Policy.parse({"unplanned": "warn"})
