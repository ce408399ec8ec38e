"""Read the values at some paths from an event; of its JSON, nothing but these is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec

from ..guards import is_mapping

__all__ = ["Names", "Reader", "value_at"]

Names = tuple[str, ...]


def value_at(value: Any, names: Sequence[str]) -> Any:
    """Return what some names in a row lead to; None where there is nothing."""
    for name in names:
        if value.__class__ is not dict and not is_mapping(value):  # the first is the usual, and fast to see
            return None
        value = value.get(name)
    return value


class Reader:
    """Reads the values at some paths, in their order.

    Args:
        paths: the paths, without repetition.
    """

    def __init__(self, paths: Sequence[Names]) -> None:
        self._paths = tuple(paths)
        # Of `properties` and `properties.price` the first is decoded, and the second is looked up in it.
        roots = [path for path in self._paths if not any(path[:n] in self._paths for n in range(1, len(path)))]
        struct, attributes = _struct(roots)
        self._decode = msgspec.json.Decoder(struct).decode
        # The first is repeated, because attrgetter makes no tuple of one name alone.
        self._values: Callable[[Any], Sequence[Any]] = (
            attrgetter(*attributes, attributes[0]) if attributes else _nothing
        )
        self._lookup = None if len(roots) == len(self._paths) else _lookup(self._paths, roots)

    def from_mapping(self, event: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values in a decoded event."""
        return [value_at(event, path) for path in self._paths]

    def from_json(self, data: bytes) -> Sequence[Any]:
        """Return the values in an encoded event.

        Raises:
            msgspec.DecodeError: it is no JSON.
        """
        try:
            values = self._values(self._decode(data))
        except msgspec.ValidationError:  # something on the way to a value is no object
            return self.from_mapping(msgspec.json.decode(data))
        return values if self._lookup is None else self._lookup(values)


def _nothing(_: Any) -> Sequence[Any]:
    return ()


def _struct(paths: Sequence[Names]) -> tuple[type[msgspec.Struct], list[str]]:
    """Return a struct with a place for each value, and the attributes that lead to these places."""
    members: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        members.setdefault(path[0], []).append(index)
    fields: list[tuple[str, type, Any]] = []
    attributes = [""] * len(paths)
    for number, indices in enumerate(members.values()):
        field = f"f{number}"
        if len(paths[indices[0]]) == 1:
            fields.append((field, cast("type", Any), None))
            attributes[indices[0]] = field
            continue
        inner, inside = _struct([paths[index][1:] for index in indices])
        fields.append((field, inner, msgspec.field(default=inner())))
        for index, attribute in zip(indices, inside, strict=True):
            attributes[index] = f"{field}.{attribute}"
    names = {field[0]: name for field, name in zip(fields, members, strict=True)}
    return msgspec.defstruct("Values", fields, frozen=True, gc=False, rename=names), attributes


def _lookup(paths: Sequence[Names], roots: Sequence[Names]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return what finds the values at all paths in the values at their roots."""
    steps: list[tuple[int, Names]] = []
    for path in paths:
        steps += [(n, path[len(root) :]) for n, root in enumerate(roots) if path[: len(root)] == root]
    return lambda values: [value_at(values[n], names) for n, names in steps]
