"""Runs the collector: the socket, uvicorn, and the signals that stop it."""

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
"""Beyond these, requests are answered 503."""


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening socket; port 0 is any free one. Raises SettingsError if the address is not available."""
    host = host.removeprefix("[").removesuffix("]")  # as in a URL
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio sets TCP_NODELAY only on such sockets, and without it every answer waits for the
    # client's delayed acknowledgement.
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
    """The URL of a listening socket."""
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
    """Serve until SIGINT, SIGTERM or SIGHUP, then finish requests in progress and return. Call it on the main thread.

    With `reload`, a SIGHUP calls that instead, in the signal's handler, unless it comes because the terminal is gone.

    `ready` is called once requests are answered, `stopping` when no new ones are. On shutdown, clients have `patience`
    seconds to finish a request they have begun; otherwise `request_timeout` seconds, from its first byte or from the
    connection to its last byte. An idle connection is kept for `keep_alive` seconds: longer than clients wait between
    two batches, so that they can reuse it.
    """
    config = uvicorn.Config(
        _cut_short(app),
        log_level="error",  # lesser events are a client's fault, and any client could fill the disk with them
        access_log=False,
        server_header=False,
        lifespan="off",
        http=asyncio.Protocol,  # replaced below
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

    # uvicorn installs handlers of its own while it runs, and then raises the signal for the previous ones: the
    # default handlers would end the process with an error before the caller can report what was stored.
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
    """The signals that stop the server. SIGHUP only where it is not ignored, as under `nohup`; Windows has none."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def _raise_file_limit() -> None:
    """Raise the limit on open files to one for each connection, as far as permitted."""
    try:
        import resource  # noqa: PLC0415 (Windows has none)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_CONNECTIONS + 1000
        if 0 <= soft < wanted:  # negative: unlimited
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, OSError, ValueError):
        pass


def _cut_short(app: ASGIApp) -> ASGIApp:
    """Wrap the application: a request that is cancelled at shutdown is answered 503."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        answering = False

        async def sent(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await app(scope, receive, sent)
        except asyncio.CancelledError:
            # Only uvicorn cancels, and only at shutdown: a raised error would print a traceback.
            if not answering:
                await Response(status_code=503)(scope, receive, send)

    return wrapped


def _connection(app: ASGIApp, config: uvicorn.Config) -> Any:
    """Make the connection factory that uvicorn calls."""
    if lacking := internals.missing_for_connection(config):
        raise SettingsError(
            f"uvicorn {uvicorn.__version__} is not supported: it lacks {', '.join(lacking)}: "
            "pip install 'millstream[collector]' installs a supported one"
        )
    from .connection import Budget, Connection  # noqa: PLC0415 (uvicorn may be one that it cannot be made of)

    if not isinstance(app, Collector):
        return partial(Connection, budget=Budget())
    if lacking := internals.missing_for_direct(config):
        _log.warning(
            "uvicorn %s lacks %s: requests go through ASGI, which is slower", uvicorn.__version__, ", ".join(lacking)
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
