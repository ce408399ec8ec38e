"""`millstream transform`: what a function would make of stored events."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from millstream.router.transform import Failed, Transformation

from . import output
from .options import option
from .stored import Selection, moment, open_log, stored

CHUNK = 100
"""Events that are run at a time."""


def transform(
    function: Annotated[
        str, typer.Argument(metavar="MODULE:FUNCTION", help="A function of an event.", show_default=False)
    ],
    *,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    event: Annotated[list[str] | None, option(help="Only this event; repeatable.", metavar="NAME")] = None,
    since: Annotated[
        str | None, option(help="Received from then on: a time (ISO 8601), or 90m, 2h, 7d ago.", metavar="TIME")
    ] = None,
    limit: Annotated[int, option("--limit", "-n", help="Number of events.", metavar="N", min=1)] = 10,
    deadline: Annotated[float, option(help="How long one event may take.", metavar="SECONDS", min=0.01)] = 1.0,
) -> None:
    """Show what a function would make of stored events, before and after, one JSON object a line.

    [bold]millstream transform rules:add_currency --data events -n 3[/]

    The module is looked for in this directory first. It runs as it would in a router: in a process of its own, with the
    same limits. Nothing is changed or sent.

    Exit code: 0 if no event failed, 1 if one did, 2 for wrong usage.
    """
    selection = Selection(since=moment(since, "--since") if since else "", events=frozenset(event or ()))
    records = islice((item.record for item in stored(open_log(data), selection) if not item.fault), limit)
    failed = False
    with Transformation(function, deadline=deadline, folder=Path.cwd()) as transformation:
        while chunk := [*islice(records, CHUNK)]:
            for before, outcome in zip(chunk, transformation.run(chunk), strict=True):
                line: dict[str, object] = {"before": msgspec.Raw(before)}
                if isinstance(outcome, Failed):
                    failed = True
                    line["failed"] = outcome.reason
                else:
                    line["after"] = [*map(msgspec.Raw, outcome.events)]
                output.write(msgspec.json.encode(line))
    if failed:
        raise typer.Exit(1)
