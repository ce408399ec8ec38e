"""What all connections together may hold: on real sockets, with a budget that is soon used up."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from millstream.collector.connection import Budget, Connection

pytestmark = pytest.mark.process

MOST = 1_000_000
PATIENCE = 20.0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A long answer, or one that does not come before the client leaves."""
    if scope["path"] == "/never":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = b"x" * 300_000
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(budget: Budget) -> AsyncIterator[tuple[str, int]]:
    """Connections that share a budget, on a port."""
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    make = partial(Connection, budget=budget, config=config, server_state=state, app_state={}, _loop=loop)
    server = await loop.create_server(make, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
    await until(lambda: over(state))


def over(state: ServerState) -> bool:
    """Whether no connection is left, of which each is ended."""
    for connection in state.connections:
        connection.transport.abort()  # type: ignore[union-attr]
    return not state.connections and not state.tasks


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def is_cut_off(client: socket.socket) -> bool:
    """Whether the server has ended it with a reset."""
    poll = select.poll()
    poll.register(client, select.POLLHUP)
    return bool(poll.poll(0))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX: " + b"y" * 60_000,
        b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    ],
    ids=["half a head", "requests sent ahead", "answers"],
)
@pytest.mark.parametrize("loop", [asyncio, uvloop])
def test_a_connection_for_which_there_is_no_room_ends(sent: bytes, loop: Any) -> None:
    """The others stay, and what they held is there again when they are gone."""

    async def run() -> None:
        budget = Budget(MOST)
        async with serving(budget) as address:
            with ExitStack() as stack:
                clients: list[socket.socket] = []
                while not any(map(is_cut_off, clients)):
                    assert len(clients) < 100
                    clients.append(stack.enter_context(socket.socket()))
                    clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    clients[-1].setblocking(False)
                    await asyncio.get_running_loop().sock_connect(clients[-1], address)
                    before = budget.left
                    await asyncio.get_running_loop().sock_sendall(clients[-1], sent)
                    await until(lambda before=before: budget.left != before or any(map(is_cut_off, clients)))
                await until(lambda: 0 <= budget.left < MOST / 2)
                assert 0 < sum(map(is_cut_off, clients)) < len(clients) / 2
        assert budget.left == MOST

    loop.run(run())
