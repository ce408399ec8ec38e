"""Rows for people: which columns are numbers, how a value looks, and that no value steers the terminal."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

pytest.importorskip("rich")

from millstream.cli import table


@pytest.mark.parametrize("kind", ["TINYINT", "BIGINT", "UBIGINT", "HUGEINT", "INTEGER", "UINTEGER", "DECIMAL(18,3)"])
def test_numbers_stand_to_the_right(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every numeric type of DuckDB is aligned at its last digit, and what is made of numbers is not."""
    table.show([("number", kind), ("list", f"{kind}[]")], [(7, [7])])
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("     7 ")
    assert row.rstrip().endswith("  [7]")
    assert row.index("[7]") == 9


def test_values_are_written_as_json_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, true, nested and exact values look as they do in JSON, and a missing one differs from its word."""
    rows = [(None,), (True,), ({"a": [Decimal("1.10")]},), (b"x",), (date(2024, 2, 16),)]
    table.show([("value", "VARCHAR")], rows)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[2:]] == [
        "NULL",
        "true",
        '{"a":[1.10]}',
        '"eA=="',
        "2024-02-16",
    ]


def test_a_moment_has_as_many_digits_as_it_needs() -> None:
    """Milliseconds as on the wire; microseconds only where there are some."""
    at = datetime(2024, 2, 16, 10, 0, 0, 5_000, timezone.utc)
    assert table.iso(at) == "2024-02-16T10:00:00.005Z"
    assert table.iso(at.replace(microsecond=5)) == "2024-02-16T10:00:00.000005Z"
    assert table.iso("2024") == "2024"


def test_a_value_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in names and values are shown, and nothing in them is taken for the markup of a style."""
    table.show([("na\x1bme", "VARCHAR")], [("[red]x\x1b[31m",)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"na\x1bme" in out
    assert r"[red]x\x1b[31m" in out


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard output is no terminal a row stays on one line, however wide."""
    table.show([("value", "VARCHAR")], [("x" * 500,)])
    assert "x" * 500 in capsys.readouterr().out
