"""Proxies on loopback, which write down what they are asked for.

One passes requests on (absolute form) and opens tunnels (CONNECT), the other speaks SOCKS.
"""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import urlsplit


class Proxy:
    """The server. `seen` holds the first line and the headers of each request that came to the proxy itself."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="test-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of everything."""
        if self._closing:
            return
        self._closing = True
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(5)
        for sock in [self._listener, *self._sockets]:
            _end(sock)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._sockets.append(sock)
            if self._closing:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            head, rest = _head(client)
            self.seen.append(head.decode("latin-1"))
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split()
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                server = self._connect(host, int(port))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                server = self._connect(parts.hostname, parts.port)
                origin = head.replace(target.encode(), parts.path.encode(), 1)
                server.sendall(origin.replace(b"\r\n\r\n", b"\r\nConnection: close\r\nVia: 1.1 test\r\n\r\n") + rest)
        except (OSError, ValueError):
            _end(client)
            return
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)

    def _connect(self, host: Any, port: Any) -> socket.socket:
        server = socket.create_connection((host, port), timeout=10)
        self._sockets.append(server)
        return server


class Socks:
    """A SOCKS 5 proxy (RFC 1928, 1929): `seen` holds user, password and the address of each connection asked for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socks5h://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="test-socks", daemon=True).start()

    def close(self) -> None:
        """Let go of everything."""
        for sock in [self._listener, *self._sockets]:
            _end(sock)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = self._negotiate(client)
        except OSError:
            _end(client)
            return
        self._sockets.append(server)
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)

    def _negotiate(self, client: socket.socket) -> socket.socket:
        with client.makefile("rb") as stream:

            def text() -> str:
                return stream.read(stream.read(1)[0]).decode()

            stream.read(1)
            methods = stream.read(stream.read(1)[0])
            user = password = ""
            client.sendall(b"\x05\x02" if 2 in methods else b"\x05\x00")
            if 2 in methods:
                stream.read(1)
                user, password = text(), text()
                client.sendall(b"\x01\x00")
            kind = stream.read(4)[3]
            host = text() if kind == 3 else socket.inet_ntoa(stream.read(4))
            port = int.from_bytes(stream.read(2), "big")
        self.seen.append((user, password, host))
        server = socket.create_connection((host, port), timeout=10)
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return server


def _head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise OSError("hung up")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _end(source)
    _end(target)


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
