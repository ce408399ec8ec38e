"""The compiled look (decision 0023): it may say yes only where Python's own look does, and it runs no code."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from millstream._core.events.fastpath import MAX_DEPTH, all_usual, is_plain
from support.needs import needs

COMPILED = importlib.util.find_spec("millstream._core.events._fastpath") is not None
compiled = pytest.mark.skipif(not COMPILED, reason="it was not compiled here")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="it is compiled for CPython alone")
@pytest.mark.parametrize("part", ["millstream._core.events._fastpath", "millstream.collector._validate"])
def test_it_is_compiled_where_it_can_be(part: str) -> None:
    """A machine with a compiler and Python's headers has it, so that continuous integration tests both ways."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    needs(shutil.which("cc") and headers.exists(), "no C compiler with Python's headers found: apt-get install gcc")
    assert importlib.util.find_spec(part) is not None or "CI" not in os.environ


@compiled
def test_usual_values_need_no_other_look() -> None:
    """What nearly every event is made of is settled by it alone."""
    values: list[Any] = [
        {"s": "é ✓", "i": 1, "f": 1.5, "b": True, "n": None, "raw": b"x", "l": [1, ("a", {"k": []})], "e": {}},
        {"at": datetime.now(timezone.utc), "local": datetime.fromisoformat("2024-05-17"), "day": date(2024, 5, 17)},
        {"span": timedelta(1), "id": UUID(int=1), "least": -(2**63), "most": 2**63 - 1, "nan": float("nan")},
    ]
    assert all_usual(values)
    assert is_plain(values, 1)


class Zone(tzinfo):
    """A time zone written in Python, as many are."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise AssertionError("code of the caller's ran while his values were read")


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        Decimal(1), 2**63, -(2**63) - 1, 2**1024, Text("x"), object(), {1}, frozenset(), bytearray(b"x"),
        datetime(2024, 5, 17, tzinfo=Zone()), datetime(2024, 5, 17, tzinfo=timezone(timedelta(hours=1))),
        {1: "a"}, {"a": 1, Text("b"): 2}, {None: 1}, type("Own", (dict,), {})(a=1), type("Own", (list,), {})(),
        type("Moment", (datetime,), {})(2024, 5, 17), Ellipsis, int, len,
    ],
)  # fmt: skip
def test_of_anything_else_it_says_that_it_does_not_know(value: object) -> None:
    """Alone, among others, in a dict, a list and a tuple; it neither raises nor calls what is in there."""
    for values in ([value], ["a", value, 1], [{"a": {"b": value}}], [[1, [value]]], [("x", (value,))]):
        assert not all_usual(values)


def test_only_a_list_of_values_is_looked_at() -> None:
    """What is no list is nothing that it knows."""
    assert not all_usual(("a",))  # type: ignore[arg-type]
    assert not all_usual({"a": 1})  # type: ignore[arg-type]


@compiled
def test_it_looks_as_deep_as_events_go() -> None:
    """As many levels as is_plain follows, no more; and a value in itself ends there."""
    for wrap in (lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}):
        value: Any = []
        for _ in range(MAX_DEPTH - 2):
            value = wrap(value)
        assert all_usual([value])
        assert is_plain([value], 1)
        assert not all_usual([wrap(value)])
    endless: list[Any] = []
    endless.append(endless)
    assert not all_usual(endless)


@compiled
def test_it_keeps_nothing() -> None:
    """A look takes no reference that it does not give back."""
    value, zone = object(), timezone.utc
    moment = datetime(2024, 5, 17, tzinfo=zone)
    before = sys.getrefcount(value), sys.getrefcount(zone), sys.getrefcount(moment)
    for _ in range(1_000):
        all_usual([moment, {"a": value}])
    assert (sys.getrefcount(value), sys.getrefcount(zone), sys.getrefcount(moment)) == before
