"""`millstream spool drain`: delivers the events that exited processes left in a spool."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from millstream._core.context import ErrorEvent
from millstream.client import Analytics
from millstream.errors import SettingsError
from millstream.http.urllib3 import Urllib3Client
from millstream.log.quarantine import Quarantine
from millstream.spool.inspect import LaneInfo, lanes
from millstream.spool.spool import source_of
from millstream.types import Request, Response

from . import options, output
from .checks import remote
from .delivery import Problem
from .options import SpoolDir, Target, option

__all__ = ["drain"]

STEP = 75.0
"""Seconds in which at least one event must get an outcome: longer than all retries of a batch."""
REFUSED = "refused.jsonl"
SHOWN = 20
_LEFT_ALONE = {
    "alive": "its process is running",
    "other_key": "it was written with another write key",
    "unknown_format": "this release does not know its format",
}


def drain(
    directory: SpoolDir,
    *,
    host: options.Host = None,
    write_key: options.WriteKey = None,
    timeout: Annotated[
        float | None,
        option(help="Time limit; by default while events are delivered.", metavar="SECONDS", panel=options.HOW, min=0),
    ] = None,
    max_retries: options.MaxRetries = 3,
    oauth_client_id: options.OAuthClientId = None,
    oauth_client_key: options.OAuthClientKey = None,
    oauth_key_id: options.OAuthKeyId = None,
    oauth_auth_server: options.OAuthAuthServer = None,
    as_json: options.AsJson = False,
) -> None:
    """Deliver the events that exited processes left, as the next start of the application would.

    It takes the lanes of this write key; those of living processes are left alone. If the server does not take a batch
    without events, nothing is touched. Events that it refuses later are kept in DIR/quarantine/refused.jsonl.

    Exit code: 0 if no event of this key is left, 1 if some are, 2 for wrong usage, 130 after Ctrl-C.
    """
    target = Target(host, write_key, oauth_client_id, oauth_client_key, oauth_key_id, oauth_auth_server)
    url = target.settings().url
    mine = sum(lane.events for lane in _orphans(directory, target))
    drained = Drained(directory)
    if mine:
        objection = remote.objection(target, url, timeout=10.0)
        if objection is None:
            _deliver(drained, target, mine, timeout, max_retries)
        else:
            drained.stopped = f"{objection.message}; nothing was touched: {objection.remedy}"
    drained.left = sum(lane.events for lane in _orphans(directory, target))
    _report(drained, _not_ours(directory, target), as_json=as_json)


@dataclass
class Drained:
    """The result. Refused events are kept beside the spool."""

    directory: Path
    delivered: int = 0
    refused: int = 0
    left: int = 0
    stopped: str = ""
    interrupted: bool = False
    problems: list[Problem] = field(default_factory=list[Problem])

    def note(self, error: ErrorEvent) -> None:
        """Handle an `error` event: a refused event, which would be lost, or a spool that cannot be read."""
        if error.code == "spool":
            output.warn(output.printable(str(error.reason)))
        if error.code != "delivery_failure" or error.context is None:
            return
        Quarantine(self.directory).put(REFUSED, [error.context.data])
        self.refused += 1
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(error.context.id, str(error.reason), error.context.id))


class _Held(Urllib3Client):
    """Sends nothing until it is released: a client with a spool starts before listeners can be added."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def send(self, request: Request) -> Response:
        self.release.wait()
        return super().send(request)


def _deliver(drained: Drained, target: Target, total: int, timeout: float | None, max_retries: int) -> None:
    http_client = _Held()
    client = target.client(spool=str(drained.directory), max_retries=max_retries, http_client=http_client)
    client.on("error", drained.note)
    with output.progress("draining", total) as advance:

        @client.on("http_response")
        def _show(_request: Request, _response: Response) -> None:  # pyright: ignore[reportUnusedFunction]
            done = client.stats().delivered
            advance(done, f"{done:,} events")

        try:
            http_client.release.set()
            _flush(client, timeout)
            client.close_and_flush(timeout=1.0)
        except KeyboardInterrupt:
            drained.interrupted = True
            client.close_and_flush(timeout=0)  # undelivered events stay in the spool
    drained.delivered = client.stats().delivered


def _flush(client: Analytics, timeout: float | None) -> None:
    """Wait until no events are left, or none makes progress."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        before = _settled(client)
        step = STEP if deadline is None else min(STEP, max(0.0, deadline - time.monotonic()))
        client.flush(timeout=step)
        if not client.stats().pending or _settled(client) == before or step < STEP:
            return


def _settled(client: Analytics) -> int:
    stats = client.stats()
    return stats.delivered + stats.failed + stats.dropped


def _orphans(directory: Path, target: Target) -> list[LaneInfo]:
    """The lanes to drain."""
    return [lane for lane in _lanes(directory) if _is_mine(lane, target) and not lane.alive and lane.known]


def _not_ours(directory: Path, target: Target) -> dict[str, int]:
    """The number of lanes left alone, by reason."""
    found = _lanes(directory)
    mine = [lane for lane in found if _is_mine(lane, target)]
    return {
        "alive": sum(lane.alive for lane in mine),
        "other_key": len(found) - len(mine),
        "unknown_format": sum(not lane.known for lane in mine),
    }


def _is_mine(lane: LaneInfo, target: Target) -> bool:
    return lane.source == source_of(target.key)


def _lanes(directory: Path) -> list[LaneInfo]:
    try:
        return lanes(directory)
    except OSError as error:
        raise SettingsError(f"cannot read the spool {directory}: {error.strerror}") from error


def _report(drained: Drained, left_alone: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        names = ("delivered", "refused", "left", "interrupted", "problems")
        message: dict[str, Any] = {name: value for name, value in asdict(drained).items() if name in names}
        output.print_json({**message, "stopped": drained.stopped or None, "left_alone": left_alone})
    else:
        _say(drained, left_alone)
    if drained.interrupted:
        raise typer.Exit(130)
    if drained.left or drained.refused or drained.stopped:
        raise typer.Exit(1)


def _say(drained: Drained, left_alone: dict[str, int]) -> None:
    if drained.delivered or not drained.stopped:
        output.say(f"Delivered {drained.delivered:,} events.")
    for why, count in left_alone.items():
        if count:
            output.note(f"millstream: {count:,} lane{'s' if count > 1 else ''} left alone: {_LEFT_ALONE[why]}")
    if drained.stopped:
        output.note(f"millstream: {output.printable(drained.stopped)}", "red")
    if drained.refused:
        output.note(
            f"millstream: {drained.refused:,} were refused, and are in {drained.directory}/quarantine/{REFUSED}:", "red"
        )
        for problem in drained.problems:
            output.note(f"  {output.printable(f'{problem.place}: {problem.error}')}")
    if drained.left and not drained.stopped:
        why = "interrupted" if drained.interrupted else "delivery failed for now; try again later"
        output.note(f"millstream: {drained.left:,} events are left: {why}", "red")
