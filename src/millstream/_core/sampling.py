"""Sampling: which share of events is kept, by a value in them, so that the same ones are kept every time."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5
from typing import Any

import msgspec

from .fql.paths import value_at

__all__ = ["is_kept", "names_of", "sampled"]

_SPACE = 2.0**64


def names_of(path: str) -> tuple[str, ...]:
    """Return the names of a path that is written with dots; of the empty path none."""
    return tuple(path.split(".")) if path else ()


def is_kept(value: Any, share: float) -> bool:
    """Return whether a value belongs to the share that is kept: the same values as Segment keeps.

    The first 64 bits of the MD5 of its JSON are taken as a fraction, which must be below `share`.
    """
    if share <= 0 or share >= 1:
        return share >= 1
    if isinstance(value, float) and value.is_integer() and abs(value) < _SPACE:
        value = int(value)  # as JavaScript writes it
    digest = md5(msgspec.json.encode(value), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") / _SPACE < share


def sampled(event: Mapping[str, Any], share: float, path: tuple[str, ...]) -> bool:
    """Return whether an event is kept, by the value at a path; by its `messageId` where there is none."""
    value = value_at(event, path) if path else None
    return is_kept(event.get("messageId") if value is None else value, share)
