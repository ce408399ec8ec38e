"""Whatever is accepted is valid JSON that says what docs/reference/values.md says; whatever is not is InvalidEvent.

Beside the encoding runs an oracle: the rules of the page a second time, by other means (`json`, `isoformat`,
arithmetic), without regard for speed. `MILLSTREAM_HYPOTHESIS=deep` looks for much longer.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections import ChainMap, OrderedDict, deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millstream import InvalidEvent
from millstream._core.events.build import Defaults, Page
from millstream._core.events.encode import encode, largest_field
from millstream._core.events.fastpath import all_usual, is_plain, write
from millstream._core.events.normalize import normalized

DEEP = os.environ.get("MILLSTREAM_HYPOTHESIS") == "deep"
EFFORT = settings(max_examples=20_000 if DEEP else 200, deadline=None)


class Text(str):
    __slots__ = ()


class Count(int):
    pass


class Share(float):
    pass


class Amount(Decimal):
    pass


class When(datetime):
    pass


class Many(list[Any]):
    pass


class Named(dict[Any, Any]):
    pass


class Plan(Enum):
    PRO = "pro"
    NONE = None
    PAIR = (1, {2: 3})


class Level(IntEnum):
    HIGH = 3


class Word(str, Enum):
    YES = "yes"


@dataclass
class Box:
    first: Any
    _second: Any


@attrs.define
class Crate:
    first: Any


class Parcel(msgspec.Struct, rename="camel", tag="parcel"):
    the_first: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    first: Any


class Pair(NamedTuple):
    first: Any
    second: Any


# -- the oracle -------------------------------------------------------------------------------------


class Refused(Exception):
    """The page says that this cannot be sent."""


LARGEST = Decimal(2**1024 - 2**971)


def text(value: str) -> str:
    """Surrogates by hand: a high one and a low one are a character, one alone is U+FFFD."""
    out, rest = "", list(value)
    while rest:
        code = ord(rest.pop(0))
        if 0xD800 <= code < 0xDC00 and rest and 0xDC00 <= ord(rest[0]) < 0xE000:
            out += chr(0x10000 + (code - 0xD800) * 1024 + ord(rest.pop(0)) - 0xDC00)
        else:
            out += "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    return out


def number(value: Any) -> Decimal | None:
    exact = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        return None
    if exact.copy_abs() > LARGEST:
        raise Refused
    return exact


def duration(value: timedelta) -> str:
    micros = value // timedelta(microseconds=1)
    days, micros_left = divmod(abs(micros), 86_400_000_000)
    seconds, fraction = divmod(micros_left, 1_000_000)
    out = f"{days}D" if days or not micros else ""
    if micros_left:
        out += f"T{seconds}" + (f".{fraction:06}".rstrip("0") if fraction else "") + "S"
    return ("-P" if micros < 0 else "P") + out


def moment(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        try:
            value = value.astimezone(timezone.utc)
        except OverflowError:
            raise Refused from None
    return zulu(value.isoformat())


def zulu(written: str) -> str:
    return written[:-6] + "Z" if written.endswith("+00:00") else written


def expected(value: Any) -> Any:
    """What a value is once it is sent and read again, with numbers as exact Decimals."""
    for kinds, rule in RULES:
        if isinstance(value, kinds):
            return rule(value)
    return contents(value)


def instant(value: np.datetime64) -> str | None:
    return None if np.isnat(value) else np.datetime_as_string(value, "s").item()


RULES: list[tuple[Any, Callable[[Any], Any]]] = [
    ((type(None), bool), lambda value: value),
    (np.bool_, bool),
    ((np.ndarray, np.integer), lambda value: expected(value.tolist())),
    (np.datetime64, instant),
    (str, lambda value: text(str.__str__(value))),
    (np.floating, lambda value: number(float(value))),
    ((int, float, Decimal), number),
    ((bytes, bytearray), lambda value: base64.b64encode(value).decode()),
    (datetime, moment),
    (date, date.isoformat),
    (time, lambda value: zulu(value.isoformat())),
    (timedelta, duration),
    (UUID, str),
    (Enum, lambda value: expected(value.value)),
]


def contents(value: Any) -> Any:
    if isinstance(value, Mapping):
        return members(list(value.items()))
    if is_dataclass(value):
        return members([(field.name, getattr(value, field.name)) for field in fields(value)])
    if isinstance(value, Crate | Model):
        return members([("first", value.first)])
    if isinstance(value, Parcel):
        return members([("type", "parcel"), ("theFirst", value.the_first)])
    if isinstance(value, list | tuple | deque | AbstractSet | range):
        return [expected(item) for item in value]
    raise Refused


def members(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        name = key_text(key)
        if name in out:
            raise Refused
        out[name] = expected(value)
    return out


def key_text(key: Any) -> str:
    simple = expected(key)
    if isinstance(simple, dict | list):
        raise Refused
    if isinstance(simple, str):
        return simple
    # A number's text is the writer's affair, its value is not: the test compares that.
    return encode({"k": key}).decode()[5:-1]


# -- what is tried ----------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=5) | st.text(st.sampled_from("a\ud83d\ude00\n"))
ZONES = st.sampled_from(
    [
        None,
        timezone.utc,
        timezone(timedelta(hours=-3, minutes=-30)),
        timezone(timedelta(seconds=3208)),
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
    ]
)
NUMBERS = (
    st.integers()
    | st.integers(-(2**1030), 2**1030)
    | st.floats()
    | st.decimals()
    | st.sampled_from([Decimal("sNaN"), Decimal("1E+400"), Decimal("-0E+400"), Decimal("1E-400"), 2**1024, 10**4000])
)
TIMES = (
    st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), ZONES, st.integers(0, 1))
    | st.dates()
    | st.builds(lambda at, zone: at.replace(tzinfo=zone), st.times(), ZONES)
    | st.timedeltas()
)
YEARS = datetime(1700, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - what 64 bits of nanoseconds hold
FOREIGN = st.one_of(
    ANY_TEXT.map(Text),
    st.integers().map(Count),
    st.floats().map(Share),
    st.decimals(allow_nan=False).map(Amount),
    st.datetimes().map(lambda at: When.combine(at.date(), at.time(), timezone.utc)),
    st.sampled_from([*Plan, *Level, *Word]),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.booleans().map(np.bool_),
    st.datetimes(*YEARS).map(lambda at: np.datetime64(at.replace(microsecond=0), "ns")),
    st.binary(max_size=3).map(bytearray),
    st.lists(st.floats(), max_size=3).map(np.array),
)
SCALARS = st.none() | st.booleans() | ANY_TEXT | NUMBERS | TIMES | st.uuids() | st.binary(max_size=4)
LEAVES = SCALARS | FOREIGN | st.sampled_from([object(), 3j, int, len])
HASHABLE = SCALARS | st.sampled_from([*Plan, *Level, *Word, Count(1), "1", 1.0, (1,), frozenset()])
KEYS = st.text(max_size=3) | HASHABLE.filter(lambda key: not (isinstance(key, Decimal) and key.is_snan()))


def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists, dicts = st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)
    return st.one_of(
        lists,
        dicts,
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        lists.map(tuple),
        lists.map(deque),
        lists.map(Many),
        dicts.map(Named),
        dicts.map(OrderedDict),
        dicts.map(MappingProxyType),
        dicts.map(lambda content: ChainMap({}, content)),
        st.builds(Box, inner, inner),
        st.builds(Crate, inner),
        st.builds(Parcel, inner),
        st.builds(Pair, inner, inner),
        st.frozensets(st.text(max_size=2) | st.tuples(NUMBERS.filter(lambda n: not Decimal(n).is_nan())), max_size=3),
    )


VALUES = st.recursive(LEAVES, around, max_leaves=12)

USUAL = st.recursive(
    SCALARS | st.sampled_from([*Plan, *Level, *Word]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.text(max_size=2))
    ),
    max_leaves=12,
)
"""Mostly what the fast path takes."""


def read(data: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no key twice; numbers exact."""

    def constant(name: str) -> NoReturn:
        raise AssertionError(name)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(
        data.decode("utf-8", "strict"),
        parse_int=Decimal,
        parse_float=Decimal,
        parse_constant=constant,
        object_pairs_hook=once,
    )


