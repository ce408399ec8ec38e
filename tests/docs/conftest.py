"""What the pages' code talks to: a collector and an HTTP proxy, both real and both on loopback."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


class Collector:
    """A `penstock serve` that has said that it is ready."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "penstock", "serve", "--port", "0", "--data", str(data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.data = data
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        found = re.search(r"http://\S+", greeting)
        assert found, greeting
        self.url = found[0]

    def events(self) -> list[dict[str, Any]]:
        """What it has stored, in order."""
        return [
            json.loads(line) for file in sorted(self.data.glob("*.jsonl")) for line in file.read_bytes().splitlines()
        ]

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    running = Collector(tmp_path / "events")
    yield running
    running.stop()


class _Proxy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        target = urlsplit(self.path)
        onward = http.client.HTTPConnection(target.hostname or "", target.port, timeout=10)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        onward.request("POST", target.path, body, headers)
        answer = onward.getresponse()
        content = answer.read()
        onward.close()
        self.server.seen.append({name.lower() for name in self.headers})  # type: ignore[attr-defined]
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Proxy:
    """An HTTP proxy. `seen` holds the names of the headers of the requests that went through it."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
        self.seen: list[set[str]] = []
        self._server.seen = self.seen  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.stop()
