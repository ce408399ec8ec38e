"""`millstream tail`: follows the events that a collector receives."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

import msgspec
import typer
import urllib3
from rich.text import Text
from urllib3.exceptions import HTTPError

from millstream.errors import MillstreamError
from millstream.http._common import no_answer
from millstream.http._environment import proxy_from_environment
from millstream.http.urllib3 import pool_for
from millstream.settings import Settings
from millstream.spec import TYPES
from millstream.types import Event

from . import options, output
from .oneline import one_line
from .options import option
from .sse import Message, messages
from .streams import Lost

__all__ = ["tail"]

LOCAL = "http://127.0.0.1:7070"
OUTCOMES = ("stored", "duplicate", "rejected", "refused")
SILENCE = 15.0
"""Seconds of silence after which a connection counts as lost: the collector sends something every second."""
PAUSES = (0.2, 1.0, 2.0, 5.0)
"""Seconds before each attempt to reconnect; the last one repeats."""
_WHICH = "Which events"
_OUTCOME_STYLES = {"duplicate": "yellow", "rejected": "bold red", "refused": "bold red"}


def tail(
    host: Annotated[
        str, option(help="The collector's base URL.", metavar="URL", panel=options.WHERE, envvar="MILLSTREAM_HOST")
    ] = LOCAL,
    token: Annotated[
        str | None,
        option(
            help="The collector's token.", metavar="TOKEN", panel=options.WHERE, envvar="MILLSTREAM_COLLECTOR_TOKEN"
        ),
    ] = None,
    last: Annotated[
        int, option("--last", "-n", help="Number of past events to show first.", metavar="N", panel=_WHICH, min=0)
    ] = 10,
    kind: Annotated[
        list[str] | None, option("--type", help="Event type; repeatable.", metavar="TYPE", panel=_WHICH)
    ] = None,
    event: Annotated[str | None, option(help="Part of the event's name.", metavar="TEXT", panel=_WHICH)] = None,
    user: Annotated[str | None, option(help="Part of a user's id.", metavar="TEXT", panel=_WHICH)] = None,
    text: Annotated[str | None, option(help="Part of the event's JSON.", metavar="TEXT", panel=_WHICH)] = None,
    outcome: Annotated[
        list[str] | None, option(help=f"{', '.join(OUTCOMES)}; repeatable.", metavar="OUTCOME", panel=_WHICH)
    ] = None,
    as_json: Annotated[bool, option("--json", help="A JSON object for each, for programs.")] = False,
) -> None:
    """Follow the events that a collector receives, with their outcomes.

    [bold]millstream tail --type track --event Order[/]

    A lost connection is made again. Ctrl-C stops.
    """
    base = Settings.make("any", {"host": host}).host.rstrip("/")
    asked = {
        "type": _known("--type", kind, TYPES),
        "kind": _known("--outcome", outcome, OUTCOMES),
        "name": event,
        "user": user,
        "text": text,
        "whole": 1,
        # A program that reads a pipe wants all events, a person the latest.
        "complete": 1 if as_json and not sys.stdout.isatty() else None,
    }
    query = urlencode({name: value for name, value in asked.items() if value is not None}, doseq=True)
    show = _Show(as_json=as_json)
    try:
        _follow(f"{base}/debug/events?{query}", last, token, show)
    except KeyboardInterrupt:
        missing = f"; {show.missing:,} are missing" if show.missing else ""
        output.note(f"millstream: interrupted after {show.shown:,} events{missing}")
        raise typer.Exit(130) from None
    except Lost:
        if show.missing:
            raise typer.Exit(1) from None
        raise


def _known(name: str, given: list[str] | None, allowed: tuple[str, ...]) -> list[str] | None:
    for each in given or ():
        if each not in allowed:
            raise typer.BadParameter(f"{name} {each!r}: there are {', '.join(allowed)}")
    return given


# -- the connection -------------------------------------------------------------------------------------


class _LostError(MillstreamError):
    """The connection is lost, or could not be made."""


def _follow(url: str, last: int, token: str | None, show: _Show) -> None:
    """Show past events, then new ones, indefinitely."""
    last_id = ""
    failures = 0
    while True:
        try:
            # After a loss, everything since then: also from a restarted collector, which does not know the id.
            for message in _connected(url if last_id else f"{url}&last={last}", token, last_id):
                if failures:
                    output.note("millstream: reconnected", "yellow")
                failures = 0
                last_id = message.id or last_id or _present(message)
                show(message)
            why = "the collector closed the connection"
        except _LostError as lost:
            if not last_id:
                raise MillstreamError(f"{lost}; is a collector running there? `millstream serve` starts one") from lost
            why = str(lost)
        if not failures:
            output.note(f"millstream: {why}; trying again", "yellow")
        time.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        failures += 1


def _connected(url: str, token: str | None, last_id: str) -> Iterator[Message]:
    """Yield the messages of one connection."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if last_id:
        headers["Last-Event-ID"] = last_id
    timeout = urllib3.Timeout(connect=10.0, read=SILENCE)
    pool = pool_for(proxy_from_environment(url), {})
    try:
        answer = pool.request("GET", url, headers=headers, timeout=timeout, retries=False, preload_content=False)
        _check(answer)
        yield from messages(answer.stream(1 << 16))
    except (HTTPError, OSError, ValueError) as exc:
        raise _LostError(str(no_answer(url, exc))) from exc
    finally:
        pool.clear()


