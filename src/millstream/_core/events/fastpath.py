"""The fast path: recognises values that msgspec alone encodes as documented."""

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
        """Whether all values are known to be plain; here none are, and Python checks them."""
        return False


__all__ = ["KEPT", "MAX_DEPTH", "MAX_NUMBER", "MINUTE", "all_usual", "is_plain", "write"]

MINUTE = timedelta(minutes=1)

KEPT = frozenset({type(None), bool, float, bytes, Standard.date, timedelta, UUID})
"""Types encoded as documented whatever the value; NaN and infinity as null."""

_LEAVES = KEPT | {str}
_SEQUENCES = frozenset({list, tuple, set, frozenset})
_MIN_NUMBER = -MAX_NUMBER
_UTC = timezone.utc
_encode_into = msgspec.json.Encoder(decimal_format="number").encode_into


def write(value: Any) -> bytes:
    """Encode a value as JSON: the only writer.

    It has no hook for unknown types, so that no code of the caller's runs while it reads his objects: another thread
    could run in there, and change what msgspec is reading.
    """
    # Into a buffer that is kept, then copied: what `Encoder.encode` returns is overallocated by almost a half for as
    # long as it waits to be sent. This is as fast.
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = bytearray(1024)
    _encode_into(value, buffer)
    data = bytes(buffer)
    _buffers.append(buffer)
    return data


_buffers: list[bytearray] = []
"""Free buffers: as many as threads, or signal handlers, have written at once."""


def is_plain(values: Iterable[Any], depth: int) -> bool:  # noqa: C901 - a call per type would double its time
    """Whether msgspec alone encodes these as documented, which holds for every value of the types here.

    Left to itself it writes NaN for a Decimal that is none, the same key twice when two keys become the same text, a
    Decimal key without quotes, and an offset of 53 minutes and 28 seconds without the seconds. So a type is either
    known to be safe, or inspected, or normalized.

    This loop is the largest part of a call. docs/decisions/0022 and 0023 have the alternatives that were measured.

    Another thread that changes a container between this check and the encoding can evade it, with no worse effect than
    the above: only standard types are encoded, and no code of the caller's runs at the same time.
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
    """Whether msgspec encodes a value as documented, for types where that depends on the value."""
    if kind is datetime or kind is time:
        zone = value.tzinfo
        # Offsets of other zones are read when normalizing: many zones are written in Python (see `write`).
        return zone is None or zone is _UTC or (type(zone) is timezone and not zone.utcoffset(None) % MINUTE)
    if kind is Decimal:
        return bool(value.is_finite() and value.adjusted() < 308)
    # msgspec writes a member's str or int, or else its value; MAX_DEPTH: which is not a container.
    return issubclass(kind, Enum) and not issubclass(kind, float) and is_plain((value._value_,), MAX_DEPTH)
