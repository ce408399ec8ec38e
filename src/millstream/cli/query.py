"""`millstream query`: SQL over a collector's stored events."""

from __future__ import annotations

from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from . import output
from .options import AsJson, option
from .table import iso, show

if TYPE_CHECKING:
    from millstream.warehouse import Result

MOST_ROWS = 1_000
"""Rows of a printed table, which must fit into memory."""

_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement in DuckDB's SQL.", show_default=False)],
    *,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    as_json: AsJson = False,
) -> None:
    """Query the stored events with SQL.

    [bold]millstream query "select event, count(*) from tracks group by 1"[/]

    There is a view for every event (order_completed), and tracks, identifies, users, pages, screens, groups, accounts,
    aliases and events: millstream query "show tables". The collector may be running. A query changes nothing, and has
    no access to files.

    Exit code: 0 on success, 1 on failure, 2 for wrong usage.
    """
    from millstream import warehouse  # noqa: PLC0415 - the other commands need no database

    with output.progress("reading events", 100) as advance:
        result = warehouse.query(data, sql, on_progress=lambda done: advance(round(100 * done), ""))
    with result:
        if not result.files:
            output.warn(f"no events in {data}: it has no events-*.jsonl files")
        for warning in result.warnings:
            output.warn(f"{data}: {warning}")
        if as_json:
            _print_json(result)
        else:
            _print_table(result)


def _print_json(result: Result) -> None:
    """Print each row as a JSON object. A repeated column name gets a number."""
    names: list[str] = []
    for name, _ in result.columns:
        names.append(next(free for free in chain([name], map(f"{name}_{{}}".format, count(1))) if free not in names))
    raw = [kind == "JSON" for _, kind in result.columns]
    for row in result:
        values = (
            msgspec.Raw(value.encode()) if is_raw and value is not None else iso(value)
            for value, is_raw in zip(row, raw, strict=True)
        )
        output.write(_encode(dict(zip(names, values, strict=True))))


def _print_table(result: Result) -> None:
    rows = list(islice(result, MOST_ROWS + 1))
    show(result.columns, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        output.note(f"These are the first {MOST_ROWS:,} rows: add `limit`, or get all of them with --json.")
    else:
        output.note("1 row" if len(rows) == 1 else f"{len(rows):,} rows", "dim")
