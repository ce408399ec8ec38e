"""A collector on a port, to be looked at, events for it, and somebody who watches."""

from __future__ import annotations

import json
import socket
import threading
from datetime import datetime, timezone
from typing import Any

import urllib3
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from millstream.collector import Collector, listen, url_of
from millstream.collector.debugger import Feed
from millstream.collector.events import Accepted, Kept, Rejection

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=timezone.utc)


def accepted(whole: dict[str, Any] | None = None, /, **fields: Any) -> Accepted:
    """An event as the collector keeps it: this one, or a track event with these fields."""
    whole = whole or {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1", **fields}
    line = json.dumps(whole, ensure_ascii=False).encode()
    return Accepted(whole["type"], whole.get("messageId", "m1"), line)


def rejected(reason: str = "no_user_anon_id", **fields: Any) -> Rejection:
    return Rejection(0, reason, json.dumps(fields).encode() if fields else b"")


def publish(feed: Feed, *events: Accepted, source: str = "dev-1", at: datetime = NOON) -> None:
    feed.publish("stored", Kept.of(events), source, at)


class Served:
    """A collector in memory on a port, and a client for it."""

    def __init__(self, mounted_at: str = "", **settings: Any) -> None:
        self.collector = Collector.in_memory(**settings)
        app = Starlette(routes=[Mount(mounted_at, self.collector)]) if mounted_at else self.collector
        self._listener = listen()
        self.url = url_of(self._listener)
        self.port: int = self._listener.getsockname()[1]
        self._pool = urllib3.PoolManager(retries=False, timeout=20)
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request("GET", self.url + path, headers=headers)

    def head(self, path: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request("HEAD", self.url + path)

    def send(self, *events: Any, key: str = "development-key") -> None:
        """Send a batch, as a client library does."""
        body = json.dumps({"batch": events, "writeKey": key}).encode()
        answer = self._pool.request("POST", f"{self.url}/v1/batch", body=body)
        assert answer.status == 200, answer.data

    def track(self, event: str = "Paid", **fields: Any) -> None:
        self.send({"type": "track", "event": event, "userId": "u1", **fields})

    def post(self, path: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request("POST", self.url + path, body=body, headers=headers)

    def watch(self, path: str = "/debug/events", **headers: str) -> Watcher:
        return Watcher(self.port, path, headers)

    def stop(self) -> None:
        self.collector.stop()
        self._pool.clear()
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()
        self.collector.close()


class Watcher:
    """Reads server-sent events from a socket, one message at a time."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{k}: {v}" for k, v in headers.items())]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def message(self) -> dict[str, str]:
        """The fields of the next message; raises EOFError when there is none any more."""
        fields: dict[str, str] = {}
        while True:
            line = self._file.readline()
            if not line:
                raise EOFError
            text = line.decode().rstrip("\r\n")
            name, colon, value = text.partition(": ")
            if colon and name in {"event", "id", "data", "retry"}:
                fields[name] = value
            elif not text and "event" in fields:
                return fields

    def next(self, event: str) -> dict[str, Any]:
        """The data of the next message of this name."""
        while True:
            message = self.message()
            if message["event"] == event:
                return json.loads(message["data"])

    def names(self, count: int) -> list[str]:
        """The names of so many rows."""
        rows: list[str] = []
        while len(rows) < count:
            rows += [row.get("name", "") for row in self.next("rows")["rows"]]
        return rows

    def close(self) -> None:
        self._file.close()
        self._socket.close()
