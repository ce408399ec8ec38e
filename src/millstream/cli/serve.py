"""`millstream serve`: runs the collector."""

from __future__ import annotations

import gc
import ipaddress
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.errors import SettingsError

from .configured import configuration_of
from .options import option
from .output import announce, warn

if TYPE_CHECKING:
    from millstream.collector import Collector
    from millstream.router import Configuration

WHERE, WHO, WHAT, TOKENS = "Where", "Access", "Storage", "OAuth"
"""Panels of the help."""


def _setting(name: str, **more: Any) -> Any:
    """Declare an option that the environment can set, too."""
    return option(f"--{name}", envvar=f"MILLSTREAM_COLLECTOR_{name.upper().replace('-', '_')}", **more)


def _configured(context: typer.Context, path: Path | None) -> Path | None:
    """Load defaults of the other options from a file."""
    if path is not None:
        context.default_map = dict(configuration_of(path).options)
    return path


def serve(
    _config: Annotated[
        Path | None,
        _setting(
            "config",
            help="TOML file with options as name = value, sources and destinations; the command line and the "
            "environment override it.",
            metavar="FILE",
            panel=WHERE,
            is_eager=True,
            callback=_configured,
        ),
    ] = None,
    host: Annotated[str, _setting("host", help="Address to listen on.", metavar="ADDRESS", panel=WHERE)] = "127.0.0.1",
    port: Annotated[
        int,
        _setting("port", help="Port to listen on; 0 is any free one.", metavar="N", panel=WHERE, min=0, max=65535),
    ] = 7070,
    data: Annotated[
        Path, _setting("data", help="Directory for the events; made if missing.", metavar="DIR", panel=WHERE)
    ] = Path("millstream-data"),
    key: Annotated[
        list[str] | None,
        _setting("key", help="Accepted write key; repeatable. Default: any.", metavar="KEY", panel=WHO),
    ] = None,
    rate_limit: Annotated[
        float | None,
        _setting("rate-limit", help="Events per second, for each write key.", metavar="N", panel=WHO),
    ] = None,
    token: Annotated[
        str | None,
        _setting("token", help="Token that opens the page to other machines.", metavar="T", panel=WHO),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        _setting("allow-host", help="Host name of the page; repeatable.", metavar="NAME", panel=WHO),
    ] = None,
    prefix: Annotated[
        str | None,
        _setting("prefix", help="Path that a proxy adds, as in /tracking.", metavar="PATH", panel=WHERE),
    ] = None,
    strict: Annotated[
        bool, _setting("strict", help="Answer 400 with the reasons if events are invalid.", panel=WHAT)
    ] = False,
    dedup_window: Annotated[
        str,
        _setting("dedup-window", help="Deduplication window; 0 disables it.", metavar="DURATION", panel=WHAT),
    ] = "24h",
    max_age: Annotated[
        str | None, _setting("max-age", help="Retention: delete files older than this.", metavar="DURATION", panel=WHAT)
    ] = None,
    max_size: Annotated[
        str | None,
        _setting("max-size", help="Retention: delete the oldest files above this size.", metavar="SIZE", panel=WHAT),
    ] = None,
    sync: Annotated[
        str,
        _setting("sync", help="When to fsync: always (before each 200), or interval:500ms.", metavar="HOW", panel=WHAT),
    ] = "always",
    oauth_key: Annotated[
        list[str] | None,
        _setting(
            "oauth-key",
            help="Public key of an OAuth client: FILE, ID=FILE or ID/KEY=FILE; repeatable. Makes tokens mandatory.",
            metavar="KEY",
            panel=TOKENS,
        ),
    ] = None,
    oauth_audience: Annotated[
        str | None,
        _setting("oauth-audience", help="This server's URL, as clients know it.", metavar="URL", panel=TOKENS),
    ] = None,
) -> None:
    """Receive events as the Tracking API does, store them as JSON Lines, and show them on a live page.

    Each option can be set in the environment, as MILLSTREAM_COLLECTOR_PORT, and in a file, as port = 7070.
    """
    # Imported here: the other commands need no server.
    from millstream import collector  # noqa: PLC0415

    if not _is_loopback(host):
        if token is None:
            raise SettingsError(
                f"{host} is reachable from other machines, and so is the page: set a --token for it, "
                "or $MILLSTREAM_COLLECTOR_TOKEN"
            )
        warn(f"{host} is reachable from other machines, without TLS")
    storing: dict[str, Any] = {
        "max_age": None if max_age is None else seconds("max-age", max_age),
        "max_bytes": None if max_size is None else size("max-size", max_size),
        "sync_interval": _sync_interval(sync),
    }
    configuration = None if _config is None else configuration_of(_config)
    settings: dict[str, Any] = {
        "keys": key or None,
        "sources": {} if configuration is None else configuration.sources,
        "rate_limit": rate_limit,
        "token": token,
        "hosts": allow_host or (),
        "prefix": prefix or "",
        "strict": strict,
        "dedup_window": seconds("dedup-window", dedup_window),
        "applications": [collector.Application.parse(text) for text in oauth_key or ()],
        "audience": oauth_audience or "",
    }
    if _config is not None and configuration is not None:
        settings["destinations"] = collector.Destinations(data, configuration.routes, _config)
    if oauth_key and not oauth_audience:
        warn(
            "--oauth-key without --oauth-audience accepts assertions for any Host header: "
            "set --oauth-audience to the URL that clients have"
        )
    with collector.listen(host, port) as listener:
        app = collector.Collector(collector.Files(data, **storing), **settings)
        where = f"{collector.url_of(listener)}  (events in {data}/, Ctrl-C to stop)"
        with _routing(_config, configuration, data, app) as reload:
            gc.freeze()  # objects that stay: the garbage collector need not scan them again
            try:
                collector.serve(app, listener, ready=lambda: _say(where), stopping=app.stop, reload=reload)
            finally:
                app.close()
    _say(f"stopped; {app.counts}")


