"""urllib3 with a timeout that ends: its own begins anew with every piece of an answer, and so never for a trickle."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["POOL_CLASSES"]


class _UntilTimeout(io.RawIOBase):
    """Reads from a socket, until the timeout that it has now is over."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, timeout: float) -> None:
        self._sock = sock
        self._raw = raw
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._timeout)  # the next request on this connection is not to be hurried

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimelyResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None  # urllib3's pyOpenSSL cannot be asked
        if timeout is not None:
            self.fp = io.BufferedReader(_UntilTimeout(sock, self.fp.detach(), timeout))


class _TimelyHTTPConnection(HTTPConnection):
    response_class = _TimelyResponse


class _TimelyHTTPSConnection(HTTPSConnection):
    response_class = _TimelyResponse


class _TimelyHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls: Any = _TimelyHTTPConnection  # Any: urllib3's own declaration does not fit its own classes


class _TimelyHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls: Any = _TimelyHTTPSConnection


POOL_CLASSES: dict[str, type[urllib3.HTTPConnectionPool | urllib3.HTTPSConnectionPool]] = {
    "http": _TimelyHTTPPool,
    "https": _TimelyHTTPSPool,
}
"""For `PoolManager.pool_classes_by_scheme`."""
