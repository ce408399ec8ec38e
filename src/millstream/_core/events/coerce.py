"""What a value of a type that JSON does not know stands for: one step nearer to JSON.

Foreign types are known by what they can do (`tolist`, `model_dump`, `__fspath__`), so that numpy, pydantic and the
others need not be there. docs/reference/values.md lists the types, in the order in which they are tried here.
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
"""How far a container that is no standard one is read: no event has room for more, and some never end."""
MAX_STEPS = 8
"""How many proxies and enumerations may be around an id."""
NOTHING: Any = object()
"""What a value stands for that stands for nothing JSON knows."""


class Pairs(list[tuple[Any, Any]]):
    """A mapping's content before its keys are text: a dict would keep one of two equal keys, and drop one."""


def simpler(value: Any) -> Any:
    """What a value stands for, as a standard type or as a container of its parts; NOTHING if it cannot be sent.

    Raises:
        Exception: whatever the value's own methods raise.
    """
    kind = cast("type[object]", type(value))
    for base, convert in _STANDARD:
        if issubclass(kind, base):  # not isinstance: a proxy may claim a class that it has not
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
    """The str, int or UUID that a value stands for, if it does; else what it stands for, or the value itself.

    Raises:
        Exception: whatever the value's own methods raise.
    """
    for _ in range(MAX_STEPS):
        if value is NOTHING or type(value) in _SETTLED:
            break
        value = simpler(value)
    return value


def text(value: str) -> str:
    """A str that can be encoded: surrogate pairs become the character they stand for, lone halves U+FFFD."""
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def moment(value: datetime) -> datetime | None:
    """A datetime of the standard class, whatever came: without a zone, or with an offset in whole minutes.

    None for a data frame's missing time (NaT), which is a datetime that is not equal to itself. An offset with seconds
    (local mean time, before about 1900) has no place in RFC 3339: such a time becomes the same moment in UTC.
    """
    if value != value:  # noqa: PLR0124
        return None
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    offset = value.utcoffset()
    if offset is None:
        return Standard.datetime(*parts)  # it came without a zone, and is sent without one
    out = Standard.datetime(*parts, tzinfo=timezone(offset))
    return out.astimezone(timezone.utc) if offset % MINUTE else out


def clock(value: time) -> time | str:
    """A time of day of the standard class. An offset with seconds cannot be turned into UTC without a day: as text."""
    out = time(value.hour, value.minute, value.second, value.microsecond)
    offset = value.utcoffset()
    if offset is None:
        return out
    out = out.replace(tzinfo=timezone(offset))
    return out.isoformat() if offset % MINUTE else out


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it says that it is a mapping: a proxy that behaves like one will do."""
    return isinstance(value, Mapping)


def pairs(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A mapping's keys and values, read once."""
    if cast("type[object]", type(value)) is dict:
        # In one step: another thread that changes the dict meanwhile does no harm.
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
    (str, str.__str__),  # these three: the value itself, whatever a subclass makes of it
    (int, int.__int__),
    (float, float.__float__),
    (Enum, lambda value: value._value_),  # `value` may be a property of the class's own
    ((bytes, bytearray, memoryview), bytes),
    (Standard.datetime, moment),
    (Standard.date, lambda value: Standard.date(value.year, value.month, value.day)),
    (time, clock),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (Decimal, Decimal),
    (UUID, lambda value: UUID(int=value.int)),
    (UserString, lambda value: value.data),
    (msgspec.Raw, msgspec.json.decode),  # read and written anew: it may hold anything
)


_SETTLED = frozenset({str, int, UUID, bool, float, type(None), dict, list, tuple, Pairs})
"""Types of which it is known whether they are an id."""


def _fields(value: Any, kind: type[Any]) -> dict[str, Any] | list[Any] | None:
    """The fields of a msgspec struct, a dataclass or an attrs class. One that has no value yet is absent."""
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
    """A struct's fields as msgspec itself would send them: renamed, tagged, without defaults, or as an array."""
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
    """Msgspec's own rule: the very same object, or an empty container that the field's factory makes."""
    if field.default_factory in {list, dict, set}:
        return type(value) is field.default_factory and not value
    return value is field.default


def _behind(value: Any, kind: type) -> Any:
    """The object that a proxy stands for: werkzeug's, wrapt's and Django's claim the class of that object."""
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
    if hasattr(kind, "compressed") and hasattr(kind, "exploded"):  # the addresses and networks of ipaddress
        return value.compressed
    return _lazy_or_missing(value)


def _lazy_or_missing(value: Any) -> Any:
    """A text that is made when it is asked for (a translation, say), or None for what is missing, as pandas.NA is."""
    # A lazy text has the methods of a str, as its own, or those of the str that it makes.
    owner = getattr(getattr(value, "isidentifier", None), "__self__", None)
    if owner is value or isinstance(owner, str):
        return str(value)
    return None if (value == value) is value else NOTHING  # noqa: PLR0124 - whether it is equal, pandas.NA cannot say


def _listed(value: Any) -> Any:
    """What is in an array, or the number or time that one of its scalars is."""
    dtype = getattr(value, "dtype", None)
    sort = getattr(dtype, "kind", "")
    if sort in {"M", "m"}:
        return list(value) if value.ndim else _numpy_time(value)
    plain = value.tolist()
    if type(plain) is not type(value):
        return plain
    return float(value) if sort == "f" else NOTHING  # wider than a double: no standard type holds it


def _numpy_time(value: Any) -> Any:
    """A datetime64 or timedelta64 as datetime, date or timedelta, cut to microseconds; it would be an int otherwise."""
    unit = value.dtype.str.partition("[")[2].rstrip("]").lstrip("0123456789")
    if unit in {"ns", "ps", "fs", "as"}:
        value = value.astype(f"{value.dtype.kind}8[us]")
    plain = value.tolist()
    return NOTHING if isinstance(plain, int) else plain  # months and years have no fixed length; a year past 9999
