"""`millstream suppress`: users of whom a collector keeps no events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import msgspec

from millstream.errors import SettingsError

from . import output
from .options import AsJson, option


def suppress(
    *,
    user: Annotated[
        list[str] | None, option("--user", help="The userId of a user to suppress; repeatable.", metavar="ID")
    ] = None,
    remove: Annotated[bool, option("--remove", help="Keep the events of these users again.")] = False,
    data: Annotated[Path, option(help="The collector's data directory.", metavar="DIR")] = Path("millstream-data"),
    as_json: AsJson = False,
) -> None:
    """Have a collector keep no more events of some users; or list those who are suppressed.

    [bold]millstream suppress --user user-17 --data events[/]

    A collector that is running notices within two seconds. Events with this userId, or this previousId, are counted as
    rejected (user_suppressed), and nothing of them is stored. What was stored before stays.

    Exit code: 0 if it was done, 1 if not, 2 for wrong usage.
    """
    from millstream.collector.suppression import SuppressionList  # noqa: PLC0415 - the others need no collector

    if not data.is_dir():
        raise SettingsError(f"there is no directory {data}: name the collector's with --data")
    if user is None and remove:
        raise SettingsError("--remove needs a user: pass --user ID")
    if user and not all(user):
        raise SettingsError("--user must not be empty")
    suppressions = SuppressionList(data)
    if user is None:
        _list(suppressions.read(), as_json=as_json)
        return
    changed = suppressions.remove(user) if remove else suppressions.add(user, datetime.now(timezone.utc))
    if as_json:
        output.print_json({"removed" if remove else "suppressed": changed})
        return
    done, else_ = ("removed", "was not suppressed") if remove else ("suppressed", "was suppressed already")
    for each in dict.fromkeys(user):
        output.say(f"{output.printable(each)}: {done if each in changed else else_}")


def _list(found: Sequence[msgspec.Struct], *, as_json: bool) -> None:
    rows = [msgspec.to_builtins(each) for each in found]
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        output.say(f"{row['suppressedAt'] or '?':<24}  {output.printable(row['userId'])}")
    if not rows:
        output.say("No user is suppressed.")
