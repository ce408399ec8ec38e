"""`millstream export`: writes a collector's stored events to files for other tools."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

from . import output
from .options import AsJson, option
from .stored import moment


class Format(str, Enum):
    """File formats."""

    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"


def export(
    to: Annotated[Path, option(help="A file, for one view; or a directory, for many.", metavar="FILE|DIR")],
    *,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    view: Annotated[list[str] | None, option(help="View to write; repeatable.", metavar="NAME")] = None,
    file_format: Annotated[Format | None, option("--format", help="File format.", metavar="parquet|csv|jsonl")] = None,
    since: Annotated[
        str | None, option(help="Received since: a time (ISO 8601), or an age such as 90m, 2h, 7d.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, option(help="Received before this time.", metavar="TIME")] = None,
    force: Annotated[bool, option("--force", help="Overwrite existing files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the stored events to Parquet, CSV or JSON Lines.

    [bold]millstream export --to orders.parquet --view order_completed --since 7d[/]

    Without --view a file gets all events (events), and a directory a file for each non-empty view. The default format
    is the file name's suffix, and Parquet in a directory. The collector may be running.

    Exit code: 0 on success, 1 on failure, 2 for wrong usage.
    """
    from millstream import warehouse  # noqa: PLC0415 - the other commands need no database

    received = (_moment(since, "--since"), _moment(until, "--until"))
    with output.progress("exporting", 100) as advance:
        written = warehouse.export(
            data,
            to,
            views=[name.lower() for name in view] if view else None,
            format=None if file_format is None else file_format.value,
            received=received,
            replace=force,
            on_progress=lambda done: advance(round(100 * done), ""),
            on_warning=output.warn,
        )
    if as_json:
        output.print_json([{"view": one.view, "path": str(one.path), "rows": one.rows} for one in written])
        return
    for one in written:
        output.say(f"{one.rows:>12,} rows  {output.printable(str(one.path))}")
    if not written:
        output.warn(f"no events to export in {data}")


def _moment(text: str | None, name: str) -> datetime | None:
    return datetime.fromisoformat(moment(text, name).replace("Z", "+00:00")) if text else None
