"""The destinations of the demo, on loopback: each counts what it gets, and one of them is down for a while."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from millstream.destinations import Mixpanel, preview

SECRET = "the-demo's-own-secret"  # noqa: S105 - of stand-ins on loopback
TOKEN = "demo-token-of-mixpanel"  # noqa: S105

CONFIGURATION = """\
# Written by the demo. `millstream route status --data {store}` shows what became of the events.

[sources.shop]
key = "shop"

[destinations.webhook]
type = "webhook"
url = "{webhook}/events"
secret = "{secret}"
start = "beginning"

[destinations.second]
type = "tracking_api"
write_key = "demo"
host = "{second}"
start = "beginning"

[destinations.mixpanel]
type = "mixpanel"
token = "{token}"
host = "{mixpanel}"
start = "beginning"
"""


@dataclass
class Received:
    """What a destination has got: how often each thing, and what was wrong."""

    things: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    refused: int = 0
    """Requests that were answered 503."""
    problems: list[str] = field(default_factory=list)


class StandIn:
    """A destination on a free port. As a context manager it ends with the block.

    Args:
        name: of the destination.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.down = False
        self.received = Received()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, name=self.name, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Count a request. Returns the status and the body of the answer."""
        with self._lock:
            self.received.requests += 1
            if self.down or (self.name == "mixpanel" and not self.received.refused):
                self.received.refused += 1
                return 503, b"down for a while"
            return self._count(path, headers, json.loads(body), body)

    def _count(self, path: str, headers: Mapping[str, str], items: list[Any], body: bytes) -> tuple[int, bytes]:
        if self.name == "mixpanel":
            self.received.things.update(keys_of(path, items))
            return 200, json.dumps({"code": 200, "num_records_imported": len(items), "status": 1}).encode()
        stamp = headers.get("X-Millstream-Timestamp", "")
        expected = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get("X-Millstream-Signature", ""), expected):
            self.received.problems.append("a request to the webhook has a wrong signature")
            return 401, b"wrong signature"
        self.received.things.update(item["messageId"] for item in items)
        return 200, b"{}"


def keys_of(path: str, items: Iterable[Any]) -> list[str]:
    """Return what stands for each thing that Mixpanel is sent: the same for the same thing."""
    return [f"{path.partition('?')[0]} {json.dumps(item, sort_keys=True)}" for item in items]


def expected_of_mixpanel(lines: Iterable[bytes]) -> Counter[str]:
    """Return what stored events become at Mixpanel, by the destination's own preview."""
    mixpanel = Mixpanel(TOKEN, host="http://127.0.0.1")
    wanted: Counter[str] = Counter()
    for line in lines:
        for request in preview(mixpanel, line, 0.0):
            wanted.update(keys_of(request.url.removeprefix("http://127.0.0.1"), json.loads(request.body)))
    return wanted


def configuration(path: Path, store: Path, **urls: str) -> Path:
    """Write the collector's configuration."""
    path.write_text(CONFIGURATION.format(store=store, secret=SECRET, token=TOKEN, **urls), "utf-8")
    return path


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = stand_in.take(self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's
            pass

    return Handler
