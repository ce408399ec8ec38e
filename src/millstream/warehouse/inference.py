"""Infers the columns of a table, in two passes.

The first pass is over the shapes of all objects, which are few: DuckDB lists them, with one object of each. The second
checks what shapes cannot tell for every value: whether all strings are dates, whether all integers fit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from .database import Database
from .names import literal
from .shapes import LARGE_NUMBER, Node, columns_of, shallow
from .tables import Members, Table

__all__ = ["Columns", "look"]


class Columns(NamedTuple):
    """The columns of a table from its own objects, and those from `context`.

    `omitted` counts values that are in no column, by reason.
    """

    members: Members
    context: Members
    omitted: Counter[str]


_OTHERWISE = {"TIMESTAMP": "VARCHAR", "BIGINT": "DECIMAL(20, 0)", "DOUBLE": "VARCHAR"}
"""The type of a column if the inferred one does not fit every value."""


def look(database: Database, tables: Mapping[str, Table], *, not_free: Collection[str]) -> dict[str, Columns]:
    """Infer the columns of each table.

    Args:
        database: with `store.named`.
        tables: by name.
        not_free: reserved column names.
    """
    typed = [table for table in tables.values() if not table.event]
    with_properties = {table.type for table in typed if table.objects == "properties"}
    with_traits = {table.type for table in typed if table.objects == "traits"}
    roots = {
        **_shapes(database, "properties", "type", with_properties, (0.6, 0.7)),
        **_shapes(database, "traits", "type", with_traits, (0.7, 0.75)),
        **_shapes(database, "properties", "event", {table.event for table in tables.values()}, (0.75, 0.85)),
    }
    contexts = _shapes(database, "context", "type", {table.type for table in tables.values()}, (0.85, 1))
    found: dict[str, Columns] = {}
    for name, table in tables.items():
        root = roots.get(("event", table.event) if table.event else ("type", table.type), Node())
        context, beyond = columns_of(contexts.get(("type", table.type), Node()), prefix="context", not_free=not_free)
        names = {*not_free, *table.not_free, *(column.name for column in context)}
        members, omitted = columns_of(root, not_free=names, taken_in=table.taken_in)
        columns = Columns(Members(table.objects, members), Members("context", context), omitted + beyond)
        found[name] = _confirmed(database, table, columns)
    return found


def _shapes(
    database: Database, objects: str, group: str, wanted: set[str], part: tuple[float, float]
) -> dict[tuple[str, str], Node]:
    """Merge the shapes of the objects in a column, for each wanted type (or event)."""
    roots: dict[tuple[str, str], Node] = {}
    if not (wanted := wanted - {""}):
        return roots
    rows = database.run(
        f"SELECT {group}, json_structure({objects}) AS shape, any_value({objects}), count(*), "
        f"bool_or(regexp_matches({objects}, {literal(LARGE_NUMBER)})) FROM store.named "
        f"WHERE {group} IN ({', '.join(map(literal, sorted(wanted)))}) AND {objects} IS NOT NULL GROUP BY 1, 2",
        part=part,
    )
    for name, shape, sample, count, large in rows:
        # A number may be too long for Python's int().
        decoded = json.loads(shallow(sample), parse_int=float)
        roots.setdefault((group, name), Node()).add(json.loads(shallow(shape)), decoded, count, large=large)
    return roots


def _confirmed(database: Database, table: Table, columns: Columns) -> Columns:
    """Check the inferred types against every value; count values hidden by another of the same event."""
    both = (columns.members, columns.context)
    doubtful = [(members, column) for members in both for column in members.columns if column.doubtful]
    shared = [members.hidden(column) for members in both for column in members.columns if len(column.sources) > 1]
    shared += [table.hidden(name) for name in table.taken_in]
    if not doubtful and not shared:
        return columns
    texts = "".join(f", {members.texts}" for members in both if members.texts)
    checks = [f"coalesce(bool_and({members.fits(column)}), true)" for members, column in doubtful]
    counts = f"coalesce(sum({' + '.join(shared or ['0'])}), 0)::BIGINT"
    (answer,) = database.run(
        f"SELECT {', '.join([*checks, counts])} FROM (SELECT *{texts} FROM store.named WHERE {table.rows})"
    )
    *fits, hidden = answer
    wrong = {column for (_, column), fit in zip(doubtful, fits, strict=True) if not fit}

    def mended(members: Members) -> Members:
        return Members(
            members.objects,
            [
                replace(column, type=_OTHERWISE[column.type]) if column in wrong else column
                for column in members.columns
            ],
        )

    return Columns(mended(columns.members), mended(columns.context), columns.omitted + Counter({"same_name": hidden}))
