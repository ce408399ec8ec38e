"""A caller's values become bytes: every type as docs/reference/values.md says, and nothing else but InvalidEvent."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pydantic.v1
import pytest

from millstream import InvalidEvent
from millstream._core.events.encode import decode, encode, largest_field
from millstream._core.events.fastpath import MAX_DEPTH, is_plain, write
from millstream._core.events.normalize import normalized

PAGE = (Path(__file__).parents[4] / "docs/reference/values.md").read_text("utf-8")
NAMES: dict[str, Any] = {"__name__": __name__}
for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
    try:
        exec(compile(block, "values.md", "exec", dont_inherit=True), NAMES)
    except ImportError:
        assert os.environ.get("CI") != "true"


def rows(*sections: str) -> list[tuple[str, str]]:
    """The second and third cell of every row of these sections' tables, without their backticks."""
    found: list[tuple[str, str]] = []
    for section in PAGE.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title in sections:
            found += re.findall(r"^\|[^|]*\| `([^|]+)` \| `([^|]+)` \|", body, re.MULTILINE)
            assert body.count("\n|") == len(re.findall(r"^\|[^|]*\| `[^|]+` \| `[^|]+` \|", body, re.MULTILINE)) + 2
    return found


def value_of(expression: str) -> Any:
    try:
        return eval(expression, NAMES)
    except NameError as exc:
        assert os.environ.get("CI") != "true"
        pytest.skip(f"{exc.name} is from a package that is not installed (requirements/dev.txt)")


def sent(value: object) -> str:
    """How a value is sent, as JSON text."""
    data = encode({"properties": {"value": value}}).decode()
    return data.removeprefix('{"properties":{"value":').removesuffix("}}")


def refusal(value: object) -> str:
    """Why a value is refused."""
    with pytest.raises(InvalidEvent) as caught:
        encode({"properties": {"value": value}})
    return str(caught.value)


# -- the page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expression", "written"), rows("Scalars", "Containers", "numpy", "pandas", "Keys"))
def test_each_type_is_sent_as_the_page_says(expression: str, written: str) -> None:
    """Every row of the reference is so, character by character."""
    assert sent(value_of(expression)) == written


@pytest.mark.parametrize(("expression", "written"), rows("Scalars", "Containers", "numpy", "pandas", "Keys"))
def test_both_paths_write_the_same(expression: str, written: str) -> None:
    """The repair gives the bytes that the fast path gives, wherever the value stands."""
    for value in (value_of(expression), [value_of(expression)], NAMES["Item"]("s", value_of(expression))):
        event = {"properties": {"value": value}}
        assert write(normalized(event)) == encode(event)


@pytest.mark.parametrize(("expression", "message"), rows("Refused"))
def test_what_cannot_be_sent_is_refused_as_the_page_says(expression: str, message: str) -> None:
    """Every refusal of the reference is so."""
    assert message in refusal(value_of(expression))


def test_the_page_has_all_its_rows() -> None:
    """The tables were found, and none of their rows was overlooked."""
    assert len(rows("Scalars")) > 30
    assert len(rows("Containers")) > 20
    assert len(rows("numpy")) > 10
    assert len(rows("pandas")) > 5
    assert len(rows("Keys")) > 10
    assert len(rows("Refused")) > 15


# -- which path a value takes -----------------------------------------------------------------------

ANY = [
    {"s": "x", "i": 1, "f": 1.5, "b": True, "n": None, "l": [1, ("a", {"k": 2})], "at": datetime.now(timezone.utc)},
    {"price": Decimal("9.99"), "id": UUID(int=1), "raw": b"x", "plan": NAMES["Plan"].PRO, "set": {1}},
]


@pytest.mark.parametrize("properties", ANY)
def test_usual_values_take_the_fast_path(properties: dict[str, Any]) -> None:
    """What is in most events, prices and enumerations included, needs no repair."""
    assert is_plain(({"properties": properties},), 0)