@contextmanager
def _routing(
    path: Path | None, configuration: Configuration | None, data: Path, app: Collector
) -> Generator[Callable[[], object] | None, None, None]:
    """Keep a router running beside the collector. Yields what reads the configuration again; None without one."""
    if path is None or configuration is None:
        yield None
        return
    from millstream.log import FileCursorStore  # noqa: PLC0415
    from millstream.router import Supervisor  # noqa: PLC0415
    from millstream.router.start import begin_all  # noqa: PLC0415

    from .reload import Reloading  # noqa: PLC0415

    cursors = FileCursorStore(data)
    begin_all(list(configuration.routes.values()), data, cursors)
    cursors.close()
    router = Supervisor("router", ["route", "run", "--config", str(path), "--data", str(data), "--supervised"])
    reloading = Reloading(path, data, configuration, app, router)
    if configuration.routes:
        router.start()
    try:
        yield reloading.request
    finally:
        router.stop()


def _say(what: str) -> None:
    announce(f"millstream collector: {what}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"


_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def seconds(name: str, text: str) -> float:
    """Parse a duration such as `500ms`, `90s`, `24h`, `30d`; a number alone is in seconds. Raises SettingsError."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        raise SettingsError(f"--{name} {text!r} must be a duration such as 500ms, 90s, 24h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def size(name: str, text: str) -> int:
    """Parse a size such as `500MB` or `20GB`; a number alone is in bytes. Raises SettingsError."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].upper() not in _BYTES:
        raise SettingsError(f"--{name} {text!r} must be a size such as 500MB or 20GB")
    return int(float(match[1]) * _BYTES[match[2].upper()])


def _sync_interval(text: str) -> float:
    how, _, interval = text.partition(":")
    if text == "always":
        return 0.0
    if how == "interval" and interval and (length := seconds("sync", interval)) > 0:
        return length
    raise SettingsError(f"--sync {text!r} must be always, or interval and a duration, as in interval:500ms")