@EFFORT
@given(VALUES)
def test_what_is_sent_is_what_the_page_says(value: Any) -> None:
    """A value is sent as the oracle has it, or refused where the oracle refuses it; nothing else is raised."""
    event = {"type": "track", "properties": {"value": value}}
    try:
        wanted = expected(event)
    except (Refused, InvalidEvent):
        with pytest.raises(InvalidEvent, match=r"^properties\.value"):
            encode(event)
        return
    data = encode(event)
    assert b"\n" not in data
    assert read(data) == wanted


@EFFORT
@given(USUAL)
def test_both_paths_give_the_same_bytes(value: Any) -> None:
    """What the fast path writes, the repair writes too, byte for byte."""
    event = {"properties": {"value": value}}
    if not is_plain((event,), 0):
        return
    try:
        data = write(event)
    except UnicodeEncodeError:  # the only thing that the first look does not see
        return
    assert write(normalized(event)) == data


@EFFORT
@given(VALUES)
def test_the_compiled_look_knows_only_what_is_plain(value: Any) -> None:
    """Where it is there, it never says yes to a value that Python's own look would not let past."""
    for event in (value, {"properties": {"value": value}}):
        if all_usual([event]):
            assert is_plain([event], 0)


@EFFORT
@given(VALUES, st.integers(0, 5))
def test_the_callers_objects_stay_as_they_are(value: Any, copies: int) -> None:
    """Encoding changes nothing in what it was given, and the same value is sent the same way again."""
    event = {"properties": {"value": [value] * copies}}
    try:
        before = repr(event)
    except ValueError:  # an int of more digits than Python writes
        return
    try:
        first = encode(event)
    except InvalidEvent:
        assert repr(event) == before
        return
    assert repr(event) == before
    assert encode(event) == first


