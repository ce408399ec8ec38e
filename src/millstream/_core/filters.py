"""Filters: which events a destination gets, and which of their members. Segment's actions, in Segment's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

import msgspec

from ..errors import SettingsError
from .events.encode import decode, encode
from .fql import Conditions
from .properties import Fields, allow_properties, drop_properties
from .sampling import names_of, sampled

__all__ = ["Filter", "Filters", "Sample"]


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the events that is kept: the same events every time."""

    percent: float
    """The share, from 0 to 1, as in Segment's API: 0.1 keeps one in ten."""
    path: str = ""
    """The value by which events are kept or not, such as `userId`. Empty: the `messageId`."""


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"condition": "if"}):
    """An action on events for which a condition is true. In a configuration the condition is called `if`."""

    condition: str = "all"
    """An FQL expression, or `all`."""
    drop: bool = False
    sample: Sample | None = None
    drop_properties: dict[str, list[str]] = {}
    """Members to remove, by the path of the object that has them."""
    allow_properties: dict[str, list[str]] = {}
    """The only members to keep, by the path of the object that has them."""

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Filter:
        """Make a filter of a configuration's table.

        Raises:
            SettingsError: naming the key, and the remedy.
        """
        for key in settings:
            if key not in _KEYS:
                near = get_close_matches(key, _KEYS, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"
                raise SettingsError(f"a filter has no key {key!r}: {remedy}")
        try:
            return msgspec.convert(dict(settings), cls)
        except msgspec.ValidationError as exc:
            raise SettingsError(f"filter {settings.get('if', 'all')!r}: {exc}") from None


_KEYS = ("if", "drop", "sample", "drop_properties", "allow_properties")


class Filters:
    """The filters of one destination. Conditions are about the event as it came; a filter never sees another's work.

    Args:
        filters: each a Filter, a configuration's table, or an expression: then only events for which it is true are
            sent.

    Raises:
        SettingsError: one of them cannot be used; the message says why.
    """

    def __init__(self, filters: Sequence[Filter | Mapping[str, Any] | str]) -> None:
        self.filters = [_filter(each) for each in filters]
        for each in self.filters:
            _check(each)
        self._conditions = Conditions(*("true" if each.condition == "all" else each.condition for each in self.filters))

    def dropped(self, event: bytes) -> str:
        """Return why an event is not sent; an empty text if it is sent."""
        return self._dropped(event, self._matching(event))

    def trimmed(self, event: bytes) -> bytes:
        """Return the event with the members that it may have."""
        return _trimmed(event, self._matching(event))

    def apply(self, event: bytes) -> bytes | str:
        """Return the event with the members that it may have, or why it is not sent."""
        matching = self._matching(event)
        return self._dropped(event, matching) or _trimmed(event, matching)

    def _matching(self, event: bytes) -> list[Filter]:
        return [each for each, matches in zip(self.filters, self._conditions(event), strict=True) if matches]

    def _dropped(self, event: bytes, matching: Sequence[Filter]) -> str:
        samples = [each.sample for each in matching if each.sample is not None]
        if samples:
            decoded = decode(event)
            if not all(sampled(decoded, sample.percent, names_of(sample.path)) for sample in samples):
                return "a filter keeps a sample, and this event is not in it"
        for each in matching:
            if each.drop:
                return f"a filter drops it: {each.condition}"
        return ""


def _filter(given: Filter | Mapping[str, Any] | str) -> Filter:
    if isinstance(given, str):
        Conditions(given)  # what is wrong with it has its column in the text as it was given
        return Filter(condition=f"!( {given} )", drop=True)
    return given if isinstance(given, Filter) else Filter.parse(given)


def _check(given: Filter) -> None:
    where = f"filter {given.condition!r}"
    if not (given.drop or given.sample or given.drop_properties or given.allow_properties):
        raise SettingsError(f"{where} does nothing: add drop, sample, drop_properties or allow_properties")
    if given.sample is not None and not 0 <= given.sample.percent <= 1:
        raise SettingsError(f"{where}: percent must be from 0 to 1 (0.1 keeps one in ten), got {given.sample.percent}")


def _trimmed(event: bytes, matching: Sequence[Filter]) -> bytes:
    drops = [each.drop_properties for each in matching if each.drop_properties]
    allows = [each.allow_properties for each in matching if each.allow_properties]
    if not (drops or allows):
        return event
    decoded = decode(event)
    for fields in drops:
        drop_properties(decoded, cast("Fields", fields))
    for fields in allows:
        allow_properties(decoded, cast("Fields", fields))
    return encode(decoded)
