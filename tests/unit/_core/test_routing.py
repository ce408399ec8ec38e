"""Which destinations an event goes to, by what its `integrations` say of their names and of `All`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from millstream._core.routing import allows, choice, options


@dataclass
class Named:
    name: str


@dataclass
class Renamed:
    name: str = "New"
    alternative_names: Sequence[str] = ("Oldest", "Old")


@dataclass
class Own:
    """A destination that `All` does not speak of."""

    name: str = "Segment.io"
    obeys_all: bool = False


@pytest.mark.parametrize(
    ("integrations", "goes"),
    [
        ({}, True),
        ({"All": False}, False),
        ({"All": False, "Mine": True}, True),
        ({"All": False, "Mine": {}}, True),
        ({"All": True, "Mine": False}, False),
        ({"mine": False}, True),
        ({"Mine": None}, True),
        ({"All": None}, True),
        ({"Mine": 0}, True),
    ],
)
def test_only_false_keeps_an_event_away(integrations: Mapping[str, Any], goes: bool) -> None:
    """A name counts before `All`, in its own spelling, and nothing but `false` itself switches off."""
    assert allows(Named("Mine"), integrations) is goes


def test_the_name_counts_before_older_ones() -> None:
    """Its own name decides, then the last of its other names, then those before it, then `All`."""
    said: dict[str, Any] = {"New": 1, "Old": 2, "Oldest": 3, "All": 4}
    chosen = []
    while said:
        chosen.append(choice(Renamed(), said))
        del said[next(iter(said))]
    assert chosen == [1, 2, 3, 4]
    assert choice(Renamed(), {}) is True


def test_all_does_not_speak_of_the_clients_own_api() -> None:
    """A destination that does not obey `All` is switched off by its own name, and by nothing else."""
    assert allows(Own(), {"All": False})
    assert not allows(Own(), {"All": True, "Segment.io": False})


@pytest.mark.parametrize("said", [True, 1, "fast", ["fast"], None])
def test_options_are_an_object_or_none(said: object) -> None:
    """A destination is always given a mapping: the object that stands under its name, or an empty one."""
    assert options(Named("Mine"), {"Mine": {"fast": True}}) == {"fast": True}
    assert options(Named("Mine"), {"Mine": said}) == {}
    assert options(Renamed(), {"Old": {"fast": True}}) == {"fast": True}