ARGUMENTS = st.dictionaries(
    st.sampled_from(
        [
            "user_id",
            "anonymous_id",
            "timestamp",
            "context",
            "integrations",
            "message_id",
            "name",
            "category",
            "properties",
        ]
    ),
    VALUES,
)


@EFFORT
@given(ARGUMENTS)
def test_any_arguments_make_an_event_or_invalid_event(arguments: dict[str, Any]) -> None:
    """A call with whatever arguments becomes an event that the API keeps, or is refused."""
    event = Page(**arguments)
    defaults = Defaults.of({"library": {"name": "millstream"}}, {})
    try:
        given = event.complete(("2024-05-17T09:30:15.123Z", "id"), defaults)
        data = encode(event, given)
    except InvalidEvent:
        return
    sent = read(data)
    assert sent.get("userId") or sent.get("anonymousId")
    assert 0 < len(sent["messageId"]) <= 100
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sent["timestamp"])
    assert sent["context"]["library"]["name"] == "millstream"
    assert all(isinstance(sent[name], dict) for name in ("context", "integrations", "properties"))


@EFFORT
@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=9) | st.integers() | st.dictionaries(st.text(), st.text()))
)
def test_the_largest_field_is_one_of_the_event(event: dict[str, Any]) -> None:
    """The field that is named is in the event, and no other takes more bytes."""
    assume(event)
    data = encode(event)
    name = largest_field(data)
    sizes = {key: len(encode({"": value})) for key, value in event.items()}
    assert any(name == key or name.startswith(f"{key}.") for key, size in sizes.items() if size == max(sizes.values()))


@EFFORT
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_as_itself(value: float) -> None:
    """A number that is sent is read as the very same double."""
    back = json.loads(encode({"n": value}))["n"]
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)
