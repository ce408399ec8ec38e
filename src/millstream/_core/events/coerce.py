"""Coercion: converts a value of a type that JSON does not have one step towards JSON.

Foreign types are recognised by their methods (`tolist`, `model_dump`, `__fspath__`), so that numpy, pydantic and others
need not be installed. docs/reference/values.md lists the types, in the order tried here.
"""

from __future__ import annotations

import dataclasses
from collections import UserString
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any, TypeGuard, cast
from uuid import UUID

import msgspec

from .fastpath import MINUTE
from .standard import Standard

__all__ = [
    "MAX_ITEMS",
    "NOTHING",
    "Pairs",
    "clock",
    "is_mapping",
    "moment",
    "pairs",
    "scalar",
    "simpler",
    "text",
    "type_name",
]

MAX_ITEMS = 100_000
"""Items read from a non-standard container: no event has room for more, and some never end."""
MAX_STEPS = 8
"""Proxies and enumerations around an id, at most."""
NOTHING: Any = object()
"""The result for a value that cannot be sent."""


class Pairs(list[tuple[Any, Any]]):
    """The items of a mapping before keys become text: a dict would drop one of two equal keys."""


def simpler(value: Any) -> Any:
    """Convert a value to a standard type, or to a container of its parts; NOTHING if it cannot be sent.

    Raises:
        Exception: any that the value's own methods raise.
    """
    kind = cast("type[object]", type(value))
    for base, convert in _STANDARD:
        if issubclass(kind, base):  # not isinstance: a proxy may claim another class
            return convert(value)
    if value.__class__ is not kind and (behind := _behind(value, kind)) is not NOTHING:
        return behind
    for method in ("model_dump", "unicode_string"):  # pydantic: models, and its URLs
        if callable(getattr(kind, method, None)):
            return getattr(value, method)()
    if hasattr(kind, "__fields__") and callable(getattr(kind, "dict", None)):  # pydantic before version 2
        return value.dict()
    if is_mapping(value):
        return Pairs(pairs(value))
    fields = _fields(value, cast("type[Any]", kind))
    return _container(value, kind) if fields is None else fields


def scalar(value: Any) -> Any:
    """Convert a value to a str, int or UUID, if possible; else one step, or not at all.

    Raises:
        Exception: any that the value's own methods raise.
    """
    for _ in range(MAX_STEPS):
        if value is NOTHING or type(value) in _SIMPLE:
            break
        value = simpler(value)
    return value


def text(value: str) -> str:
    """Make a str encodable: surrogate pairs become their character, lone halves U+FFFD."""
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def moment(value: datetime) -> datetime | None:
    """Convert to a standard datetime: without a zone, or with an offset in whole minutes.

    None for a data frame's missing time (NaT), which is a datetime not equal to itself. An offset with seconds (local
    mean time, before about 1900) cannot be written in RFC 3339: such a time is converted to UTC.
    """
    if value != value:  # noqa: PLR0124
        return None
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    offset = value.utcoffset()
    if offset is None:
        return Standard.datetime(*parts)  # without a zone, sent without one
    out = Standard.datetime(*parts, tzinfo=timezone(offset))
    return out.astimezone(timezone.utc) if offset % MINUTE else out


def clock(value: time) -> time | str:
    """Convert to a standard time. An offset with seconds cannot be converted to UTC without a date: text instead."""
    out = time(value.hour, value.minute, value.second, value.microsecond)
    offset = value.utcoffset()
    if offset is None:
        return out
    out = out.replace(tzinfo=timezone(offset))
    return out.isoformat() if offset % MINUTE else out


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it is declared a mapping: a proxy that behaves like one counts."""
    return isinstance(value, Mapping)


def pairs(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A mapping's keys and values, read once."""
    if cast("type[object]", type(value)) is dict:
        # In one step: a concurrent change of the dict does no harm.
        return list(dict(value).items())
    return [(key, inner) for key, inner in _read(value.items())]


def type_name(value: object) -> str:
    """The name of a value's type, with its module unless that is builtins."""
    kind = type(value)
    try:
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return text(name[:100])
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return "unknown"


def _read(items: Iterable[Any]) -> list[Any]:
    out = list(islice(items, MAX_ITEMS + 1))
    if len(out) > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS:,} items")
    return out


