"""Tracking plans: which events there are, and what they hold. Needs jsonschema-rs: `pip install 'millstream[plan]'`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import msgspec

from ._core.guards import is_mapping
from ._core.plan import COMMON, Kind, Mode, Policy, Rule, Rules, Violation, rules_of
from ._public import publish
from .destinations import Event
from .errors import MissingExtra, SettingsError
from .spec import STORED_TIME

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

    from ._core.fql.paths import Names

__all__ = ["Kind", "Mode", "Plan", "Policy", "Violation"]

Validator = Any
"""One of jsonschema-rs: which class it has depends on the draft that the schema names."""
_NAMES = {"track": "event", "page": "name", "screen": "name"}
"""Where events of a type have the name that a rule may be for."""
_PLAIN = {"$schema", "$id", "type", "title", "description", "properties", "required", "labels", "definitions", "$defs"}
"""Keys of a schema that say nothing of members that they do not name."""
_TIME = re.compile(STORED_TIME, re.ASCII)
_DATE = len("2026-11-30")
_WITH_VALUES = ("value", "context", "error")
"""Attributes of an error of jsonschema-rs that may quote the event."""
_TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "list": "array", "NoneType": "null"}
_SHOWN = 100
"""Characters of a schema's value in a message."""


class Plan:
    """A tracking plan, whose rules are compiled. `parse` makes one; it can be shared by threads."""

    def __init__(self, rules: Rules, name: str = "") -> None:
        compiled = _compiler()
        self.name = name
        common = [compiled(rule) for key, rule in rules.rules.items() if key[0] == COMMON]
        own = {key: compiled(rule) for key, rule in rules.rules.items() if key[0] != COMMON}
        self._validators = {key: (*common, validator) for key, validator in own.items()}
        self._common = tuple(common)
        self._decode = msgspec.json.Decoder(_members([rule.schema for rule in rules.rules.values()])).decode

    @classmethod
    def parse(cls, plan: Mapping[str, Any]) -> Plan:
        """Make a plan of its JSON, decoded: in Segment's Public API format, Typewriter's, or RudderStack's.

        Raises:
            SettingsError: it is none of these, or a rule's schema cannot be used; the message names the rule.
            MissingExtra: jsonschema-rs is not installed.
        """
        if not is_mapping(plan):
            raise SettingsError(f"a tracking plan must be an object, got {type(plan).__name__}")
        name = plan.get("name", plan.get("display_name", ""))
        return cls(Rules(rules_of(plan)), name if isinstance(name, str) else "")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Make a plan of a file.

        Raises:
            SettingsError: it cannot be read, is no JSON, or is no plan; the message names the file.
            MissingExtra: jsonschema-rs is not installed.
        """
        try:
            return cls.parse(msgspec.json.decode(Path(path).read_bytes()))
        except OSError as exc:
            raise SettingsError(f"the tracking plan {path} cannot be read: {exc.strerror}") from exc
        except (msgspec.DecodeError, RecursionError) as exc:
            raise SettingsError(f"the tracking plan {path} is no JSON: {exc}") from exc
        except SettingsError as exc:
            raise SettingsError(f"{path}: {exc}") from None

    def check(self, event: Event | Mapping[str, Any] | bytes) -> list[Violation]:
        """Return what an event breaks: the rule for all events, and the one for its name, or else for its type.

        Args:
            event: as a dict, as its JSON, or as destinations get it.
        """
        if isinstance(event, Event):
            event = event.data
        content: Mapping[str, Any] = self._decode(event) if isinstance(event, bytes) else event
        kind, name = str(content.get("type")), ""
        if kind in _NAMES:
            name = str(content.get(_NAMES[kind]))
        validators = self._validators.get((kind, name)) or self._validators.get((kind, ""))
        found: list[Violation] = []
        if validators is None:
            validators = self._common
            if kind == "track":
                found.append(Violation("unplanned_event", name, "event", f"the plan has no event {name!r}"))
        for validator in validators:
            if not validator.is_valid(content):
                found += _violations(validator.iter_errors(content), name if kind == "track" else kind)
        return found


def _members(schemas: Sequence[Mapping[str, Any]]) -> Any:
    """Return the type that an event is decoded to: of its members those that rules are about, or all."""
    names = {"type", *_NAMES.values()}
    for schema in schemas:
        if schema.keys() - _PLAIN:
            return dict[str, Any]
        names.update(schema.get("properties", ()), schema.get("required", ()))
    return TypedDict("Members", dict.fromkeys(names, Any), total=False)  # type: ignore[operator]


def _compiler() -> Callable[[Rule], Validator]:
    try:
        import jsonschema_rs  # noqa: PLC0415 - 15 MB, for those alone who have a plan
    except ModuleNotFoundError as exc:
        raise MissingExtra("a tracking plan", "plan") from exc

    def retrieve(uri: str) -> Any:
        raise ValueError(f"{uri} is not loaded: put what it refers to into the schema's `definitions`")

    def compiled(rule: Rule) -> Validator:
        make = jsonschema_rs.validator_for if "$schema" in rule.schema else jsonschema_rs.Draft7Validator
        try:
            return make(
                _of_one_draft(rule.schema), validate_formats=True, formats={"date-time": _is_time}, retriever=retrieve
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
            problem = getattr(exc, "message", "") or str(exc)
            raise SettingsError(f"the tracking plan's rule for {rule} is no JSON schema: {problem}") from None

    return compiled


def _of_one_draft(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without the drafts that plans name once more inside, some of which do not exist."""
    members = schema.get("properties")
    if not is_mapping(members):
        return {**schema}
    inner = {
        name: {key: value for key, value in each.items() if key != "$schema"} if is_mapping(each) else each
        for name, each in members.items()
    }
    return {**schema, "properties": inner}


def _is_time(text: str) -> bool:
    """Return whether a text is a date and a time. Without an offset it is in UTC, as everywhere in an event."""
    return len(text) > _DATE and _TIME.fullmatch(text) is not None


def _violations(errors: Iterator[ValidationError], event: str) -> Iterator[Violation]:
    for error in errors:
        kind = error.kind.name
        where: Names = tuple(str(step) for step in error.instance_path)
        if kind in ("additionalProperties", "unevaluatedProperties"):
            for name in cast("Sequence[str]", error.kind.unexpected):  # type: ignore[attr-defined]
                path = ".".join((*where, name))
                yield Violation("unplanned_property", event, path, f"{path} is not in the plan")
        elif kind == "required":
            path = ".".join((*where, error.kind.property))  # type: ignore[attr-defined]
            yield Violation("missing_property", event, path, f"{path} is missing")
        else:
            path = ".".join(where) or "the event"
            yield _of_value(error, kind, event, path)


def _of_value(error: ValidationError, kind: str, event: str, path: str) -> Violation:
    if kind == "type":
        wanted = " or ".join(error.kind.types)  # type: ignore[attr-defined]
        return Violation("wrong_type", event, path, f"{path} must be {wanted}, and is {_type_of(error.instance)}")
    details = {name: value for name, value in error.kind.as_dict().items() if name not in _WITH_VALUES}
    shown = ", ".join(f"{msgspec.json.encode(value, enc_hook=str).decode()}" for value in details.values())[:_SHOWN]
    return Violation("other", event, path, f"{path} breaks the plan's {kind}" + (shown and f" {shown}"))


def _type_of(value: Any) -> str:
    return _TYPES.get(value.__class__.__name__, "object")


publish("millstream.plan", Plan, Policy, Violation)
