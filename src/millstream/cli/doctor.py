"""`millstream doctor`: checks a setup from end to end, and names remedies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from millstream.http._environment import proxy_from_environment
from millstream.settings import Settings

from . import options, output
from .checks import Finding, local, remote
from .options import Target, option

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    host: options.Host = None,
    write_key: options.WriteKey = None,
    spool: Annotated[
        Path | None, option(help="Check this spool directory, too.", metavar="DIR", panel=options.WHERE)
    ] = None,
    timeout: Annotated[float, option(help="Time limit for each step.", metavar="SECONDS", min=0.1)] = 10.0,
    oauth_client_id: options.OAuthClientId = None,
    oauth_client_key: options.OAuthClientKey = None,
    oauth_key_id: options.OAuthKeyId = None,
    oauth_auth_server: options.OAuthAuthServer = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a setup: key, host, network, TLS, clock, OAuth, spool.

    No event is sent: an empty batch shows whether a Tracking API answers.

    Exit code: 0 without problems, 1 with problems, 2 for wrong usage.
    """
    target = Target(host, write_key, oauth_client_id, oauth_client_key, oauth_key_id, oauth_auth_server)
    settings = Settings.make("any", {"host": host} if host else {})
    findings: list[Finding] = []
    for finding in _findings(target, settings, spool, timeout):
        findings.append(finding)
        if not as_json:
            _show(finding)
    count = Counter(finding.status for finding in findings)
    if as_json:
        output.print_json({"problems": count["problem"], "findings": [asdict(finding) for finding in findings]})
    else:
        output.say(f"\n{_number(count['problem'], 'problem')}, {_number(count['warning'], 'warning')}.", "bold")
    if count["problem"]:
        raise typer.Exit(1)


def _findings(target: Target, settings: Settings, spool: Path | None, timeout: float) -> Iterator[Finding]:
    route = remote.Route(settings.url, proxy_from_environment(settings.url), timeout)
    yield from local.versions()
    yield from local.disabled()
    yield from local.key(target.key, route.url)
    yield from local.host(settings.host)
    yield from local.proxy(route.proxy)
    if spool is not None:
        yield from local.spool(spool)
    oauth, found = local.oauth(target, settings.host, timeout)
    yield from found
    token = None
    if oauth is not None:
        token, finding = remote.token(oauth)
        yield finding
    for step in (remote.name, remote.connection, remote.tls):
        for finding in step(route):
            yield finding
            if finding.status == "problem":
                return
    yield from remote.answer(route, target.key, token)


def _show(finding: Finding) -> None:
    message, remedy = output.printable(finding.message), output.printable(finding.remedy)
    status = Text(finding.status, _STYLES[finding.status])
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=7)
    row.add_column(width=10)
    row.add_column(ratio=1)
    row.add_row(status, Text(finding.subject, "bold"), Text(message))
    if remedy:
        row.add_row("", "", Text(f"→ {remedy}", "bold"))
    output.show(row)


def _number(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
