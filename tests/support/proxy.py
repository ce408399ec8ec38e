"""A forward proxy on loopback: passes requests on (absolute form) and opens tunnels (CONNECT), and writes down both."""

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
