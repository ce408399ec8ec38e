"""`millstream spool`: inspects a spool directory, also one copied from elsewhere, and delivers it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from millstream._core.events.encode import decode
from millstream.errors import SettingsError
from millstream.spool.inspect import LaneInfo, events, lanes

from . import output
from .drain import drain
from .oneline import one_line
from .options import AsJson, SpoolDir, help_of, option

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Inspect a spool directory, and deliver its events."
)


def list_lanes(directory: SpoolDir, *, as_json: AsJson = False) -> None:
    """List the lanes. Each was written by one process, and holds undelivered events."""
    found = _lanes(directory)
    if as_json:
        output.print_json([_told(lane) for lane in found])
        return
    if not found:
        output.say("The spool is empty.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("lane", "owner", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("events", "size", "corrupt", "age"):
        table.add_column(heading, justify="right", no_wrap=True)
    for lane in found:
        table.add_row(*_row(lane))
    output.show(table)


def count_events(directory: SpoolDir, *, as_json: AsJson = False) -> None:
    """Count the undelivered events."""
    found = _lanes(directory)
    total = sum(lane.events for lane in found)
    if not as_json:
        output.say(f"{total:,}")
        return
    left_behind = sum(lane.events for lane in found if not lane.alive)
    corrupt = sum(lane.corrupt for lane in found)
    output.print_json({"events": total, "left_behind": left_behind, "corrupt": corrupt, "lanes": len(found)})


def show(
    directory: SpoolDir,
    *,
    limit: Annotated[int | None, option("--limit", "-n", help="Number of events, at most.", metavar="N", min=1)] = None,
) -> None:
    """Show the undelivered events, one per line, the oldest lane first."""
    console = output.console()
    width = console.width if console.is_terminal else None
    for number, record in enumerate(_events(directory)):
        if limit is not None and number >= limit:
            break
        console.print(one_line(decode(record), width=width))


def export(directory: SpoolDir) -> None:
    """Print the undelivered events as JSON Lines.

    [bold]millstream spool export DIR | millstream send -[/] delivers them, and leaves the spool unchanged.
    """
    for record in _events(directory):
        output.write(record)


for name, command in (
    ("list", list_lanes),
    ("count", count_events),
    ("show", show),
    ("export", export),
    ("drain", drain),
):
    app.command(name, help=help_of(command))(command)


def _lanes(directory: Path) -> list[LaneInfo]:
    try:
        return lanes(directory)
    except OSError as error:
        raise _cannot_read(directory, error) from error


def _events(directory: Path) -> Iterator[bytes]:
    try:
        yield from events(directory)
    except OSError as error:
        raise _cannot_read(directory, error) from error


def _cannot_read(directory: Path, error: OSError) -> SettingsError:
    return SettingsError(f"cannot read the spool {directory}: {error.strerror}")


def _told(lane: LaneInfo) -> dict[str, Any]:
    owner = None if lane.owner is None else msgspec.to_builtins(lane.owner)
    return {**asdict(lane), "path": str(lane.path), "owner": owner, "known": lane.known}


def _row(lane: LaneInfo) -> list[Text]:
    owner = f"{lane.owner.host} {lane.owner.pid}" if lane.owner else "?"
    state = Text("alive", "green") if lane.alive else Text("left behind", "yellow")
    if not lane.known:
        state = Text("not known", "red")
    name = lane.path.name
    return [
        Text(f"{name[:8]}…{name[-4:]}"),
        Text(output.printable(owner)),
        state,
        Text(f"{lane.events:,}", "bold"),
        Text(_bytes(lane.size)),
        Text(f"{lane.corrupt:,}", "red" if lane.corrupt else ""),
        Text("" if lane.oldest is None else _age(time.time() - lane.oldest)),
    ]


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
