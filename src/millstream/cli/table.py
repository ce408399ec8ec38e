"""Prints rows as a table, or value below value where a table would be too wide for the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import output

__all__ = ["iso", "show"]

_NUMBER = re.compile(r"DECIMAL(\(\d+,\d+\))?|DOUBLE|FLOAT|\w*INT|U?INTEGER")
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


def show(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows on standard output. If that is not a terminal, a table is as wide as needed.

    Args:
        columns: names and DuckDB's types.
        rows: a value for each column.
    """
    names = [output.printable(name) for name, _ in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(Text(name).cell_len, *(row[i].cell_len for row in cells), 1) for i, name in enumerate(names)]
    needed = sum(widths) + 3 * len(widths)  # with the separators
    console = output.console()
    if console.is_terminal and needed > console.width:
        _one_below_the_other(console, names, cells)
    else:
        _as_table(Console(highlight=False, width=max(needed, console.width)), columns, names, cells)


def iso(value: object) -> object:
    """Format a date or time as ISO 8601 (all of DuckDB's are in UTC here); return other values unchanged."""
    if isinstance(value, datetime):
        digits = "microseconds" if value.microsecond % 1000 else "milliseconds"
        return value.replace(tzinfo=None).isoformat(timespec=digits) + "Z"
    return value.isoformat() if isinstance(value, date) else value


def _as_table(
    console: Console, columns: Sequence[tuple[str, str]], names: Sequence[str], cells: Sequence[Sequence[Text]]
) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, (_, kind) in zip(names, columns, strict=True):
        table.add_column(Text(name), justify="right" if _NUMBER.fullmatch(kind) else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _one_below_the_other(console: Console, names: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    width = max(map(len, names))
    for number, row in enumerate(cells, 1):
        console.print(Text(f"── {number} ".ljust(width + 2, "─"), "dim"))
        for name, cell in zip(names, row, strict=True):
            console.print(Text(f"{name:<{width}}  ", "bold") + cell)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("NULL", "dim")
    value = iso(value)
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, list | dict | tuple | bytes):
        value = _encode(value).decode()
    return Text(output.printable(str(value)))
