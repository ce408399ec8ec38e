"""The views held against Python's own reading of the lines: every value of every event, or a loss that is counted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stored import STANDARD_COLUMNS, Directory, event

from millstream.spec import MAX_DEPTH
from millstream.warehouse import query
from millstream.warehouse.names import identifier

BEYOND = "@1e400@"
"""Stands for a number that is written so: Python reads infinity, and would not write it."""

KEYS = st.sampled_from(
    ["a", "A", "a b", "b", "0", "1", "-", "id", "order", "userId", "x/y", "~", "", "a\0b", "é", "it's"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([BEYOND, 1e300, -0.0])
    | st.sampled_from(["2026-01-02", "2026-01-02T03:04:05.678+02:00", "2026-02-31", "epoch", "infinity", "1", "true"])
    | st.text(max_size=5)
    | st.sampled_from(["[x] " * 100, '{"' * 100, "\\" * 3, "{}", "null"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
WIDE = st.just([{"sku": f"s{n}", "sizes": [n]} for n in range(60)])
DEEP = st.integers(MAX_DEPTH - 3, MAX_DEPTH + 300).map(lambda depth: json.loads('{"a":' * depth + "1" + "}" * depth))
OBJECTS = st.dictionaries(KEYS, VALUES | WIDE | DEEP, max_size=5)

WIDE_ORDER = {"revenue": 99.75, "coupon": "X9", "bulk": True, "products": [{"sku": n} for n in range(98)]}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(OBJECTS, OBJECTS), min_size=1, max_size=5))
@example([({"revenue": 10, "coupon": 5}, {}), (WIDE_ORDER, {})])
@example([({"a": {"0": 1}}, {}), ({"a": [7]}, {})])
@example([({"a": "x"}, {}), ({"a": {}}, {})])
@example([({"a": 1.5}, {}), ({"a": BEYOND}, {})])
@example([({"a": 1, "A": 2}, {"a": 1})])
def test_the_views_have_what_is_in_the_lines(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """A column has the type that fits all of its values, a cell the value of its event, and each loss is counted."""
    stored = Directory(tmp_path_factory.mktemp("data"))
    lines = [
        json.dumps(event(event="Paid", messageId=str(number), properties=properties, context=context))
        for number, (properties, context) in enumerate(events)
    ]
    stored.add(*[line.replace(f'"{BEYOND}"', "1e400").encode() for line in lines])
    with query(stored.path, "select * from paid") as result:
        types = {name: kind for name, kind in result.columns if name not in STANDARD_COLUMNS}
        rows = [dict(zip([name for name, _ in result.columns], row, strict=True)) for row in result]
        omitted = result.omitted.get("paid", {})
    read = [json.loads(line) for line in file_lines(stored)]
    expected, unnamed = cells(read)

    names = {name for row in expected.values() for name in row}
    assert types == {name: type_of([v for row in expected.values() for v in row.get(name, [])]) for name in names}
    for row in rows:
        of_event = expected[row["id"]]
        for name, kind in types.items():
            values = of_event.get(name, [])
            if not values:
                assert row[name] is None, (name, row[name])
            else:
                assert any(is_same(row[name], kind, value) for value in values), (name, kind, row[name], values)
    assert omitted.get("nul_in_name", 0) == unnamed
    hidden = [values for row in expected.values() for values in row.values() if len(values) > 1]
    most, least = sum(len(values) - 1 for values in hidden), sum(len(set(map(loosely, v))) - 1 for v in hidden)
    assert least <= omitted.get("same_name", 0) <= most


def file_lines(stored: Directory) -> Iterator[bytes]:
    for path in sorted(stored.path.iterdir()):
        yield from path.read_bytes().splitlines()


def keywords() -> set[str]:
    with duckdb.connect() as database:
        found = database.execute("SELECT keyword_category, keyword_name FROM duckdb_keywords()").fetchall()
    of = {category: {name for each, name in found if each == category} for category, _ in found}
    return of["reserved"] | (of["type_function"] - of["column_name"])


KEYWORDS = keywords()


def cells(read: list[dict[str, Any]]) -> tuple[dict[str, dict[str, list[Any]]], int]:
    """By event and column, the values that the cell may have; and how many values no column can be named for."""
    expected: dict[str, dict[str, list[Any]]] = {each["messageId"]: {} for each in read}
    unnamed = 0
    taken = KEYWORDS | (STANDARD_COLUMNS - {"name", "category", "group_id", "previous_id"})
    for member, prefix in (("context", "context"), ("properties", "")):
        free = set(taken)
        for each in read:
            for path, value in leaves(each[member]):
                if any("\0" in key for key in path):
                    unnamed += 1
                    continue
                name = identifier(" ".join((prefix, *path)), not_free=free)
                expected[each["messageId"]].setdefault(name, []).append(value)
                if member == "context":
                    taken = taken | {name}
    return expected, unnamed


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What makes columns: all that is neither null nor an object, and what is too deep to be looked into."""
    for key, inner in value.items():
        if isinstance(inner, dict) and len(path) + 1 < MAX_DEPTH:
            yield from leaves(inner, (*path, key))
        elif inner is not None:
            yield (*path, key), inner


def type_of(values: list[Any]) -> str:
    kinds = {kind_of(value) for value in values}
    if "JSON" in kinds:
        return "JSON"
    if kinds == {"integer"}:
        fits = all(-(2**63) <= value < 2**63 for value in values)
        return "BIGINT" if fits else "DECIMAL(20,0)"
    if kinds <= {"integer", "number"}:
        return "VARCHAR" if any(math.isinf(float(value)) for value in values) else "DOUBLE"
    if kinds == {"string"} and all(map(moment, values)):
        return "TIMESTAMP"
    return "BOOLEAN" if kinds == {"boolean"} else "VARCHAR"


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**64 else "number"
    return {float: "number", str: "string"}.get(type(value), "JSON")


ISO = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d\.\d{3}\+\d\d:\d\d)?", re.ASCII)


def moment(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text) if ISO.fullmatch(text) else None
    except ValueError:
        return None
    return parsed and (parsed.astimezone(timezone.utc).replace(tzinfo=None) if parsed.tzinfo else parsed)


def is_same(cell: Any, kind: str, value: Any) -> bool:
    """Whether a cell of this type is this value."""
    if cell is None:
        return False
    match kind:
        case "JSON":
            return same_json(json.loads(cell), value)
        case "TIMESTAMP":
            return cell == moment(value)
        case "DOUBLE":
            return cell == float(value)
        case "VARCHAR":
            return cell == value if isinstance(value, str) else same_json(decoded(cell), value)
        case _:
            return (Decimal(cell) == value) if not isinstance(value, bool) else cell is value


def decoded(text: str) -> Any:
    """The JSON value that a text is, or the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def same_json(one: Any, other: Any) -> bool:
    """Equal, where an integer that 64 bits cannot hold may have become a float."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return {type(one), type(other)} <= {int, float} and float(one) == float(other)
    return type(one) is type(other) and one == other


def loosely(value: Any) -> str:
    """The same for values that SQL may write alike."""
    value = decoded(value) if isinstance(value, str) else value
    return str(float(value)) if isinstance(value, (bool, int, float)) else json.dumps(value)
