"""Consent: which destinations an event may go to, by what its user has agreed to (`context.consent`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fql.paths import value_at
from .guards import is_mapping

__all__ = ["PREFERENCES", "refused"]

PREFERENCES = ("context", "consent", "categoryPreferences")
"""Where an event has them, in Segment's layout: each category, and whether the user agrees."""


def refused(event: Mapping[str, Any], categories: Mapping[str, Sequence[str]], *, without: bool) -> Iterator[str]:
    """Yield the destinations that the event may not go to: those with a category that the user has not agreed to.

    Args:
        event: the event, decoded.
        categories: the categories of each destination; one without any gets every event.
        without: whether an event that says nothing of consent may go everywhere.
    """
    preferences = value_at(event, PREFERENCES)
    if not is_mapping(preferences):
        if not without:
            yield from (name for name, needed in categories.items() if needed)
        return
    for name, needed in categories.items():
        if any(value_at(preferences, (category,)) is not True for category in needed):
            yield name
