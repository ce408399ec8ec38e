"""Normalization: rebuilds values that the fast path cannot encode, into values that it can.

A value with one right interpretation is converted; for others, the error names the path. The fast path is in encode.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import time
from decimal import Decimal
from math import isfinite
from typing import Any, TypeAlias

import msgspec

from ...errors import InvalidEvent
from . import coerce
from .fastpath import KEPT, MAX_DEPTH, MAX_NUMBER, write
from .standard import Standard

__all__ = ["normalized"]

Name: TypeAlias = "str | int | None"


def normalized(event: object) -> Any:
    """Rebuild a value from types that the writer encodes as documented.

    Raises:
        InvalidEvent: a value cannot be sent; the message has its path and type, never its content.
    """
    try:
        return _Normalizer().value(event, 0)
    except Exception as exc:  # noqa: BLE001 - a user's object may raise anything
        refusal = _located(exc, event, None)
        raise InvalidEvent(f"{refusal.where()}: {refusal}") from refusal.__cause__


class _Refusal(Exception):
    """The reason why a value cannot be sent. Its path is built on the way up, at no cost for valid values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str | int] = []  # the innermost part first

    def where(self) -> str:
        """The path, much as Python writes it: `properties.cart[3].price`."""
        parts = [f"[{part}]" if isinstance(part, int) else f".{part[:40]}" for part in reversed(self.path)]
        out = "".join(parts).lstrip(".") or "the event"
        return out if len(out) <= 200 else f"{out[:100]}…{out[-80:]}"


def _located(exc: Exception, value: object, name: Name) -> _Refusal:
    """Convert an exception raised while a value was rebuilt, and add the value's name to its path."""
    if isinstance(exc, _Refusal):
        refusal = exc
    elif isinstance(exc, RecursionError):
        refusal = _Refusal("nested too deeply")
    else:
        # Without the exception's own text, which may hold the value.
        refusal = _Refusal(f"object of type {coerce.type_name(value)} cannot be read: {coerce.type_name(exc)}")
        refusal.__cause__ = exc
    if name is not None:
        refusal.path.append(name)
    return refusal


class _Normalizer:
    """A pass over one event. It uses few frames per level, so that MAX_DEPTH fits Python's stack."""

    def __init__(self) -> None:
        self._above: set[int] = set()  # ids of the containers around the current value

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] - a cast would cost time
        if kind in KEPT or (kind is str and value.isascii()):
            return value
        mend = _SCALARS.get(kind)  # pyright: ignore[reportUnknownArgumentType]
        if mend is not None:
            return mend(value)
        if id(value) in self._above:
            raise _Refusal("contains itself: send a part of it, or its id")
        self._above.add(id(value))
        try:
            if kind is dict:
                return self._mapping(coerce.pairs(value), depth + 1)
            if kind in _ITERABLES:
                return self._items(tuple(value), depth + 1)
            simpler = _simpler(value)
            if type(simpler) is coerce.Pairs:
                return self._mapping(simpler, depth + 1)
            return self.value(simpler, depth)
        finally:
            self._above.discard(id(value))

    def _mapping(self, pairs: list[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        _check(depth)
        out: dict[str, Any] = {}
        name, inner = None, None  # of the current pair, for the handler
        try:
            for key, inner in pairs:
                name = None  # faults of a key are the mapping's
                name = key if type(key) is str and key.isascii() else self._key(key)
                if name in out:
                    raise _Refusal("two keys of the mapping become this one: rename one of them")  # noqa: TRY301
                # Checked inline: a call would be slower.
                out[name] = inner if type(inner) in KEPT else self.value(inner, depth)
        except Exception as exc:  # noqa: BLE001
            refusal = _located(exc, inner, name)
            raise refusal from refusal.__cause__
        return out

    def _items(self, items: tuple[Any, ...], depth: int) -> list[Any]:
        _check(depth)
        out: list[Any] = []
        try:
            for inner in items:
                out.append(self.value(inner, depth))  # noqa: PERF401 - its length says where a refusal came from
        except Exception as exc:  # noqa: BLE001
            refusal = _located(exc, items[len(out)], len(out))
            raise refusal from refusal.__cause__
        return out

    def _key(self, key: Any) -> str:
        """Convert a key that is not a str: to the text of its JSON value."""
        if type(key) is str:
            return coerce.text(key)
        try:
            simple = self.value(key, MAX_DEPTH)
        except Exception:  # noqa: BLE001
            simple = []
        if isinstance(simple, dict | list):
            raise _Refusal(f"a key of type {coerce.type_name(key)} has no single text: make it a str")
        written = write(simple)
        return msgspec.json.decode(written, type=str) if written.startswith(b'"') else written.decode()


def _check(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refusal(f"nested deeper than {MAX_DEPTH} levels")


def _simpler(value: object) -> Any:
    simpler = coerce.simpler(value)
    if simpler is coerce.NOTHING:
        remedy = (
            "make a list of it, since it can be read only once"
            if issubclass(type(value), Iterator)
            else "send a str, number, bool, None, datetime, dict or list"
        )
        raise _Refusal(f"object of type {coerce.type_name(value)} cannot be sent: {remedy}")
    return simpler


def _int(value: int) -> int:
    if -MAX_NUMBER <= value <= MAX_NUMBER:
        return value
    raise _Refusal("an int of more than 308 digits is more than readers of JSON can hold: send it as a str")


def _decimal(value: Decimal) -> Decimal | None:
    if not value.is_finite():
        return None
    if isfinite(float(value)):
        return value
    raise _Refusal("a Decimal of 1.8E+308 or more is more than readers of JSON can hold: send it as a str")


_SCALARS: dict[type, Callable[[Any], Any]] = {
    str: coerce.text,
    int: _int,
    Decimal: _decimal,
    Standard.datetime: coerce.moment,
    time: coerce.clock,
}

_ITERABLES = frozenset({list, tuple, set, frozenset})
