"""A caller's values become bytes here, once: the snapshot, the exact size, and the proof that they can be sent.

The fast path is one call into msgspec. The repair that follows when it fails is slow and thorough: it mends what has
one right answer, and names the path of what has none. docs/reference/values.md says how each type is sent.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from ..errors import InvalidEvent
from ..types import Event

__all__ = ["decode", "encode", "largest_field", "text"]

MAX_DEPTH = 200
"""Levels of nesting that the repair follows; the API allows far fewer bytes than that would need in earnest."""


def encode(event: Event) -> bytes:
    """One event as JSON bytes, without a raw newline.

    Raises:
        InvalidEvent: something in it cannot be sent; the message has its path and type.
    """
    try:
        if _is_plain(event):
            return _encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass  # the repair finds out what it was, and where
    return _encode(_Repair().value(event, "", 0))


def decode(data: bytes) -> Event:
    """An encoded event as a dict."""
    event: Event = msgspec.json.decode(data)
    return event


def text(value: str) -> str:
    """A str that can be encoded: surrogate pairs become the character they stand for, lone halves U+FFFD."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def largest_field(data: bytes) -> str:
    """The top-level field that takes the most bytes, or the largest part of it: `properties.html`."""
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    name = max(fields, key=lambda key: len(bytes(fields[key])))
    inner = bytes(fields[name])
    if inner.startswith(b"{") and len(inner) > 2:
        parts = msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
        name = f"{name}.{max(parts, key=lambda key: len(bytes(parts[key])))}"
    return name


def _is_plain(container: Any) -> bool:
    """Whether msgspec alone encodes this as documented.

    Two things it does gladly that must not happen: it writes NaN for a Decimal that is none, and the same key twice
    when two keys become the same text. So a Decimal, and a key that is no str, go the long way.
    """
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return False
        container = container.values()
    for value in container:
        kind = type(value)
        if (kind is dict or kind is list) and not _is_plain(value):
            return False
        if kind is Decimal:
            return False
    return True


def _hook(value: Any) -> Any:
    """What msgspec asks for a type it does not know."""
    plain = _simplify(value)
    if plain is value:
        raise TypeError
    # What msgspec encodes natively it would not show us again: check here what the fast path could not see.
    if type(plain) is not str and not _is_plain([plain]):
        raise TypeError
    return plain


_encode = msgspec.json.Encoder(enc_hook=_hook, decimal_format="number").encode

_SCALARS: dict[type, Any] = {str: str.__str__, int: int.__int__, float: float.__float__}


def _simplify(value: Any) -> Any:
    """A value that msgspec knows, for one that it does not; the value itself where there is none."""
    for base, plain in _SCALARS.items():  # subclasses of them
        if isinstance(value, base):
            return plain(value)
    if isinstance(value, datetime | date | time | timedelta | Decimal):
        return _rebuilt(value)
    for method in ("model_dump", "tolist", "__fspath__"):  # pydantic; numpy scalars and arrays; paths
        convert = getattr(type(value), method, None)
        if callable(convert):
            return convert(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet | Sequence | deque):
        return list(value)
    return value


def _rebuilt(value: datetime | date | time | timedelta | Decimal) -> Any:
    """The value as its standard class, which a subclass (a data frame's timestamp, say) stands for."""
    match value:
        case datetime():
            d, t = value.date(), value.timetz()
            return datetime(d.year, d.month, d.day, t.hour, t.minute, t.second, t.microsecond, t.tzinfo)
        case date():
            return date(value.year, value.month, value.day)
        case time():
            return time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo)
        case timedelta():
            return timedelta(value.days, value.seconds, value.microseconds)
        case _:
            return Decimal(value)


class _Repair:
    """Rebuilds a value from what JSON knows, or says where it cannot."""

    def __init__(self) -> None:
        self._above: set[int] = set()  # the containers that the current value is in

    def value(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return text(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is Decimal:
            return value if value.is_finite() else None
        if kind is dict:
            return self._inside(value, path, depth, self._mapping)
        if kind in {list, tuple, set, frozenset}:
            return self._inside(value, path, depth, self._items)
        return self._other(value, path, depth)

    def _inside(self, value: Any, path: str, depth: int, walk: Any) -> Any:
        if id(value) in self._above:
            raise InvalidEvent(f"{path} contains itself: send a part of it, or its id")
        if depth > MAX_DEPTH:
            raise InvalidEvent(f"{path[:100]}… is nested deeper than {MAX_DEPTH} levels")
        self._above.add(id(value))
        try:
            return walk(value, path, depth + 1)
        finally:
            self._above.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, inner in value.items():
            name = _key(key, path)
            if name in out:
                raise InvalidEvent(f"{path or 'the event'} has two keys that become {name!r}: rename one of them")
            out[name] = self.value(inner, f"{path}.{name}" if path else name, depth)
        return out

    def _items(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        return [self.value(inner, f"{path}[{i}]", depth) for i, inner in enumerate(value)]

    def _other(self, value: Any, path: str, depth: int) -> Any:
        fields = _fields(value)
        if fields is not None:
            return self._inside(value, path, depth, lambda _, p, d: self._mapping(fields, p, d))
        try:
            plain = _simplify(value)
        except Exception as exc:
            raise InvalidEvent(f"{path}: {_describe(value)} cannot be converted: {exc}") from exc
        if plain is not value and type(plain) is not type(value):
            return self._inside(value, path, depth, lambda _, p, d: self.value(plain, p, d))
        try:
            return msgspec.Raw(_encode(value))
        except Exception as exc:
            raise InvalidEvent(
                f"{path}: {_describe(value)} cannot be sent; send a str, number, bool, None, datetime, dict or list"
            ) from exc


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass, an attrs class or a msgspec struct, by the names that they are sent under."""
    if isinstance(value, type):
        return None
    if isinstance(value, msgspec.Struct):
        return {f.encode_name: getattr(value, f.name) for f in msgspec.structs.fields(value)}
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else {a.name: getattr(value, a.name) for a in attributes}


def _key(key: Any, path: str) -> str:
    """A mapping's key as JSON wants it."""
    if type(key) is str:
        return text(key)
    if isinstance(key, str):
        return text(str.__str__(key))
    try:
        # None, booleans and numbers as JSON writes them; ids, dates and enumerations as they are sent as values.
        written = _encode(_simplify(key)).decode()
    except Exception:
        written = "["
    if written.startswith(("[", "{")):
        raise InvalidEvent(f"{path}: a key is {_describe(key)}, which has no one text: make it a str")
    return msgspec.json.decode(written, type=str) if written.startswith('"') else written


def _describe(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"object of type {name}"
