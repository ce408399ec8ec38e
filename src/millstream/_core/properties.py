"""Remove members of an event: some that are named, or all but some that are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .guards import is_list, is_object
from .sampling import names_of

__all__ = ["Fields", "allow_properties", "drop_properties"]

Fields = Mapping[str, Sequence[str]]
"""Members by the path of the object that has them; the event itself has the empty path."""


def drop_properties(event: dict[str, Any], fields: Fields) -> None:
    """Remove the named members of the objects at these paths."""
    for found, names in _objects(event, fields):
        for name in names:
            found.pop(name, None)


def allow_properties(event: dict[str, Any], fields: Fields) -> None:
    """Remove all other members of the objects at these paths."""
    for found, names in _objects(event, fields):
        for name in found.keys() - {*names}:
            del found[name]


def _objects(event: dict[str, Any], fields: Fields) -> Iterator[tuple[dict[str, Any], Sequence[str]]]:
    for path, names in fields.items():
        found: list[dict[str, Any]] = []
        _visit(event, names_of(path), found.append)
        yield from ((each, names) for each in found)


def _visit(value: Any, names: tuple[str, ...], found: Callable[[dict[str, Any]], object]) -> None:
    """Find the objects that a path leads to; a list on the way, or at its end, stands for each of its items."""
    if is_list(value):
        for item in value:
            _visit(item, names, found)
    elif is_object(value):
        if names:
            _visit(value.get(names[0]), names[1:], found)
        else:
            found(value)
