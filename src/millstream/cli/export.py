"""`millstream export`: what a collector has stored, as files for other tools."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

from . import output
from .options import AsJson, option
from .stored import moment


class Format(str, Enum):
    """What the files are."""

    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"


def export(
    to: Annotated[Path, option(help="A file, for one view; or a directory, for many.", metavar="FILE|DIR")],
    *,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    view: Annotated[list[str] | None, option(help="Which view; repeatable.", metavar="NAME")] = None,
    file_format: Annotated[
        Format | None, option("--format", help="What the files are.", metavar="parquet|csv|jsonl")
    ] = None,
    since: Annotated[
        str | None, option(help="Received from then on: a time (ISO 8601), or 90m, 2h, 7d ago.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, option(help="Received before then.", metavar="TIME")] = None,
    force: Annotated[bool, option("--force", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the stored events to Parquet, CSV or JSON lines.

    [bold]millstream export --to orders.parquet --view order_completed --since 7d[/]

    Without --view a file gets all events (events), and a directory a file for each view that is not empty. The format
    is what the name of the file ends with; in a directory it is Parquet. The collector may be running.

    Exit code: 0 if all was written, 1 if not, 2 for wrong usage.
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
        output.warn(f"there is nothing to export in {data}")


def _moment(text: str | None, name: str) -> datetime | None:
    return datetime.fromisoformat(moment(text, name).replace("Z", "+00:00")) if text else None
