"""What a value stands for, where the tables of the documentation do not say it: ids, and the edges of the steps."""

from __future__ import annotations

from collections import UserString
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from millstream._core.events.coerce import MAX_ITEMS, MAX_STEPS, NOTHING, scalar, simpler, type_name

Plan = Enum("Plan", {"BASIC": UserString("basic")})


def wrapped(times: int) -> object:
    """A text inside so many others."""
    value: object = UserString("id")
    for _ in range(times - 1):
        outer = UserString("")
        outer.data = value  # type: ignore[assignment]
        value = outer
    return value


def test_an_id_is_looked_for_through_several_layers() -> None:
    """An enumeration of lazy texts is the text; an id that is a UUID or an int stays one."""
    assert scalar(Plan.BASIC) == "basic"
    assert scalar(UUID(int=7)) == UUID(int=7)
    assert scalar(7) == 7


def test_a_proxy_of_proxies_comes_to_an_end() -> None:
    """Only so many steps are taken: a proxy that stands for another for ever does not hang a call."""
    assert scalar(wrapped(MAX_STEPS)) == "id"
    assert type(scalar(wrapped(MAX_STEPS + 1))) is UserString


def test_what_stands_for_nothing_is_no_id() -> None:
    """An object that JSON does not know is NOTHING, and is not asked again."""
    assert simpler(object()) is NOTHING
    assert scalar(object()) is NOTHING


def test_what_has_no_end_is_read_so_far() -> None:
    """A sequence that goes on for ever is refused, when more has been read than any event has room for."""
    taken = []

    class Endless(dict[str, int]):
        def items(self):  # type: ignore[no-untyped-def,override]
            n = 0
            while True:
                taken.append(n)
                yield str(n), n
                n += 1

    with pytest.raises(ValueError, match="100,000"):
        simpler(Endless())
    assert len(taken) == MAX_ITEMS + 1


def test_a_types_name_is_told_whatever_its_metaclass_does() -> None:
    """A refusal can name the type of every value: a metaclass that raises makes it `unknown`, a long name is cut."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise OSError

    class Hostile(metaclass=Meta):
        pass

    assert type_name(Hostile()) == "unknown"
    assert type_name(type("x" * 200, (), {"__module__": "m"})()) == "m." + "x" * 98
    assert type_name(3) == "int"
