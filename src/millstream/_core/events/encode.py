"""Encodes a caller's values once: takes the snapshot, measures the size, and checks that they can be sent.

The fast path is one check of the values and one call into msgspec. Other values are normalized (normalize.py), which is
slower. Both encode a value to the same bytes. docs/reference/values.md says how each type is sent.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

from ...errors import InvalidEvent
from ...types import Event
from .coerce import type_name
from .fastpath import all_usual, is_plain, write
from .normalize import normalized

__all__ = ["decode", "encode", "head", "largest_field"]

UNWRITABLE = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, AttributeError, msgspec.MsgspecError)
"""Exceptions of the writer and of the check before it."""


def encode(event: Event | Struct, given: list[object] | None = None) -> bytes:
    """Encode an event as JSON, without a raw newline.

    Args:
        event: the event: a dict, or a struct that is written as it is.
        given: its values from outside, if not all of it.

    Raises:
        InvalidEvent: a value cannot be sent; the message has its path and type.
    """
    other: Exception | None = None  # a signal handler's, such as a time limit, if the event is valid
    try:
        if is_plain([event], 0) if given is None else all_usual(given) or is_plain(given, 1):
            return write(event)
    except UNWRITABLE:  # normalizing finds the value and its path
        pass
    except Exception as exc:  # noqa: BLE001 - perhaps a value's own
        other = exc
    try:
        data = write(normalized(event))
    except InvalidEvent:
        raise
    except Exception as exc:  # the caller's own stack was nearly used up
        raise InvalidEvent(f"the event cannot be encoded: {type_name(exc)}") from exc
    if other is not None:
        raise other
    return data


def decode(data: bytes) -> Event:
    """Decode an event to a dict. A number that a float cannot hold exactly (money, say) becomes a Decimal.

    Raises:
        msgspec.DecodeError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        event: Event = _decode(data)
    except UnicodeDecodeError as exc:  # of msgspec 0.18
        raise msgspec.DecodeError(str(exc)) from None
    return event


def _number(written: str) -> float | Decimal:
    number = float(written)
    shown = repr(number)
    if shown == written:
        return number
    try:
        exact = Decimal(written)
    except InvalidOperation:  # an exponent that no Decimal has: practically zero, or out of every reader's range
        if number:
            raise ValueError(f"a number is out of range: {written[:40]}") from None
        return number
    return number if Decimal(shown) == exact else exact


_decode = msgspec.json.Decoder(float_hook=_number).decode


class Head(msgspec.Struct):
    """The members of an unchanged event that the pipeline reads."""

    timestamp: str = ""
    integrations: dict[str, Any] = {}


def head(data: bytes) -> Head:
    """Decode an event's time and integrations; the rest is skipped."""
    return _HEADS.decode(data)


_HEADS = msgspec.json.Decoder(Head)


def largest_field(data: bytes) -> str:
    """Return the top-level field with the most bytes, or the part that makes up most of it: `properties.html`."""
    name, inner = _largest(data)
    if inner.startswith(b"{") and len(inner) > 2:
        part, size = _largest(inner)
        if 2 * len(size) > len(inner):
            return f"{name}.{part}"
    return name


def _largest(data: bytes) -> tuple[str, bytes]:
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return max(((name, bytes(raw)) for name, raw in fields.items()), key=lambda field: len(field[1]))
