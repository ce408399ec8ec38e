"""Tracking plans: the rules that a plan has, and what is done with an event that breaks some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from ..errors import SettingsError
from ..spec import TYPES
from .guards import is_list, is_mapping, is_object

__all__ = ["COMMON", "Kind", "Mode", "Policy", "Rule", "Rules", "Violation", "rules_of"]

Kind: TypeAlias = Literal["unplanned_event", "unplanned_property", "missing_property", "wrong_type", "other"]
"""Kinds of violations: the plan has no such event, or no such property; a property is missing, has another type than
the plan wants, or breaks another rule (a pattern, a list of values, a limit)."""
Mode: TypeAlias = Literal["allow", "warn", "drop", "block"]
MODES: tuple[Mode, ...] = get_args(Mode)
COMMON = "common"
"""The type of the rule that is for all events."""


class Violation(msgspec.Struct, frozen=True):
    """One way in which an event departs from its plan. The message names the field and the types, never the value."""

    kind: Kind
    event: str
    """The name of a track event; of others their type."""
    path: str
    """Where in the event, with dots: `properties.products.0.sku`."""
    message: str


class Rule(msgspec.Struct, frozen=True):
    """A JSON schema for the events of one type, or of one type and name."""

    type: str
    name: str
    """Empty: for all events of the type that have no rule of their own."""
    version: tuple[int, ...]
    schema: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.type} {self.name!r}" if self.name else self.type


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The modes in which a plan is applied, by kind of violation."""

    unplanned_events: Mode = "warn"
    unplanned_properties: Mode = "warn"
    other_violations: Mode = "warn"

    def decide(self, violations: Iterable[Violation]) -> Mode:
        """Return the strictest mode that violations ask for: block before drop, drop before warn."""
        asked = [MODES.index(self.mode(violation)) for violation in violations]
        return MODES[max(asked, default=0)]

    def mode(self, violation: Violation) -> Mode:
        """Return the mode for one violation."""
        if violation.kind == "unplanned_event":
            return self.unplanned_events
        return self.unplanned_properties if violation.kind == "unplanned_property" else self.other_violations

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Policy:
        """Make a policy of a configuration's values.

        Raises:
            SettingsError: naming the key, and what it may be.
        """
        for key, value in settings.items():
            if key not in cls.__struct_fields__:
                raise SettingsError(f"there is no {key!r} for a tracking plan: use {', '.join(cls.__struct_fields__)}")
            if value not in MODES:
                raise SettingsError(f"{key} must be one of {', '.join(MODES)}, got {value!r}")
        return cls(**settings)


class Rules:
    """The rules of a plan by what they are for, each in its highest version."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: dict[tuple[str, str], Rule] = {}
        for rule in rules:
            known = self.rules.get((rule.type, rule.name))
            if known is None or rule.version >= known.version:
                self.rules[rule.type, rule.name] = rule


def rules_of(plan: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of a plan in one of the formats in use.

    They are: Segment's Public API (`rules` is a list of `{type, key, version, jsonSchema}`, as it comes or within
    `data`), its older Config API and Typewriter's `plan.json` (`rules` has `events`, `global`, `identify` and `group`),
    and RudderStack's (`events` have an `eventType`).

    Raises:
        SettingsError: it is none of these, or a rule in it cannot be used; the message names the rule.
    """
    data = plan.get("data", plan)
    content = data.get("trackingPlan", data) if is_mapping(data) else data
    rules: Any = content.get("rules", content) if is_mapping(content) else None
    if is_list(rules):
        found = [*_public_api(rules)]
    elif is_mapping(rules) and is_list(rules.get("events", [])):
        found = [*_config_api(rules)]
    else:
        found = []
    if not found:
        raise SettingsError(
            "the tracking plan has no rules: it needs `rules`, a list of {type, key, version, jsonSchema},"
            " or `rules.events`, a list of {name, version, rules}"
        )
    return found


def _public_api(rules: list[Any]) -> Iterator[Rule]:
    for number, rule in enumerate(rules):
        if not is_mapping(rule):
            raise SettingsError(f"rule {number} of the tracking plan must be an object, got {type(rule).__name__}")
        schema = rule.get("jsonSchema", rule.get("json_schema"))
        yield _rule(rule.get("type"), rule.get("key"), rule.get("version"), schema, f"rule {number}")


def _config_api(rules: Mapping[str, Any]) -> Iterator[Rule]:
    for number, rule in enumerate(rules.get("events", [])):
        where = f"event {number}"
        if not is_mapping(rule):
            raise SettingsError(f"{where} of the tracking plan must be an object, got {type(rule).__name__}")
        yield _rule(rule.get("eventType", "track"), rule.get("name"), rule.get("version"), rule.get("rules"), where)
    for name in ("global", *TYPES):
        if rules.get(name):
            yield _rule(COMMON if name == "global" else name, None, None, rules[name], name)


def _rule(kind: Any, name: Any, version: Any, schema: Any, where: str) -> Rule:
    kind = kind.lower() if isinstance(kind, str) else kind
    if kind == "global":
        kind = COMMON
    if kind not in (*TYPES, COMMON):
        allowed = ", ".join((*TYPES, COMMON)).upper()
        raise SettingsError(f"{where} of the tracking plan has type {kind!r}: it must be one of {allowed}")
    if name is not None and not isinstance(name, str):
        raise SettingsError(f"{where} of the tracking plan: its name must be a string, got {type(name).__name__}")
    if kind == "track" and not name:
        raise SettingsError(f"{where} of the tracking plan is for track events, and needs the name of one")
    if isinstance(schema, str):  # as Terraform has it
        try:
            schema = msgspec.json.decode(schema)
        except msgspec.DecodeError as exc:
            raise SettingsError(
                f"{where} of the tracking plan ({name or kind}): its schema is no JSON: {exc}"
            ) from None
    if not is_object(schema):
        raise SettingsError(
            f"{where} of the tracking plan ({name or kind}) needs a JSON schema, an object, got {type(schema).__name__}"
        )
    return Rule(kind, name or "", _version(version), schema)


def _version(version: Any) -> tuple[int, ...]:
    """Return a version as numbers: 2, "2" and "1-0-3" are versions."""
    parts = str(version).replace(".", "-").split("-") if version is not None else []
    return tuple(int(part) for part in parts if part.isdecimal())
