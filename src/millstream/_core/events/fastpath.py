"""Which values msgspec alone writes as documented: those of the fast path, and of the repair's result."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from ...spec import MAX_DEPTH, MAX_NUMBER
from .standard import Standard

try:
    from ._fastpath import all_usual
except ImportError:  # not compiled: docs/decisions/0023

    def all_usual(values: list[Any], /) -> bool:  # noqa: ARG001
        """Whether all values are known to be plain, without a look of Python's own. Here nothing is known."""
        return False


__all__ = ["KEPT", "MAX_DEPTH", "MAX_NUMBER", "MINUTE", "all_usual", "is_plain", "write"]

MINUTE = timedelta(minutes=1)

KEPT = frozenset({type(None), bool, float, bytes, Standard.date, timedelta, UUID})
"""Types that are written as documented whatever the value; a NaN and an infinity as null."""

_LEAVES = KEPT | {str}
_SEQUENCES = frozenset({list, tuple, set, frozenset})
_MIN_NUMBER = -MAX_NUMBER
_UTC = timezone.utc
_encode_into = msgspec.json.Encoder(decimal_format="number").encode_into


def write(value: Any) -> bytes:
    """A value as JSON bytes: the one writer.

    It has no hook for unknown types, so no code of the caller's runs while it reads his objects: another thread would
    get its turn in there, and could take away what msgspec is reading.
    """
    # Into a buffer and out of it again: what `Encoder.encode` returns keeps the room that it has grown by, 950 bytes
    # for 660, as long as it waits to be sent. With a buffer that is kept this takes no longer.
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = bytearray(1024)
    _encode_into(value, buffer)
    data = bytes(buffer)
    _buffers.append(buffer)
    return data


_buffers: list[bytearray] = []
"""Room to write in, which nobody uses now: as much as threads, or signal handlers, have been writing at once."""


def is_plain(values: Iterable[Any], depth: int) -> bool:  # noqa: C901 - a call per type would double its time
    """Whether msgspec alone writes these as documented: only types are here whose every value it does.

    Left to itself it writes NaN for a Decimal that is none, the same key twice when two keys become the same text, a
    Decimal key without quotes, and an offset of 53 minutes and 28 seconds without the seconds. So a type is known to be
    harmless, or is looked into, or goes the long way.

    This loop is the largest part of a call: 1.7 of 5.2 µs for an event of 650 bytes (Python 3.11). A C function that
    tells one type from another without a Python object for each was not found; slower were `set(map(type, values))`
    against a set of types, the same as a tuple against known ones, and a list of work in place of recursion.
    `msgspec.convert` to a nested union of plain types takes 0.9 µs, but no union may hold both str and datetime.

    Another thread that changes a container between this look and the writing can get past it, with no worse effect
    than the above: only standard types are written, and no code of the caller's runs meanwhile.
    """
    for value in values:
        if type(value) in _LEAVES:
            continue
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] - a cast would cost time
        if kind is int:
            if not _MIN_NUMBER <= value <= MAX_NUMBER:
                return False
        elif kind is dict:
            for key in value:
                if type(key) is not str:
                    return False
            if not is_plain(value.values(), depth + 1):
                return False
        elif kind is datetime and value.tzinfo is _UTC:
            continue
        elif kind in _SEQUENCES:
            if not is_plain(value, depth + 1):
                return False
        elif not _is_usual(value, kind):  # pyright: ignore[reportUnknownArgumentType]
            return False
    return depth <= MAX_DEPTH


def _is_usual(value: Any, kind: type) -> bool:
    """Whether a value is one of those that msgspec writes as documented, of a type where that depends on the value."""
    if kind is datetime or kind is time:
        zone = value.tzinfo
        # Other zones are asked for their offset by the repair: many are written in Python (see `write`).
        return zone is None or zone is _UTC or (type(zone) is timezone and not zone.utcoffset(None) % MINUTE)
    if kind is Decimal:
        return bool(value.is_finite() and value.adjusted() < 308)
    # Of a member msgspec writes the str or int that it is, or else its value; MAX_DEPTH: which is no container.
    return issubclass(kind, Enum) and not issubclass(kind, float) and is_plain((value._value_,), MAX_DEPTH)
