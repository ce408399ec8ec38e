"""From the shapes of JSON objects to the columns of a table.

    shape    what DuckDB's json_structure says of one object: `{"plan": "VARCHAR", "address": {"city": "VARCHAR"}}`
    Node     what all shapes of a table's objects are together: a tree
    Column   a leaf of the tree, or several that have the same name in SQL

Every shape is looked at, and not a sample of the events: so the property that one event in a million has is found.
Pure: where the shapes come from is the business of `snapshot`.
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
"""Columns that the objects of one table become, the most frequent first: names that are data (`{"user-17": …}`) must
not make a table without end."""

_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
ISO_DATE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}( ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?))?)?"
"""What a string looks like that is a day or a moment. `re` and DuckDB agree on it."""
_is_date = re.compile(ISO_DATE).fullmatch

LARGE_NUMBER = r"[0-9]{19}|[0-9][eE][+]?[0-9]{3,}\s*[],}]"
"""Finds a number that BIGINT or DOUBLE may not hold, in the text of an object: a regular expression of DuckDB's."""

_INTEGERS = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"}
_BRACKET_OR_STRING = re.compile(r'[][{}]|"(?:[^"\\]|\\.)*"')
_is_index = re.compile("0|[1-9][0-9]*").fullmatch


@dataclass
class Node:
    """What is known of one place in the objects of a table.

    `types` are those of the values here that are no objects, and `count` is how many there are. `dates` says that
    each string that was looked at is a date, `large` that a number may be out of the range of its type: two guesses,
    which only a look at every value can confirm. `objects` and `lists` say that there are such here.
    """

    types: set[str] = field(default_factory=set[str])
    count: int = 0
    dates: bool = True
    large: bool = False
    objects: bool = False
    lists: bool = False
    children: dict[str, Node] = field(default_factory=dict[str, "Node"])

    def add(self, shape: object, sample: object, count: int = 1, *, large: bool = False) -> None:
        """Take in one shape.

        Args:
            shape: what json_structure says.
            sample: an object that has this shape.
            count: how many objects have it.
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
            pass  # makes no column
        elif isinstance(shape, str):
            self.types.add(shape)
            self.count += count
            self.large |= large and shape in {*_INTEGERS, "DOUBLE"}
            self.dates &= shape != "VARCHAR" or (isinstance(sample, str) and bool(_is_date(sample)))
        else:
            self.types.add("JSON")  # an array, of whatever
            self.count += count
            self.lists = True


@dataclass(frozen=True)
class Source:
    """Where values of a column are: a JSON pointer (RFC 6901).

    With `guarded`, objects may be there too, which have columns of their own. `within` are the places on the way where
    a list may be, whose elements a pointer would find as well.
    """

    pointer: str
    guarded: bool = False
    within: tuple[str, ...] = ()


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
) -> tuple[list[Column], Counter[str]]:
    """The columns of a table, by name; and how many values are in none of them, by reason.

    Args:
        root: the objects.
        not_free: names that no column may have.
        prefix: the first word of every name.
        taken_in: members that another column takes in.
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
    """JSON text with a list in the place of everything that is deeper than MAX_DEPTH."""
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