def _check(answer: urllib3.BaseHTTPResponse) -> None:
    """Raise MillstreamError if this is not a stream of events, and a retry would not help."""
    if answer.status == 200 and answer.headers.get("Content-Type", "").startswith("text/event-stream"):
        return
    said = answer.read(200).decode("utf-8", "replace").strip()
    answer.close()
    if answer.status == 401:
        raise MillstreamError(
            "[401] the collector asks for its token: pass --token, or set $MILLSTREAM_COLLECTOR_TOKEN"
        )
    if answer.status == 403:
        raise MillstreamError(f"[403] {output.printable(said)}")
    if answer.status >= 500:
        raise _LostError(f"[{answer.status}] the collector failed")
    raise MillstreamError(f"[{answer.status}] not a collector: it has no /debug/events; check --host")


class _Hello(msgspec.Struct):
    boot: str = ""
    last: int = 0


_hello = msgspec.json.Decoder(_Hello).decode


def _present(message: Message) -> str:
    """The id of the latest event: after a broken connection, later events follow."""
    if message.name != "hello":
        return ""
    hello = _hello(message.data)
    return f"{hello.boot}-{hello.last}"


# -- what is shown --------------------------------------------------------------------------------------


class _Row(msgspec.Struct):
    """The members of a row that are shown."""

    at: int = 0
    kind: str = ""
    reason: str = ""
    event: Event = {}


class _Rows(msgspec.Struct):
    rows: list[msgspec.Raw] = []
    skipped: int = 0


_row = msgspec.json.Decoder(_Row).decode
_rows = msgspec.json.Decoder(_Rows).decode


class _Show:
    """Prints rows, one per line: as JSON, or for people."""

    def __init__(self, *, as_json: bool) -> None:
        self.shown = 0
        self.missing = 0
        self._boot = ""
        self._as_json = as_json
        self._console = output.console()

    def __call__(self, message: Message) -> None:
        if message.name == "hello":
            before, self._boot = self._boot, _hello(message.data).boot
            if before not in {"", self._boot}:
                output.note("millstream: the collector was restarted; its last events may be missing", "yellow")
        if message.name != "rows":
            return
        came = _rows(message.data)
        if came.skipped:
            self.missing += came.skipped
            output.note(f"millstream: {came.skipped:,} events skipped: too many to show", "yellow")
        for row in came.rows:
            self.shown += 1
            if self._as_json:
                output.write(bytes(row))
            else:
                self._console.print(_line(_row(row), self._console.width if self._console.is_terminal else None))
        sys.stdout.flush()


def _line(row: _Row, width: int | None) -> Text:
    style = _OUTCOME_STYLES.get(row.kind, "")
    if row.kind == "refused":  # a whole request: its event is the answer
        message = output.printable(str(row.event.get("message", "")))
        verdict = Text(f"refused {row.reason}: {message}", style)
        return one_line({}, at=row.at / 1000, verdict=verdict, width=width)
    verdict = Text("" if row.kind == "stored" else f"{row.kind} {row.reason}".rstrip(), style)
    return one_line(row.event, at=row.at / 1000, verdict=verdict, width=width)
