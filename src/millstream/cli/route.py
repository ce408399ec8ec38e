"""`millstream route`: the router alone, a check of its configuration, and what state it is in."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from millstream.errors import SettingsError

from . import output
from .configured import Config, Data, configuration_of, data_of
from .options import AsJson, help_of, option

if TYPE_CHECKING:
    from millstream.router import Configuration, RouteStatus

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Route a collector's events to destinations.")


def run(
    config: Config,
    data: Data = None,
    *,
    supervised: Annotated[bool, option("--supervised", help="End when standard input does.", hidden=True)] = False,
) -> None:
    """Route the events of a collector's directory, until SIGTERM or Ctrl-C. SIGHUP reads the configuration again.

    `millstream serve` does this by itself; alone it runs beside a collector that was started without destinations.
    """
    from millstream.router import Router  # noqa: PLC0415 - the other commands need none
    from millstream.router.alerts import Alarm  # noqa: PLC0415
    from millstream.router.configuration import check_transformations  # noqa: PLC0415
    from millstream.router.supervisor import when_orphaned  # noqa: PLC0415

    configuration = configuration_of(config)
    if not configuration.routes:
        raise SettingsError(f"{config} has no destinations: add a table [destinations.NAME]")
    log, alarm = _log_to_stderr(), Alarm()
    router = Router(data_of(data, configuration))

    def reload() -> None:
        """Read it again, on a thread of its own: events are routed meanwhile."""
        try:
            found = configuration_of(config)
            check_transformations(found.routes.values())
        except SettingsError as error:
            log.error("the configuration stays as it was: %s", error)  # noqa: TRY400 - there is nothing to trace
        else:
            router.post(lambda: apply(found))

    def apply(found: Configuration) -> None:
        changes = router.apply(found.routes.values())
        alarm.use(found.alerts)
        log.warning("the configuration was read again: %s", "; ".join(changes) or "no destination has changed")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: router.stop())
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda _number, _frame: threading.Thread(target=reload, daemon=True).start())
    if supervised:
        when_orphaned(router.stop)
    router.apply(configuration.routes.values())
    alarm.use(configuration.alerts)
    router.on_status = alarm.look
    if not supervised:
        output.announce(f"millstream router: {len(configuration.routes)} destinations (Ctrl-C to stop)")
    router.run()


def check(
    config: Config,
    *,
    send: Annotated[
        str | None, option(help="Send a test event to this destination.", metavar="NAME", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a configuration can be used, and send a test event.

    [bold]millstream route check --config collector.toml --send product[/]

    Exit code: 0 if it can be used, 2 if not; 1 if the test event was not taken.
    """
    from millstream.router.configuration import check_transformations  # noqa: PLC0415

    configuration = configuration_of(config)
    check_transformations(configuration.routes.values())
    found = [
        {"name": each.name, "type": each.type, "start": each.start, "in_flight": each.limits.in_flight}
        for each in configuration.routes.values()
    ]
    verdict = None
    if send is not None:
        from millstream.router.trial import send_test_event  # noqa: PLC0415 - a check alone needs no HTTP

        if send not in configuration.routes:
            raise SettingsError(f"there is no destination {send!r}; there are {', '.join(configuration.routes)}")
        verdict = send_test_event(configuration.routes[send])
    if as_json:
        output.print_json({"destinations": found, "sources": list(configuration.sources), "test": verdict})
    else:
        for each in found:
            output.say(f"{each['name']}: {each['type']}, starts from {each['start']}")
        output.say(f"{config} can be used.", "green")
        if verdict is not None:
            output.say(f"{send}: {verdict or 'it has taken the test event.'}", "red" if verdict else "green")
    if verdict:
        raise typer.Exit(1)


def status(config: Config = None, data: Data = None, *, as_json: AsJson = False) -> None:
    """Show each destination's state: how far behind it is, what it has sent, and its last error."""
    from millstream.router import statuses  # noqa: PLC0415
    from millstream.router.status import as_json as told  # noqa: PLC0415

    found = statuses(data_of(data, None if config is None else configuration_of(config)), time.time())
    if as_json:
        output.print_json([told(each) for each in found])
        return
    if not found:
        output.say("No destination has been routed to yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("destination", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("behind", "oldest", "rate", "delivered", "retried", "dropped", "dead"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last error")
    for each in found:
        table.add_row(*_row(each))
    output.show(table)


_COLORS = {"running": "green", "retrying": "yellow", "limited": "yellow", "stopped": "dim"}


def _row(status: RouteStatus) -> list[Text]:
    counters = status.counters
    return [
        Text(output.printable(status.name)),
        Text(status.state, _COLORS.get(status.state, "red")),
        Text(f"{status.lag_events:,}"),
        Text(f"{status.lag_seconds:,.0f} s" if status.lag_seconds else ""),
        Text(f"{status.rate:,.0f}/s"),
        Text(f"{counters.delivered:,}", "bold"),
        Text(f"{counters.retried:,}"),
        Text(f"{sum(counters.dropped.values()):,}"),
        Text(f"{counters.dead:,}", "red" if counters.dead else ""),
        Text(output.printable(status.last_error[:200])),
    ]


def _log_to_stderr() -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("millstream")
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
    return log


for name, command in (("run", run), ("check", check), ("status", status)):
    app.command(name, help=help_of(command))(command)
