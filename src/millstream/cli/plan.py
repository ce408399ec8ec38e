"""`millstream plan`: what stored events would break of a tracking plan, before it is switched on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from millstream.plan import Plan, Violation

from . import output
from .options import AsJson, help_of, option
from .stored import Selection, moment, open_log, stored
from .table import show

__all__ = ["app"]

MOST_ROWS = 10_000
"""Different violations that are told apart: all of them have to be in memory."""
_INDEX = re.compile(r"\.\d+(?=\.|$)")

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Check events against a tracking plan.")


@dataclass
class Row:
    """One violation, and how many events have it."""

    events: int
    kind: str
    event: str
    path: str
    message: str
    last: str
    """When the last of these events was received."""


@dataclass
class Tally:
    """What a check has found."""

    rows: dict[tuple[str, str, str], Row]
    checked: int = 0
    broken: int = 0
    """Events with a violation."""
    unreadable: int = 0
    more: int = 0
    """Violations of further kinds."""

    def add(self, violations: list[Violation], received_at: str) -> None:
        """Count one event."""
        self.checked += 1
        self.broken += bool(violations)
        kinds = {(each.kind, each.event, _INDEX.sub(".*", each.path)): each for each in violations}
        for key, violation in kinds.items():
            row = self.rows.get(key)
            if row is not None:
                row.events += 1
                row.last = received_at
            elif len(self.rows) < MOST_ROWS:
                self.rows[key] = Row(1, *key, violation.message.replace(violation.path, key[2]), received_at)
            else:
                self.more += 1


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tracking plan, as JSON.", show_default=False)],
    *,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    since: Annotated[
        str | None, option(help="Received from then on: a time (ISO 8601), or 90m, 2h, 7d ago.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, option(help="Received before then.", metavar="TIME")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the stored events break of a tracking plan, most often first.

    [bold]millstream plan check plan.json --data events --since 7d[/]

    The plan is in the format of Segment's Public API, of Typewriter (plan.json) or of RudderStack. Nothing is changed,
    and the collector may be running.

    Exit code: 0 if no event breaks the plan, 1 if one does, 2 for wrong usage.
    """
    plan = Plan.load(file)
    selection = Selection(
        since=moment(since, "--since") if since else "", until=moment(until, "--until") if until else ""
    )
    tally = _tally(plan, data, selection)
    rows = sorted(tally.rows.values(), key=lambda row: (-row.events, row.event, row.path))
    if as_json:
        output.print_json(
            {
                "events": tally.checked,
                "broken": tally.broken,
                "unreadable": tally.unreadable,
                "violations": [asdict(row) for row in rows],
            }
        )
    else:
        _print(tally, rows)
    if tally.broken:
        raise typer.Exit(1)


def _tally(plan: Plan, data: Path, selection: Selection) -> Tally:
    tally = Tally({})
    log = open_log(data)
    begin = log.first()
    with output.progress("checking", log.durable() - begin) as advance:
        for item in stored(log, selection):
            advance(item.end - begin, f"{tally.broken:,} of {tally.checked:,} events break the plan")
            try:
                event = None if item.fault else item.original()
            except (msgspec.DecodeError, RecursionError):
                event = None
            if event is None:
                tally.unreadable += 1
            else:
                tally.add(plan.check(event), item.received_at)
    return tally


def _print(tally: Tally, rows: list[Row]) -> None:
    if rows:
        columns = [("events", "BIGINT"), ("event", ""), ("kind", ""), ("what", ""), ("last", "")]
        show(columns, [(f"{row.events:,}", row.event, row.kind, row.message, row.last) for row in rows])
    output.say(f"{tally.broken:,} of {tally.checked:,} events break the plan.")
    if tally.more:
        output.warn(f"{tally.more:,} further violations are of more than {MOST_ROWS:,} kinds, and not in the table")
    if tally.unreadable:
        output.warn(f"{tally.unreadable:,} stored events cannot be read")


app.command("check", help=help_of(check))(check)
