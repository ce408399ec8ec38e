"""What a host and the network before it can do to a client: a table of faults, each of which begins and ends.

with FAULTS["answers 500"].at(api):
    …                                 the API at `api` suffers from it
…                                     and is well again
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

from .api import Answer, Api, Scripted, Seen, drop, endless, garbage, half, reset, stall, status

PEM = str(Path(__file__).with_name("localhost.pem"))
"""The certificate that clients trust, and its key."""
STRANGER = str(Path(__file__).with_name("stranger.pem"))
"""One for the same name, which nobody trusts."""
NOWHERE = "name.invalid"
"""A name that no resolver knows (RFC 6761 §6.4)."""


@dataclass(frozen=True)
class Fault:
    """`at(api)` makes the API suffer from it, until the end of the `with`."""

    at: Callable[[Api], AbstractContextManager[None]]
    tls: bool = False
    """Whether it takes an API that speaks TLS."""
    by_name: bool = False
    """Whether clients have to call the API by the name `NOWHERE`, of which `Names` knows."""


def answering(answer: Scripted) -> Fault:
    """Every request is answered with this."""

    @contextmanager
    def at(api: Api) -> Generator[None]:
        api.always = answer
        yield
        api.always = Answer()

    return Fault(at)


@contextmanager
def refusing(api: Api) -> Generator[None]:
    api.refuse()
    yield
    api.listen()


def speaking(tls: str | None) -> Fault:
    """TLS as it should not be: with another certificate, or none at all."""

    @contextmanager
    def at(api: Api) -> Generator[None]:
        well, api.tls = api.tls, tls
        api.cut_off()
        yield
        api.tls = well

    return Fault(at, tls=True)


class Names:
    """A resolver that knows all that the real one does; and `NOWHERE` as well, unless it is `lost`.

    In place between `with names:` and its end.
    """

    lost = False

    def __enter__(self) -> None:
        self._real = socket.getaddrinfo
        socket.getaddrinfo = self._resolve

    def __exit__(self, *_: object) -> None:
        socket.getaddrinfo = self._real

    def _resolve(self, host: Any, *rest: Any, **options: Any) -> Any:
        known = host in {NOWHERE, NOWHERE.encode()} and not Names.lost
        return self._real("127.0.0.1" if known else host, *rest, **options)


@contextmanager
def black_hole(address: str, port: int) -> Generator[None]:
    """At this address nobody answers: connections are neither accepted nor refused (Linux)."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):  # more than wait to be accepted: what comes after them is dropped
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


@contextmanager
def unresolved(_: Api) -> Generator[None]:
    Names.lost = True
    yield
    Names.lost = False


def _later(_: Seen) -> Answer:
    now = time.time()
    return status(429, retry_after=formatdate(now + 2, usegmt=True), Date=formatdate(now, usegmt=True))


FAULTS: dict[str, Fault] = {
    "refuses connections": Fault(refusing),
    "accepts and never answers": answering(stall()),
    "stalls in the middle of an answer": answering(stall("half")),
    "answers byte by byte": answering(endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", pace=0.05)),
    "closes without an answer": answering(drop()),
    "closes in the middle of an answer": answering(half()),
    "closes in the middle of the headers": answering(garbage(b"HTTP/1.1 200 OK\r\nContent-Type: appli")),
    "resets without an answer": answering(reset()),
    "resets in the middle of an answer": answering(reset("half")),
    "answers 500": answering(status(500)),
    "answers 503 with Retry-After": answering(status(503, retry_after=1)),
    "answers 429 with Retry-After in seconds": answering(status(429, retry_after=1)),
    "answers 429 with Retry-After as a date": answering(_later),
    "answers what is no HTTP": answering(garbage()),
    "answers with a wrong Content-Length": answering(garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}")),
    "answers with broken compression": answering(
        garbage(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
    ),
    "answers with endless headers": answering(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000)),
    "answers with an endless body": answering(endless(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 65_536)),
    "speaks no TLS": speaking(None),
    "has a certificate nobody trusts": speaking(STRANGER),
    "has a name that does not resolve": Fault(unresolved, by_name=True),
}
