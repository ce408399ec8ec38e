"""The heads of requests to one server, checked and written by http.client: once, for as long as they stay the same."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

__all__ = ["Heads"]

_LENGTH = "Content-Length"


class _Writer(http.client.HTTPConnection):
    """Writes the head of a request, by the rules of http.client, and sends nothing."""

    def __init__(self, host: str, port: int | None, default_port: int) -> None:
        super().__init__(host, port)
        self.default_port = default_port  # which the Host header does without

    def send(self, data: Any) -> None:
        self.written: bytes = data


class Heads:
    """Writes heads. Of the last one, all but the length of the body is kept: the next one's is mostly the same.

    Args:
        host: name or address of the server, as the Host header has it.
        port: its port.
        default_port: the port that the Host header does without.
    """

    def __init__(self, host: str, port: int | None, default_port: int) -> None:
        self._server = host, port, default_port
        self._last: tuple[object, bytes] = (None, b"")

    def write(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a request whose body has `length` bytes.

        Raises:
            ValueError: there is something in it that no head may have.
        """
        key = method, target, *headers.items()
        known, head = self._last
        if known != key:
            lengthless = {name: value for name, value in headers.items() if name.lower() != _LENGTH.lower()}
            writer = _Writer(*self._server)
            writer.request(method, target, headers={**lengthless, _LENGTH: "0"})
            head = writer.written.removesuffix(b"0\r\n\r\n")
            self._last = key, head
        return head + b"%d\r\n\r\n" % length
