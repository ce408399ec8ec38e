"""urllib3 with a timeout for the whole exchange, and without answers that were cut off.

Its own timeout begins anew with every piece of an answer, and so never ends for one that drips. And the standard
library, which it is built on, takes an answer that breaks off within its headers for a whole one: a 200 that nobody
has said to its end.
"""

from __future__ import annotations

import io
import math
import socket
import time
from http.client import HTTPResponse, RemoteDisconnected
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["POOL_CLASSES"]


class _Source(io.RawIOBase):
    """Reads from a socket, until the timeout that it has now is over. Remembers whether it has come to the end."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self.ended = False
        self._sock = sock
        self._raw = raw
        self._timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None  # urllib3's pyOpenSSL has none
        self._deadline = math.inf if self._timeout is None else time.monotonic() + self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        count = self._raw.readinto(buffer) if self._timeout is None else self._read_in_time(buffer, self._timeout)
        self.ended = count == 0
        return count

    def _read_in_time(self, buffer: Any, timeout: float) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(timeout)  # the next request on this connection is not to be hurried

    def close(self) -> None:
        self._raw.close()
        super().close()


class _StrictResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._source = _Source(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._source)

    def begin(self) -> None:
        super().begin()
        if self._source.ended:  # http.client takes the end of the connection for the end of the headers
            raise RemoteDisconnected("the connection was closed within the headers of the answer")


class _StrictHTTPConnection(HTTPConnection):
    response_class = _StrictResponse


class _StrictHTTPSConnection(HTTPSConnection):
    response_class = _StrictResponse


class _StrictHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls: Any = _StrictHTTPConnection  # Any: urllib3's own declaration does not fit its own classes


class _StrictHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls: Any = _StrictHTTPSConnection


POOL_CLASSES: dict[str, type[urllib3.HTTPConnectionPool | urllib3.HTTPSConnectionPool]] = {
    "http": _StrictHTTPPool,
    "https": _StrictHTTPSPool,
}
"""For `PoolManager.pool_classes_by_scheme`."""
