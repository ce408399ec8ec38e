"""A socket, uvicorn, and the signals that stop it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millstream._public import publish
from millstream.errors import SettingsError

from . import internals
from .app import Collector

if TYPE_CHECKING:
    from .connection import Connection

_log = logging.getLogger("millstream")

MAX_CONNECTIONS = 10_000
"""With more, requests are answered 503."""


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises SettingsError if the address cannot be had."""
    host = host.removeprefix("[").removesuffix("]")  # as in a URL
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio sets TCP_NODELAY on such sockets alone, and without it every answer waits 40 ms
    # for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"cannot listen on {host} port {port}: {why}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a client finds what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    ready: Callable[[], object],
    stopping: Callable[[], object] = lambda: None,
    reload: Callable[[], object] | None = None,
    patience: int = 5,
    request_timeout: float = 30.0,
    keep_alive: int = 75,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then finish what has begun and return. Call it on the main thread.

    With `reload` a SIGHUP calls that instead, in the signal's handler; but for one that comes because the terminal is
    gone.

    `ready` is called once requests are answered, `stopping` when no new ones are. At the end, clients that have begun
    a request have `patience` seconds to finish it; at other times `request_timeout` seconds, from its first byte or
    from the connection to its last byte. A connection with nothing under way is kept for `keep_alive` seconds: longer
    than clients wait between two batches, so that they find it open.
    """
    config = uvicorn.Config(
        _cut_short(app),
        log_level="error",  # lesser things are a client's fault, and any client could fill the disk with them
        access_log=False,
        server_header=False,
        lifespan="off",
        http=asyncio.Protocol,  # below is another
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=patience,
    )
    config.load()
    config.http_protocol_class = _connection(app, config)
    server = _Server(config, ready, stopping, request_timeout)
    _raise_file_limit()

    has_terminal = _has_terminal()

    def stop(number: int, _frame: object) -> None:
        if number == _HANGUP and reload is not None and _has_terminal() == has_terminal:
            reload()
        else:
            server.should_exit = True

    # uvicorn has handlers of its own while it runs, and afterwards raises the signal again for those before
    # it: the default ones would end the process with an error, before anybody can say what was stored.
    before = {number: signal.signal(number, stop) for number in _stopping_signals()}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_HANGUP = getattr(signal, "SIGHUP", None)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal: it has none any more once that has been closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _stopping_signals() -> list[int]:
    """SIGHUP comes when the terminal is closed; under `nohup` it is ignored, and stays so. Windows has none."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def _raise_file_limit() -> None:
    """Let this process have a file for each connection, as far as it may: where there is none, it could not accept."""
    try:
        import resource  # noqa: PLC0415 (Windows has none)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_CONNECTIONS + 1000
        if 0 <= soft < wanted:  # below 0 is without a limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, OSError, ValueError):
        pass


def _cut_short(app: ASGIApp) -> ASGIApp:
    """The application; where a stop has waited long enough for the rest of a request, it answers 503."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        answering = False

        async def sent(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await app(scope, receive, sent)
        except asyncio.CancelledError:
            # Only uvicorn cancels, and only when it stops: let out, this would be a traceback on the terminal.
            if not answering:
                await Response(status_code=503)(scope, receive, send)

    return wrapped


def _connection(app: ASGIApp, config: uvicorn.Config) -> Any:
    """What makes a connection of this application, as uvicorn calls it."""
    if lacking := internals.missing_for_connection(config):
        raise SettingsError(
            f"uvicorn {uvicorn.__version__} cannot be used, because it lacks {', '.join(lacking)}: "
            "pip install 'millstream[collector]' brings one that can"
        )
    from .connection import Budget, Connection  # noqa: PLC0415 (uvicorn may be one that it cannot be made of)

    if not isinstance(app, Collector):
        return partial(Connection, budget=Budget())
    if lacking := internals.missing_for_direct(config):
        _log.warning(
            "uvicorn %s lacks %s: the collector is a little slower with it", uvicorn.__version__, ", ".join(lacking)
        )
        return partial(Connection, budget=Budget())
    from .direct import Direct  # noqa: PLC0415

    return partial(Direct, api=app, budget=Budget())


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], object],
        stopping: Callable[[], object],
        request_timeout: float,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping
        self._request_timeout = request_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            now = monotonic()
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                connection.end_if_over(now, timeout=self._request_timeout, keep_alive=self.config.timeout_keep_alive)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets=sockets)


publish("millstream.collector", listen, serve, url_of)
