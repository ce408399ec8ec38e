"""`penstock serve`: the collector on a port."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")] = 7070,
    data: Annotated[Path, typer.Option(help="Directory for the events; made if missing.")] = Path("penstock-data"),
    key: Annotated[
        list[str] | None, typer.Option(help="A write key that may write; repeatable. Without any, all may.")
    ] = None,
) -> None:
    """Receive events as the Tracking API does, and keep them as JSON lines."""
    # Here, not above: the other commands need no server.
    from penstock import collector  # noqa: PLC0415

    if not _is_loopback(host):
        typer.echo(f"penstock: warning: {host} can be reached from other machines, without TLS", err=True)
    with collector.listen(host, port) as listener:
        store = collector.JSONLines(data)
        app = collector.Collector(store, keys=key or None)
        where = f"{collector.url_of(listener)}  (events in {store.path}, Ctrl-C to stop)"
        try:
            collector.serve(app, listener, ready=lambda: _say(where))
        finally:
            app.close()
    _say(f"stopped; {app.counts}")


def _say(what: str) -> None:
    typer.echo(f"penstock collector: {what}")
    sys.stdout.flush()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