_STANDARD: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (str, str.__str__),  # these three: the value itself, whatever a subclass overrides
    (int, int.__int__),
    (float, float.__float__),
    (Enum, lambda value: value._value_),  # `value` may be a property of the subclass
    ((bytes, bytearray, memoryview), bytes),
    (Standard.datetime, moment),
    (Standard.date, lambda value: Standard.date(value.year, value.month, value.day)),
    (time, clock),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (Decimal, Decimal),
    (UUID, lambda value: UUID(int=value.int)),
    (UserString, lambda value: value.data),
    (msgspec.Raw, msgspec.json.decode),  # decoded and encoded again: it may hold anything
)


_SIMPLE = frozenset({str, int, UUID, bool, float, type(None), dict, list, tuple, Pairs})
"""Types that need no step to become an id, or cannot become one."""


def _fields(value: Any, kind: type[Any]) -> dict[str, Any] | list[Any] | None:
    """The fields of a msgspec struct, a dataclass or an attrs class. Unset fields are omitted."""
    if issubclass(kind, msgspec.Struct):
        return _struct(value)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        attributes = getattr(kind, "__attrs_attrs__", None)
        if attributes is None:
            return None
        names = [attribute.name for attribute in attributes]
    found = {name: getattr(value, name, msgspec.UNSET) for name in names}
    return {name: inner for name, inner in found.items() if inner is not msgspec.UNSET}


def _struct(value: msgspec.Struct) -> dict[str, Any] | list[Any]:
    """A struct's fields as msgspec would send them: renamed, tagged, without defaults, or as an array."""
    config = value.__struct_config__
    fields = [(field, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
    if config.array_like:
        return [*([] if config.tag is None else [config.tag]), *(inner for _, inner in fields)]
    out: dict[str, Any] = {} if config.tag is None else {cast("str", config.tag_field): config.tag}
    for field, inner in fields:
        omitted = inner is msgspec.UNSET or (config.omit_defaults and _is_default(inner, field))
        if not omitted:
            out[field.encode_name] = inner
    return out


def _is_default(value: Any, field: msgspec.structs.FieldInfo) -> bool:
    """Apply msgspec's rule: the very same object, or an empty container made by the field's factory."""
    if field.default_factory in {list, dict, set}:
        return type(value) is field.default_factory and not value
    return value is field.default


def _behind(value: Any, kind: type) -> Any:
    """Return the object behind a proxy: those of werkzeug, wrapt and Django claim that object's class."""
    if hasattr(kind, "_get_current_object"):
        return value._get_current_object()  # noqa: SLF001 - documented, whatever its name says
    for name in ("__wrapped__", "_wrapped"):
        if hasattr(kind, name):
            return getattr(value, name)
    return NOTHING


def _container(value: Any, kind: type[Any]) -> Any:
    if callable(getattr(kind, "tolist", None)):
        return _listed(value)
    if callable(getattr(kind, "__fspath__", None)):
        return value.__fspath__()
    if issubclass(kind, AbstractSet | Sequence | ValuesView):
        return _read(value)
    if hasattr(kind, "compressed") and hasattr(kind, "exploded"):  # addresses and networks of ipaddress
        return value.compressed
    return _lazy_or_missing(value)


def _lazy_or_missing(value: Any) -> Any:
    """Evaluate a lazy text (a translation, say), or return None for a missing value such as pandas.NA."""
    # A lazy text has the methods of a str, as its own, or those of its str.
    owner = getattr(getattr(value, "isidentifier", None), "__self__", None)
    if owner is value or isinstance(owner, str):
        return str(value)
    return None if (value == value) is value else NOTHING  # noqa: PLR0124 - whether it is equal, pandas.NA cannot say


def _listed(value: Any) -> Any:
    """The items of an array, or the number or time of an array's scalar."""
    dtype = getattr(value, "dtype", None)
    sort = getattr(dtype, "kind", "")
    if sort in {"M", "m"}:
        return list(value) if value.ndim else _numpy_time(value)
    plain = value.tolist()
    if type(plain) is not type(value):
        return plain
    return float(value) if sort == "f" else NOTHING  # wider than a double: no standard type holds it


def _numpy_time(value: Any) -> Any:
    """Convert a datetime64 or timedelta64, which would become an int, to datetime, date or timedelta."""
    unit = value.dtype.str.partition("[")[2].rstrip("]").lstrip("0123456789")
    if unit in {"ns", "ps", "fs", "as"}:
        value = value.astype(f"{value.dtype.kind}8[us]")
    plain = value.tolist()
    return NOTHING if isinstance(plain, int) else plain  # months and years have no fixed length; or a year past 9999