HIDDEN = {
    "an int key in a dict in a tuple": ({1: "a", "1": "b"},),
    "a Decimal NaN in a set": {(("x", Decimal("NaN")),)},
    "a Decimal NaN in a tuple": (Decimal("sNaN"),),
    "a Decimal key": {Decimal("1.5"): 1},
    "a dict subclass": collections.OrderedDict({1: 1}),
    "a list subclass": type("Own", (list,), {})([{1: 1}]),
    "a dataclass": NAMES["Item"]("s", Decimal("NaN")),
    "an enumeration's value": enum.Enum("Odd", {"A": {1: 2}}).A,  # type: ignore[attr-defined]
    "a str subclass": np.str_("x"),
    "msgspec.Raw": msgspec.Raw(b'{"a":\n1}'),
    "an odd offset": datetime(1850, 1, 1, tzinfo=timezone(timedelta(seconds=3208))),
    "an odd offset of a time of day": time(1, tzinfo=timezone(timedelta(seconds=3208))),
    "a number too large": 2**1024,
    "a Decimal too large": Decimal("1E+309"),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_what_msgspec_would_write_otherwise_goes_the_long_way(case: str) -> None:
    """Wherever it hides, what msgspec takes but would not write as documented never gets past the first look."""
    assert not is_plain(({"properties": {"value": HIDDEN[case]}},), 0)


KEYS = [
    1,
    1.5,
    True,
    None,
    b"x",
    (1,),
    Decimal(1),
    UUID(int=1),
    NAMES["date"](2024, 5, 17),
    np.str_("x"),
    NAMES["Plan"].PRO,
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_no_key_but_a_str_gets_past_the_first_look(key: object) -> None:
    """The garbage collector's view of a dict shows a key that is no str, alone or among others, and wherever it is."""
    for mapping in ({key: 1}, {"a": 1, key: 2}, {key: None, "a": "b", "c": []}):
        assert not is_plain(({"properties": {"value": mapping}},), 0)
        assert not is_plain(({"properties": {"value": [[], mapping, {}], "a": {"b": 1}}},), 0)


def test_dicts_of_every_make_take_the_fast_path() -> None:
    """It does not matter how a dict with str keys came to be: grown, shrunk, unpacked, copied, an object's own."""
    grown = {f"k{i}": i for i in range(50)}
    shrunk = dict(grown)
    for i in range(45):
        del shrunk[f"k{i}"]
    own = type("Own", (), {})()
    own.a, own.b = 1, "x"
    for mapping in (grown, shrunk, {**grown, "z": 1}, grown.copy(), {"a": 1}, vars(own), {}):
        assert is_plain(({"properties": mapping},), 0)


def nested(levels: int, innermost: object) -> object:
    value = innermost
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("innermost", ["x", np.str_("x"), "\ud800", np.int64(1)])
def test_both_paths_know_the_same_depth(innermost: object) -> None:
    """Nesting is followed to the same level, whether or not something in it needs repair."""
    deepest = nested(MAX_DEPTH - 2, innermost)  # the event and its properties are levels too
    encode({"properties": {"value": deepest}})
    assert "nested deeper than 100 levels" in refusal([deepest])


# -- text, numbers, times ---------------------------------------------------------------------------


def test_no_newline_and_no_invalid_text_gets_out() -> None:
    """An event is one line of valid UTF-8, whatever its strings and keys hold."""
    data = encode({"a\nb\r\u2028\ud800": "c\nd\x00\udfff\ud83d\ude00e"})
    assert b"\n" not in data
    assert json.loads(data.decode()) == {"a\nb\r\u2028\ufffd": "c\nd\x00\ufffd\U0001f600e"}


def test_a_callers_decimal_context_changes_nothing() -> None:
    """Precision and traps that the application has set are not applied to its money."""
    with localcontext() as context:
        context.prec = 3
        for trap in context.traps:
            context.traps[trap] = True
        assert sent(Decimal("123456.789")) == "123456.789"
        assert sent(NAMES["Money"]("123456.789")) == "123456.789"
        assert sent(Decimal("NaN")) == "null"
        assert "send it as a str" in refusal(Decimal("9E+308"))


@pytest.mark.parametrize("number", [2**1024 - 2**971, -(2**1024) + 2**971, Decimal("1.7E+308"), Decimal("0E+400")])
def test_numbers_up_to_the_largest_double_can_be_read_again(number: object) -> None:
    """What is accepted, decodes: no number makes a reader refuse the event, or its whole batch."""
    assert Decimal(str(decode(encode({"n": number}))["n"])) == number


def test_the_hour_that_comes_twice_keeps_its_offset() -> None:
    """The second half past two of the night when summer time ends is an hour after the first, subclasses included."""
    berlin, own = ZoneInfo("Europe/Berlin"), type("Own", (datetime,), {})
    for kind in (datetime, own):
        assert sent(kind(2023, 10, 29, 2, 30, tzinfo=berlin)) == '"2023-10-29T02:30:00+02:00"'
        assert sent(kind(2023, 10, 29, 2, 30, tzinfo=berlin, fold=1)) == '"2023-10-29T02:30:00+01:00"'


def test_a_zone_without_an_offset_is_none() -> None:
    """A zone that does not know its offset leaves the time without one."""

    class Nowhere(tzinfo):
        def utcoffset(self, _when: datetime | None) -> None:
            return None

    assert sent(datetime(2024, 1, 1, tzinfo=Nowhere())) == '"2024-01-01T00:00:00"'
    assert sent(time(1, tzinfo=ZoneInfo("Europe/Berlin"))) == '"01:00:00"'
    assert sent(time(1, tzinfo=timezone(timedelta(seconds=3208)))) == '"01:00:00+00:53:28"'


def test_a_missing_time_is_null() -> None:
    """A data frame's NaT, a datetime that is not equal to itself, has no year, and is sent as null."""

    class NaT(datetime):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return False

        def __ne__(self, other: object) -> bool:
            return True

    assert sent(NaT(2024, 1, 1)) == "null"


# -- objects ----------------------------------------------------------------------------------------


class Tagged(msgspec.Struct, rename="camel", tag_field="kind", tag="t", omit_defaults=True):
    one_two: int
    items: list[int] = msgspec.field(default_factory=list)
    seen: bool | msgspec.UnsetType = msgspec.UNSET
    plan: str = "pro"


class Array(msgspec.Struct, array_like=True, tag=True):
    a: int = 1
    b: int = 2


STRUCTS = [Tagged(1), Tagged(2, [3], True, "free"), Array(), NAMES["Page"]("T", "de"), NAMES["Page"]("T", "e" + "n")]


@pytest.mark.parametrize("value", STRUCTS)
def test_structs_are_sent_as_msgspec_sends_them(value: msgspec.Struct) -> None:
    """Renaming, tags, defaults, UNSET and arrays mean what they mean in msgspec."""
    assert sent(value) == msgspec.json.encode(value).decode()


def test_a_field_without_a_value_is_absent() -> None:
    """A dataclass or attrs class says nothing of a field that was never assigned, or is UNSET."""

    @dataclasses.dataclass
    class Late:
        a: int
        b: int = dataclasses.field(init=False)
        c: object = msgspec.UNSET

    @attrs.define
    class Later:
        a: int
        _b: int = attrs.field(init=False)

    assert sent(Late(1)) == '{"a":1}'
    assert sent(Later(1)) == '{"a":1}'


def test_enumerations_are_sent_as_their_value() -> None:
    """A member is sent as its value, or as the str or number that it is besides, if those differ."""

    class Both(str, enum.Enum):
        A = "a", 1

        def __new__(cls, text: str, value: int) -> Both:
            member = str.__new__(cls, text)
            member._value_ = value  # type: ignore[assignment]
            return member

    class Float(float, enum.Enum):
        A = 1.5

    class Own(enum.Enum):
        A = "a"

        @property
        def value(self) -> str:  # type: ignore[override]
            return "label"

    event = {"x": [Both.A, Float.A, Own.A, NAMES["Right"](3)]}
    assert encode(event) == write(normalized(event)) == b'{"x":["a",1.5,"a",3]}'


def test_a_mapping_is_what_its_items_say() -> None:
    """A dict subclass that overrides `items` is sent as it shows itself, not as it is stored."""

    class LastOnly(dict[str, Any]):
        def items(self) -> Any:
            return [(key, values[-1]) for key, values in super().items()]

    assert sent(LastOnly(a=[1, 2])) == '{"a":2}'


def test_models_of_the_first_pydantic_are_sent_too() -> None:
    """`pydantic.v1` has no `model_dump`; its `dict()` is asked."""

    class Old(pydantic.v1.BaseModel):
        price: Decimal

    assert sent(Old(price=Decimal("1.50"))) == '{"price":1.50}'


def test_secrets_of_a_model_do_not_get_out() -> None:
    """A pydantic secret is neither sent nor shown: it is refused."""

    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    message = refusal(Login(password=pydantic.SecretStr("hunter2")))
    assert message.startswith("properties.value.password: object of type pydantic.types.SecretStr cannot be sent")
    assert "hunter2" not in message


def test_values_are_refused_that_no_standard_type_holds() -> None:
    """Complex numbers, spans without a unit and years past 9999 of numpy are refused, in arrays too."""
    assert "object of type complex" in refusal(np.array([1j]))
    assert "properties.value[0]: object of type numpy.timedelta64" in refusal(np.array([1], "m8[Y]"))
    assert "numpy.timedelta64" in refusal(np.timedelta64(5))
    assert "numpy.datetime64" in refusal(np.datetime64("12024-01-01T00:00:00"))


# -- hostile values ---------------------------------------------------------------------------------


class Boom(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this")

    __repr__ = __str__


class Everything:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise Boom

    def _boom(self, *_: object) -> Any:
        raise Boom

    __eq__ = __ne__ = __len__ = __iter__ = __getitem__ = __bool__ = __index__ = __int__ = _boom  # type: ignore[assignment]
    __repr__ = __str__ = __format__ = _boom  # type: ignore[assignment]
    __hash__ = object.__hash__


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise Boom

    def __hash__(cls) -> int:
        raise Boom

    def __eq__(cls, other: object) -> bool:
        raise Boom


class Items(Mapping[Any, Any]):
    def __init__(self, pairs: Any) -> None:
        self.pairs = pairs

    def __getitem__(self, key: object) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        raise Boom

    def __len__(self) -> int:
        raise Boom

    def items(self) -> Any:
        return self.pairs() if callable(self.pairs) else self.pairs


class Gone(Items):
    def __iter__(self) -> Iterator[Any]:
        return iter(["not", "there"])

    items = Mapping.items


class Endless(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return index

    def __len__(self) -> int:
        return -1  # noqa: PLE0303


class EndlessItems(Items):
    def items(self) -> Any:
        return iter(lambda: ("k", 1), None)


def claims(kind: type) -> object:
    """An object that says it is of that class."""
    return type("Proxy", (), {"__class__": property(lambda _: kind)})()


class Dump:
    def __init__(self, result: Any) -> None:
        self.result = result

    def model_dump(self) -> Any:
        if self.result is Boom:
            raise Boom
        return self if self.result is None else self.result


class Again:
    def model_dump(self) -> Any:
        return Again()


class Echo(collections.UserString):
    data = property(lambda self: self, lambda *_: None)  # type: ignore[assignment]


class BadPath:
    def __fspath__(self) -> Any:
        raise Boom


class BadZone(tzinfo):
    def utcoffset(self, _when: datetime | None) -> timedelta:
        raise Boom


class BadStr(str):
    __slots__ = ()

    def _boom(self, *_: object) -> Any:
        raise Boom

    __str__ = __repr__ = __len__ = __hash__ = __eq__ = encode = isascii = __iter__ = _boom  # type: ignore[assignment]


class BadInt(int):
    def _boom(self, *_: object) -> Any:
        raise Boom

    __int__ = __index__ = __repr__ = __le__ = __ge__ = __neg__ = _boom  # type: ignore[assignment]


class BadList(list[int]):
    def __iter__(self) -> Any:
        raise Boom


@dataclasses.dataclass
class BadField:
    a: int = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "a":
            raise Boom
        return super().__getattribute__(name)


def released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


HOSTILE: dict[str, Any] = {
    "raises at everything": Everything(),
    "a class that raises at everything": Meta("Odd", (), {})(),
    "items raise": Items(lambda: next(iter([]))),
    "items are no pairs": Items([1, 2]),
    "items have a key twice": Items([("secret", 1), ("secret", 2)]),
    "items are unhashable": Items([([], 1)]),
    "items are nothing": Items(None),
    "keys that are not there": Gone(None),
    "items without an end": EndlessItems(None),
    "a sequence without an end": Endless(),
    "claims to be a str": claims(str),
    "claims to be a dict": claims(dict),
    "claims to be a list": claims(list),
    "claims to be a Decimal": claims(Decimal),
    "dumps itself": Dump(None),
    "dumps another for ever": Again(),
    "dump raises": Dump(Boom),
    "path raises": BadPath(),
    "zone raises": datetime(2024, 1, 1, tzinfo=BadZone()),
    "zone of a time raises": time(1, tzinfo=BadZone()),
    "iterator raises": BadList([1]),
    "field raises": BadField(),
    "released memory": released(),
    "a dataclass itself": NAMES["Item"],
    "a struct itself": NAMES["Page"],
    "an enumeration itself": NAMES["Plan"],
    "a module": json,
    "an exception": Boom(),
    "text that repeats itself": Echo("x"),
    "raw JSON that is none": msgspec.Raw(b"secret"),
    "a function": lambda: 1,
    "a generator": (c for c in "secret"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("place", ["value", "key", "in a list", "in a dataclass"])
def test_nothing_but_invalid_event_gets_out(case: str, place: str) -> None:
    """Whatever a value's own methods raise, or never end, the caller gets InvalidEvent, and it says where."""
    value = HOSTILE[case]
    event: dict[Any, Any] = {"properties": {"value": value}}
    path = r"properties\.value"
    if place == "key":
        event, path = {"properties": Items([(value, 1)])}, "properties: a key of type"
    elif place == "in a list":
        event, path = {"properties": {"value": (1, [value])}}, r"properties\.value\[1\]\[0\]"
    elif place == "in a dataclass":
        event, path = {"properties": {"value": NAMES["Item"]("s", value)}}, r"properties\.value\.price"
    with pytest.raises(InvalidEvent, match=f"^{path}") as caught:
        encode(event)
    message = str(caught.value)
    assert len(message) < 400
    if place != "key" and "twice" not in case:
        assert "secret" not in message


def test_subclasses_are_sent_as_what_they_are() -> None:
    """Methods that a subclass of str or int overrides are not asked."""
    assert sent(BadStr("x")) == '"x"'
    assert sent(BadInt(7)) == "7"
    assert sent(Items([(BadStr("x"), [BadInt(7)])])) == '{"x":[7]}'


def test_long_paths_and_keys_are_cut() -> None:
    """A message stays short, however long the keys and however deep the value."""
    message = refusal(nested(90, {"k" * 5_000: object()}))
    assert "…" in message
    assert len(message) < 400
    assert "k" * 41 not in refusal({"k" * 5_000: object()})


def test_a_cause_is_kept() -> None:
    """What the value's own code raised is the cause of the refusal, for whoever debugs it."""
    with pytest.raises(InvalidEvent) as caught:
        encode({"a": [Dump(Boom)]})
    assert isinstance(caught.value.__cause__, Boom)


@pytest.mark.parametrize("value", [{"a": 1}, {"a": np.int64(1)}, {"a": {"b": object()}}])
def test_a_stack_that_is_nearly_used_up(value: object) -> None:
    """Called with hardly a frame left, an event is encoded or refused, or the caller's own recursion ends."""

    def down(levels: int) -> object:
        if levels:
            return down(levels - 1)
        try:
            return encode({"properties": value})
        except InvalidEvent as exc:
            return exc

    outcomes = set()
    for levels in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        try:
            outcomes.add(type(down(levels)))
        except RecursionError:  # raised by `down`, or at the door
            break
    assert outcomes <= {bytes, InvalidEvent}


def test_a_dict_that_another_thread_changes() -> None:
    """Events whose values change while they are encoded are valid or refused; nothing else is raised."""
    shared: dict[Any, Any] = {"a": {}, "list": [], "np": np.int64(1)}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for i in range(50):
                shared["a"][f"k{i}"] = shared[f"x{i}"] = shared["list"]
                shared["list"].append(i)
            shared["a"].clear()
            shared["list"].clear()
            for i in range(50):
                del shared[f"x{i}"]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for value in (shared, dict(shared, np=1), [shared], collections.ChainMap(shared)):
            for _ in range(300):
                try:
                    json.loads(encode({"properties": value}))
                except InvalidEvent:
                    pass
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


# -- around the values ------------------------------------------------------------------------------


def test_encoding_is_the_snapshot() -> None:
    """The caller's objects are neither changed nor kept."""
    inner: dict[Any, Any] = {1: ["\ud800", (Decimal("NaN"),)]}
    event = {"properties": inner}
    data = encode(event)
    assert inner == {1: ["\ud800", (inner[1][1][0],)]}
    inner[1].append("later")
    assert data == '{"properties":{"1":["\ufffd",[null]]}}'.encode()


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ({"type": "track", "properties": {"html": "x" * 90, "a": 1}}, "properties.html"),
        ({"type": "track", "properties": {f"k{i}": i for i in range(50)}}, "properties"),
        ({"type": "track", "event": "e" * 90, "properties": {}}, "event"),
        ({"type": "track", "traits": ["x" * 90]}, "traits"),
        ({"type": "track", "context": {"page": {"html": "x" * 90}}}, "context.page"),
    ],
)
def test_the_largest_field_is_named(event: dict[str, Any], name: str) -> None:
    """The field that takes the most bytes is named, or the part of it that makes most of it."""
    assert largest_field(encode(event)) == name
