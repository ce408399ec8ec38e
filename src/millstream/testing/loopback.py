"""An ASGI application on a free port of this machine, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from millstream._clock import monotonic
from millstream.collector import listen, url_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Loopback"]

Address = tuple[Any, ...]


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers also run in a test with a frozen clock."""

    def time(self) -> float:
        return monotonic()


class Loopback:
    """Serves from its creation until `close`, which waits for no client.

    It uses uvicorn's protocol, but not its server, which checks only ten times a second whether to stop, and changes
    the process's logging.

    Args:
        app: handles the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._connections: dict[Address, asyncio.Transport] = {}
        self._listener = listen()
        self.url = url_of(self._listener)
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="millstream-testing", daemon=True)
        self._thread.start()
        self._ready.result()

    def connection(self, client: Address | None) -> asyncio.Transport | None:
        """Return the connection of a client, as named in ASGI's scope; None if closed. Called by the application."""
        return self._connections.get(tuple(client or ()))

    def close(self) -> None:
        """Disconnect all clients, and stop the thread."""
        loop, over = self._ready.result()
        if self._thread.is_alive():
            loop.call_soon_threadsafe(over.set)
            self._thread.join()

    def _run(self) -> None:
        with closing(_Loop()) as loop:
            loop.run_until_complete(self._serve())
            loop.run_until_complete(loop.shutdown_asyncgens())

    async def _serve(self) -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            config = uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                interface="asgi3",
                ws="none",
                timeout_keep_alive=600,
            )
            config.load()
            state = ServerState()
            state.default_headers = config.encoded_headers
            protocol = _known(config.http_protocol_class, self._connections)
            server = await loop.create_server(lambda: protocol(config, state, {}), sock=self._listener)
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self._ready.set_result((loop, over))
        await over.wait()
        server.close()
        for connection in list(self._connections.values()):
            connection.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


def _known(protocol: Any, connections: dict[Address, asyncio.Transport]) -> Any:
    """Make a protocol class that registers each connection by its client's address."""

    class Known(protocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            self._address = tuple(transport.get_extra_info("peername"))
            connections[self._address] = transport
            super().connection_made(transport)  # pyright: ignore[reportUnknownMemberType]

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self._address, None)
            super().connection_lost(exc)  # pyright: ignore[reportUnknownMemberType]

    return Known
