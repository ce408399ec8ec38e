"""From the shapes of JSON objects to the columns of a table.

    shape    what DuckDB's json_structure says of one object: `{"plan": "VARCHAR", "address": {"city": "VARCHAR"}}`
    Node     what all shapes of a table's objects are together: a tree
    Column   a leaf of the tree, or several that have the same name in SQL

Every shape is looked at, and not a sample of the events: so the property that one event in a million has is found.
Pure: where the shapes come from is the business of `snapshot`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .names import identifier

__all__ = ["ISO_DATE", "MAX_COLUMNS", "Column", "Node", "Source", "columns_of"]

MAX_COLUMNS = 1_000
"""Columns that the objects of one table become, the most frequent first: names that are data (`{"user-17": …}`) must
not make a table without end."""

_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
ISO_DATE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}( ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?))?)?"
"""What a string looks like that is a day or a moment. `re` and DuckDB agree on it."""
_is_date = re.compile(ISO_DATE).fullmatch

_INTEGERS = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"}


@dataclass
class Node:
    """What is known of one place in the objects of a table.

    `types` are those of the values here that are no objects, and `count` is how many there are. `dates` says that
    each string that was looked at is a date, `long` that an integer may have 19 digits or more: two guesses, which
    only a look at every value can confirm.
    """

    types: set[str] = field(default_factory=set[str])
    count: int = 0
    dates: bool = True
    long: bool = False
    children: dict[str, Node] = field(default_factory=dict[str, "Node"])

    def add(self, shape: object, sample: object, count: int = 1, *, long: bool = False) -> None:
        """Take in one shape.

        Args:
            shape: what json_structure says.
            sample: an object that has this shape.
            count: how many objects have it.
            long: whether 19 digits in a row are in one of them.
        """
        if isinstance(shape, dict):
            inside = cast("Mapping[str, Any]", sample if isinstance(sample, dict) else {})
            for key, inner in cast("Mapping[str, Any]", shape).items():
                if "\0" not in key:  # SQL has no way to write it
                    self.children.setdefault(key, Node()).add(inner, inside.get(key), count, long=long)
        elif shape == "NULL" or sample == {}:
            pass  # makes no column
        elif isinstance(shape, str):
            self.types.add(shape)
            self.count += count
            self.long |= long and shape in _INTEGERS
            self.dates &= shape != "VARCHAR" or (isinstance(sample, str) and bool(_is_date(sample)))
        else:
            self.types.add("JSON")  # an array, of whatever
            self.count += count


@dataclass(frozen=True)
class Source:
    """Where values of a column are: a JSON pointer (RFC 6901).

    With `guarded`, objects may be there too, which have columns of their own.
    """

    pointer: str
    guarded: bool = False


@dataclass(frozen=True)
class Column:
    """A column: the value of the first of its sources that has one.

    `type` is one of DuckDB's. If it is `doubtful`, it was guessed from some of the values.
    """

    name: str
    type: str
    sources: tuple[Source, ...]
    doubtful: bool = False


def columns_of(
    root: Node, *, not_free: Collection[str], prefix: str = "", taken_in: Collection[str] = ()
) -> list[Column]:
    """The columns of a table, by name.

    Args:
        root: the objects.
        not_free: names that no column may have.
        prefix: the first word of every name.
        taken_in: members that another column takes in.
    """
    leaves = sorted(_leaves(root), key=lambda leaf: -leaf[1].count)[:MAX_COLUMNS]
    found: dict[str, list[tuple[Source, Node]]] = {}
    for path, node in leaves:
        if path[0] in taken_in and len(path) == 1:
            continue
        name = identifier(" ".join((prefix, *path)), not_free=not_free)
        found.setdefault(name, []).append((Source(_pointer(path), guarded=bool(node.children)), node))
    return [_column(name, found[name]) for name in sorted(found)]


def _leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    if node.types and path:
        yield path, node
    for key, child in node.children.items():
        yield from _leaves(child, (*path, key))


def _pointer(path: tuple[str, ...]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _column(name: str, places: list[tuple[Source, Node]]) -> Column:
    types = {kind for _, node in places for kind in node.types}
    sources = tuple(sorted((source for source, _ in places), key=lambda source: source.pointer))
    if types == {"VARCHAR"} and all(node.dates for _, node in places):
        return Column(name, "TIMESTAMP", sources, doubtful=True)
    if types <= _INTEGERS:
        return Column(name, "BIGINT", sources, doubtful=any(node.long for _, node in places))
    if types <= {*_INTEGERS, "DOUBLE"}:
        return Column(name, "DOUBLE", sources)
    if "JSON" in types:
        return Column(name, "JSON", sources)
    return Column(name, types.pop() if len(types) == 1 else "VARCHAR", sources)
