"""`millstream serve`: the collector on a port."""

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

WHERE, WHO, WHAT, TOKENS = "Where", "Who may write, and look", "What is kept", "OAuth"
"""Panels of the help."""


def _setting(name: str, **more: Any) -> Any:
    """An option that can be set in the environment, too."""
    return option(f"--{name}", envvar=f"MILLSTREAM_COLLECTOR_{name.upper().replace('-', '_')}", **more)


def _configured(context: typer.Context, path: Path | None) -> Path | None:
    """Take the defaults of the other options from a file."""
    if path is not None:
        context.default_map = dict(configuration_of(path).options)
    return path


def serve(
    _config: Annotated[
        Path | None,
        _setting(
            "config",
            help="TOML file with any of these options, as name = value, and with sources and destinations; options "
            "that are given go first.",
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
        _setting("key", help="A write key that may write; repeatable. Without any, all may.", metavar="KEY", panel=WHO),
    ] = None,
    rate_limit: Annotated[
        float | None, _setting("rate-limit", help="Events per second for each write key.", metavar="N", panel=WHO)
    ] = None,
    token: Annotated[
        str | None,
        _setting("token", help="What the page asks for; other machines see nothing without.", metavar="T", panel=WHO),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        _setting("allow-host", help="A name the page is served under; repeatable.", metavar="NAME", panel=WHO),
    ] = None,
    prefix: Annotated[
        str | None,
        _setting("prefix", help="Path that a proxy leaves before ours, as /tracking.", metavar="PATH", panel=WHERE),
    ] = None,
    strict: Annotated[
        bool, _setting("strict", help="Say with 400 which events are not valid, and why.", panel=WHAT)
    ] = False,
    dedup_window: Annotated[
        str,
        _setting("dedup-window", help="How long duplicates are recognised; 0 is not.", metavar="DURATION", panel=WHAT),
    ] = "24h",
    max_age: Annotated[
        str | None, _setting("max-age", help="Files are deleted that are older.", metavar="DURATION", panel=WHAT)
    ] = None,
    max_size: Annotated[
        str | None,
        _setting("max-size", help="The oldest files are deleted when there is more.", metavar="SIZE", panel=WHAT),
    ] = None,
    sync: Annotated[
        str,
        _setting(
            "sync", help="When the disk is forced: always before a 200, or interval:500ms.", metavar="HOW", panel=WHAT
        ),
    ] = "always",
    oauth_key: Annotated[
        list[str] | None,
        _setting(
            "oauth-key",
            help="Public key of who gets tokens: FILE, ID=FILE or ID/KEY=FILE; repeatable. All need a token then.",
            metavar="KEY",
            panel=TOKENS,
        ),
    ] = None,
    oauth_audience: Annotated[
        str | None,
        _setting(
            "oauth-audience", help="Our URL, as clients know it; else what they say.", metavar="URL", panel=TOKENS
        ),
    ] = None,
) -> None:
    """Receive events as the Tracking API does, keep them as JSON lines, and show them live on a page.

    Each option can be set in the environment, as MILLSTREAM_COLLECTOR_PORT, and in a file, as port = 7070.
    """
    # Here, not above: the other commands need no server.
    from millstream import collector  # noqa: PLC0415

    if not _is_loopback(host):
        if token is None:
            raise SettingsError(
                f"{host} can be reached from other machines, and so can the page: set a --token for it, "
                "or $MILLSTREAM_COLLECTOR_TOKEN"
            )
        warn(f"{host} can be reached from other machines, without TLS")
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
            "--oauth-key without --oauth-audience takes assertions for any name in a client's Host header: "
            "set --oauth-audience to the URL that clients have"
        )
    with collector.listen(host, port) as listener:
        app = collector.Collector(collector.Files(data, **storing), **settings)
        where = f"{collector.url_of(listener)}  (events in {data}/, Ctrl-C to stop)"
        with _routing(_config, configuration, data, app) as reload:
            gc.freeze()  # what is there by now stays: it need not be searched for garbage again and again
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
    """A duration such as `500ms`, `90s`, `24h`, `30d`; a number alone is of seconds. Raises SettingsError."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        raise SettingsError(f"--{name} {text!r} must be a duration such as 500ms, 90s, 24h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def size(name: str, text: str) -> int:
    """A size such as `500MB` or `20GB`; a number alone is of bytes. Raises SettingsError."""
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
    raise SettingsError(f"--sync {text!r} must be always, or interval: and a duration, as interval:500ms")
