"""The standard classes of dates and times, found behind what a test tool has put in their place."""

from __future__ import annotations

import datetime as dt

import pytest

from millstream._core.events.standard import Standard, _standard


@pytest.mark.parametrize("kind", [dt.date, dt.datetime])
def test_the_standard_class_is_found_behind_a_frozen_one(kind: type) -> None:
    """However often a tool has derived from it, the class of the standard library is what is used."""
    frozen = type("Frozen", (kind,), {"__module__": "a_tool"})
    assert _standard(frozen) is kind
    assert _standard(type("Again", (frozen,), {"__module__": "another"})) is kind


def test_a_datetime_is_not_taken_for_a_date() -> None:
    """Both are standard classes, and one derives from the other: each is itself."""
    assert (Standard.date, Standard.datetime) == (dt.date, dt.datetime)
