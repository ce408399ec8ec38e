"""A socket, uvicorn, and the signals that stop it."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn
from starlette.responses import Response

from penstock.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises SettingsError if the address cannot be had."""
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


def serve(app: ASGIApp, listener: socket.socket, *, ready: Callable[[], object], patience: int = 5) -> None:
    """Serve until SIGINT or SIGTERM, then finish what has begun and return. Call it on the main thread.

    `ready` is called once requests are answered. At the end, clients that have begun a request have
    `patience` seconds to finish it.
    """
    config = uvicorn.Config(
        _cut_short(app),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        # Longer than clients wait between two batches, so that they find their connection open.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=patience,
    )
    server = _Server(config, ready)

    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    # uvicorn has handlers of its own while it runs, and afterwards raises the signal again for those before
    # it: the default ones would end the process with an error, before anybody can say what was stored.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()
