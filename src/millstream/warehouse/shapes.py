"""Makes the columns of a table from the shapes of JSON objects.

    shape    DuckDB's json_structure of an object: `{"plan": "VARCHAR", "address": {"city": "VARCHAR"}}`
    Node     all shapes of a table's objects merged: a tree
    Column   a leaf of the tree, or several with the same name in SQL

All shapes are merged, not a sample of the events, so that a property of one event in a million is found. Pure:
`inference` reads the shapes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..spec import MAX_DEPTH
from .names import identifier

__all__ = [
    "ISO_DATE",
    "LARGE_NUMBER",
    "MAX_COLUMNS",
    "Column",
    "Node",
    "Source",
    "columns_of",
    "shallow",
]

MAX_COLUMNS = 1_000
"""Columns from the objects of a table, the most frequent first: data used as names (`{"user-17": …}`) must not add
columns without end."""

_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
ISO_DATE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}( ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?))?)?"
"""The pattern of a date or a time, for `re` and DuckDB."""
_is_date = re.compile(ISO_DATE).fullmatch

LARGE_NUMBER = r"[0-9]{19}|[0-9][eE][+]?[0-9]{3,}\s*[],}]"
"""A pattern, for DuckDB, of numbers that may exceed BIGINT or DOUBLE, in the text of an object."""

_INTEGERS = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"}
_BRACKET_OR_STRING = re.compile(r'[][{}]|"(?:[^"\\]|\\.)*"')
_is_index = re.compile("0|[1-9][0-9]*").fullmatch


@dataclass
class Node:
    """A place in the objects of a table.

    `types` are those of the values here that are not objects, and `count` is their number. `dates` guesses that each
    string is a date, `large` that a number may exceed its type; only checking every value confirms them. `objects` and
    `lists` say that some values are such.
    """

    types: set[str] = field(default_factory=set[str])
    count: int = 0
    dates: bool = True
    large: bool = False
    objects: bool = False
    lists: bool = False
    children: dict[str, Node] = field(default_factory=dict[str, "Node"])

    def add(self, shape: object, sample: object, count: int = 1, *, large: bool = False) -> None:
        """Merge a shape.

        Args:
            shape: from json_structure.
            sample: an object that has this shape.
            count: the number of objects with this shape.
            large: whether LARGE_NUMBER is in one of them.
        """
        if isinstance(shape, dict):
            self.objects = True
            inside = cast("Mapping[str, Any]", sample if isinstance(sample, dict) else {})
            for key, inner in cast("Mapping[str, Any]", shape).items():
                self.children.setdefault(key, Node()).add(inner, inside.get(key), count, large=large)
        elif sample == {}:
            self.objects = True
        elif shape == "NULL":
            pass  # adds no column
        elif isinstance(shape, str):
            self.types.add(shape)
            self.count += count
            self.large |= large and shape in {*_INTEGERS, "DOUBLE"}
            self.dates &= shape != "VARCHAR" or (isinstance(sample, str) and bool(_is_date(sample)))
        else:
            self.types.add("JSON")  # an array of any type
            self.count += count
            self.lists = True


@dataclass(frozen=True)
class Source:
    """The place of values in a column: a JSON pointer (RFC 6901).

    With `guarded`, some values here are objects, with columns of their own. `within` are places on the way where a
    list may be, into whose elements a pointer would reach.
    """

    pointer: str
    guarded: bool = False
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column: the first value among its sources.

    `type` is a DuckDB type. If `doubtful`, it was inferred from some of the values.
    """

    name: str
    type: str
    sources: tuple[Source, ...]
    doubtful: bool = False


def columns_of(
    root: Node, *, not_free: Collection[str], prefix: str = "", taken_in: Collection[str] = ()
) -> tuple[list[Column], Counter[str]]:
    """Make the columns of a table, by name; count values that are in no column, by reason.

    Args:
        root: the objects.
        not_free: reserved column names.
        prefix: a prefix for all names.
        taken_in: members shown in another column.
    """
    omitted: Counter[str] = Counter()
    leaves: list[tuple[tuple[str, ...], Source, Node]] = []
    for path, source, node in sorted(_leaves(root), key=lambda leaf: -leaf[2].count):
        if any("\0" in key for key in path):
            omitted["nul_in_name"] += node.count
        elif len(leaves) == MAX_COLUMNS:
            omitted["too_many_columns"] += node.count
        else:
            leaves.append((path, source, node))
    found: dict[str, list[tuple[Source, Node]]] = {}
    for path, source, node in leaves:
        if path[0] in taken_in and len(path) == 1:
            continue
        name = identifier(" ".join((prefix, *path)), not_free=not_free)
        found.setdefault(name, []).append((source, node))
    return [_column(name, found[name]) for name in sorted(found)], omitted


def _leaves(
    node: Node, path: tuple[str, ...] = (), within: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Source, Node]]:
    here = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
    if node.types and path:
        yield path, Source(here, guarded=node.objects, within=within), node
    for key, child in node.children.items():
        yield from _leaves(child, (*path, key), (*within, here) if node.lists and _is_index(key) else within)


def _column(name: str, places: list[tuple[Source, Node]]) -> Column:
    types = {kind for _, node in places for kind in node.types}
    sources = tuple(sorted((source for source, _ in places), key=lambda source: source.pointer))
    large = any(node.large for _, node in places)
    if types == {"VARCHAR"} and all(node.dates for _, node in places):
        return Column(name, "TIMESTAMP", sources, doubtful=True)
    if types <= _INTEGERS:
        return Column(name, "BIGINT", sources, doubtful=large)
    if types <= {*_INTEGERS, "DOUBLE"}:
        return Column(name, "DOUBLE", sources, doubtful=large)
    if "JSON" in types:
        return Column(name, "JSON", sources)
    return Column(name, types.pop() if len(types) == 1 else "VARCHAR", sources)


def shallow(text: str) -> str:
    """Replace everything nested deeper than MAX_DEPTH in a JSON text by a list."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return text
    parts: list[str] = []
    depth = kept = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        if match[0] in {"{", "["}:
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts.append(text[kept : match.start()])
        elif match[0] in {"}", "]"}:
            if depth == MAX_DEPTH + 1:
                parts.append("[[]]")
                kept = match.end()
            depth -= 1
    return "".join((*parts, text[kept:]))
