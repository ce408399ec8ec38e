"""`millstream deadletters`: what destinations did not take, why, and another attempt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from millstream._core.events.encode import decode
from millstream.errors import SettingsError

from . import output
from .configured import Config, Data, configuration_of, data_of
from .options import AsJson, help_of, option
from .table import show as show_table

if TYPE_CHECKING:
    from millstream.router import DeadLetter

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at events that destinations did not take, and send them again.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The destination.", show_default=False)]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Destinations; all without any.")]
Id = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]…", help="Ids of letters, or messageIds; all without any.")
]
Limit = Annotated[int, option("--limit", "-n", help="So many of the latest, at most.", metavar="N", min=1)]


def list_letters(
    name: Names = None, config: Config = None, data: Data = None, *, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """List dead letters, the latest last: which event, what was said of it, and after how many attempts."""
    directory = _directory(config, data)
    found = [letter for each in _routes(directory, name) for letter in _letters(directory, each)]
    found.sort(key=lambda each: each.last_attempted_at)
    shown = found[-limit:]
    if as_json:
        output.print_json([_told(each) for each in shown])
        return
    if not found:
        output.say("There are no dead letters.")
        return
    columns = [
        ("destination", ""),
        ("id", ""),
        ("when", ""),
        ("event", ""),
        ("code", ""),
        ("status", "INT"),
        ("attempts", "INT"),
        ("reason", ""),
    ]
    show_table(columns, [_row(each) for each in shown])
    if len(shown) < len(found):
        output.note(f"{len(found) - len(shown):,} older ones: --limit {len(found)}")


def show(
    name: Name,
    letter: Annotated[str, typer.Argument(metavar="ID", help="The id of a letter, or a messageId.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Show one dead letter with its event, as JSON."""
    found = _chosen(_directory(config, data), name, [letter])
    for each in found:
        output.say(msgspec.json.format(msgspec.json.encode(_told(each, whole=True)), indent=2).decode())


def export(name: Names = None, config: Config = None, data: Data = None) -> None:
    """Print dead letters as JSON lines, each with its event."""
    directory = _directory(config, data)
    for each in _routes(directory, name):
        for letter in _letters(directory, each):
            output.write(msgspec.json.encode(_told(letter, whole=True)))


def retry(
    name: Name,
    ids: Id = None,
    config: Config = None,
    data: Data = None,
    *,
    drop: Annotated[bool, option("--drop", help="Send nothing, and forget them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to their destination again, one after the other. Those that it takes now are done with.

    The events are those that are stored, mapped as the configuration says now. The router may be running.

    Exit code: 0 if all were taken, 1 if not, 2 for wrong usage.
    """
    from millstream.router.dead_letters import mark_done  # noqa: PLC0415
    from millstream.router.trial import send_event  # noqa: PLC0415

    directory = _directory(config, data)
    chosen = _chosen(directory, name, ids or [])
    settings = None
    if not drop:
        routes = configuration_of(config).routes
        if name not in routes:
            raise SettingsError(f"the configuration has no destination {name!r}; it has {', '.join(routes) or 'none'}")
        settings = routes[name]
    failed: dict[str, str] = {}
    for each in chosen:
        wrong = "" if settings is None else send_event(settings, bytes(each.event))
        if wrong:
            failed[each.id] = wrong
        else:
            mark_done(directory, name, [each.id])
    done = len(chosen) - len(failed)
    if as_json:
        output.print_json({"done": done, "failed": failed})
    else:
        output.say(f"{done:,} of {len(chosen):,} dead letters {'forgotten' if drop else 'delivered'}.")
        for letter, wrong in list(failed.items())[:20]:
            output.say(f"  {letter}: {output.printable(wrong)}", "red")
    if failed:
        raise typer.Exit(1)


for command_name, command in (("list", list_letters), ("show", show), ("retry", retry), ("export", export)):
    app.command(command_name, help=help_of(command))(command)


def _directory(config: Path | None, data: Path | None) -> Path:
    return data_of(data, None if config is None or data is not None else configuration_of(config))


def _routes(directory: Path, names: list[str] | None) -> list[str]:
    from millstream.router.dead_letters import routes_with_letters  # noqa: PLC0415

    return names or routes_with_letters(directory)


def _letters(directory: Path, route: str) -> list[DeadLetter]:
    from millstream.router import letters_in  # noqa: PLC0415

    try:
        return letters_in(directory, route)
    except OSError as error:
        raise SettingsError(f"cannot read the dead letters in {directory}: {error.strerror}") from error


def _chosen(directory: Path, route: str, ids: list[str]) -> list[DeadLetter]:
    found = _letters(directory, route)
    if not ids:
        return found
    wanted = set(ids)
    chosen = [each for each in found if each.id in wanted or each.message_id in wanted]
    if missing := wanted - {each.id for each in chosen} - {each.message_id for each in chosen}:
        raise SettingsError(f"{route} has no dead letter {', '.join(sorted(missing))}")
    return chosen


def _told(letter: DeadLetter, *, whole: bool = False) -> dict[str, object]:
    names = zip(letter.__struct_fields__, letter.__struct_encode_fields__, strict=True)
    return {encoded: getattr(letter, field) for field, encoded in names if whole or field != "event"}


def _row(letter: DeadLetter) -> list[object]:
    try:
        event = decode(bytes(letter.event))
        title = f"{event.get('type', '?')} {event.get('event') or event.get('name') or ''}".strip()
    except (msgspec.DecodeError, RecursionError):
        title = "?"
    return [
        letter.destination,
        letter.id,
        letter.last_attempted_at,
        title,
        letter.code,
        letter.status,
        letter.attempts,
        letter.reason[:200],
    ]
