"""What the collector takes in, durably: a real `millstream serve` on one core, and a load on the others.

    python benchmarks/collector.py [--seconds N] [--case NAME] [--json FILE]

Every event is about 600 bytes and has an id of its own. A request is answered when its events are forced to the disk.
The number to compare is events per CPU-second of the server (all its threads, user and system), which neighbours on the
machine disturb little; the rate on the clock and the latencies are those of this machine at this moment.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop

EVENT_BYTES = 600
ID_DIGITS = 12
WARM_UP = 1.0
"""Seconds of load before anything is measured."""


@dataclass(frozen=True)
class Case:
    name: str
    connections: int
    batch: int  # events in a request; 0 is single events to /v1/track
    gzip: bool = False


CASES = [
    Case("batches", connections=32, batch=100),
    Case("batches, gzip", connections=32, batch=100, gzip=True),
    Case("batches, one client", connections=1, batch=100),
    Case("single events", connections=32, batch=0),
]


@dataclass
class Result:
    case: str
    events: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    memory_mb: list[float]
    """Resident, at the beginning and after each tenth of the time."""

    @property
    def per_cpu_second(self) -> float:
        return self.events / self.cpu_seconds


class Server:
    """`millstream serve` with a directory of its own, on one core if there are several."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "millstream", "serve", "--port", "0", "--data", str(data), "--max-size", "2GB"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        found = re.search(r"http://([\d.]+):(\d+)", self._process.stdout.readline())
        assert found, "the collector did not start"
        self.address = found[1], int(found[2])
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores[:1])
            os.sched_setaffinity(0, cores[1:])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stats(self) -> dict[str, Any]:
        host, port = self.address
        with urllib.request.urlopen(f"http://{host}:{port}/stats", timeout=10) as answer:
            stats: dict[str, Any] = json.load(answer)
            return stats

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)


class Load:
    """Requests from so many connections, each with one under way; and how long each took."""

    def __init__(self, server: Server, case: Case) -> None:
        self._server = server
        self._case = case
        self._bodies = bodies(case)
        self.until = 0.0
        self.requests = 0
        self.latencies: list[float] = []
        self.memory_mb: list[float] = []

    async def run(self, seconds: float) -> None:
        self.until = time.perf_counter() + seconds
        self.requests, self.latencies, self.memory_mb = 0, [], []
        loop = asyncio.get_running_loop()
        connections = [
            await loop.create_connection(partial(_Connection, self), *self._server.address)
            for _ in range(self._case.connections)
        ]
        await asyncio.gather(self._watch(seconds / 10), *(connection.done for _, connection in connections))

    async def _watch(self, every: float) -> None:
        for _ in range(10):
            self.memory_mb.append(self._server.memory_mb())
            await asyncio.sleep(every)
        self.memory_mb.append(self._server.memory_mb())

    def next(self) -> bytes:
        """One more request."""
        return self._request(next(self._bodies))

    def _request(self, body: bytes) -> bytes:
        route = "batch" if self._case.batch else "track"
        encoding = "Content-Encoding: gzip\r\n" if self._case.gzip else ""
        return (
            f"POST /v1/{route} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark/1\r\n"
            "Authorization: Basic YmVuY2htYXJrLWtleTo=\r\nContent-Type: application/json\r\n"
            f"{encoding}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class _Connection(asyncio.Protocol):
    """Sends a request as soon as the last one is answered. Little code: its core may share what the server's has."""

    def __init__(self, load: Load) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._load = load
        self._answer = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(_ANSWER):
            return
        assert self._answer.startswith(b"HTTP/1.1 200"), self._answer
        self._answer = b""
        now = time.perf_counter()
        self._load.latencies.append(now - self._began)
        self._load.requests += 1
        if now < self._load.until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer or exc:
            self.done.set_exception(exc or AssertionError(self._answer))
        else:
            self.done.set_result(None)

    def _send(self) -> None:
        request = self._load.next()
        self._began = time.perf_counter()
        self._transport.write(request)


_ANSWER = b'\r\n\r\n{"success": true}'


def bodies(case: Case) -> Iterator[bytes]:
    """Bodies without end, in which no id comes twice. Put together from pieces: the load is not to be the limit."""
    mark = "#" * ID_DIGITS
    event: dict[str, Any] = {
        "messageId": f"0b5a9f6e-6f1d-4f1b-9a5c-{mark}",
        "type": "track",
        "timestamp": "2026-01-02T03:04:05.123Z",
        "userId": "user-123456",
        "event": "Order Completed",
        "properties": {
            "order_id": "o-81f3",
            "revenue": 49.99,
            "currency": "EUR",
            "title": "Café – 東京 ✓",
            "items": [],
        },
        "context": {"library": {"name": "benchmark", "version": "1"}, "ip": "203.0.113.7", "locale": "en-GB"},
        "integrations": {},
    }
    size = len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode())
    event["properties"]["note"] = "x" * max(0, EVENT_BYTES - size - len(',"note":""'))
    whole: Any = event
    if case.batch:
        whole = {"batch": [event] * case.batch, "writeKey": "benchmark-key", "sentAt": "2026-01-02T03:04:06.000Z"}
    pieces = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode().split(mark.encode())
    pack: Callable[[bytes], bytes] = (lambda body: gzip.compress(body, 1)) if case.gzip else bytes
    number = 0
    while True:
        parts = [pieces[0]]
        for piece in pieces[1:]:
            parts += b"%0*d" % (ID_DIGITS, number), piece
            number += 1
        yield pack(b"".join(parts))


def measure(case: Case, seconds: float, folder: Path) -> Result:
    """One case against a collector of its own. Fails if one event is not stored, or is stored twice."""
    data = Path(tempfile.mkdtemp(dir=folder, prefix="collector-"))
    server = Server(data)
    try:
        load = Load(server, case)
        uvloop.run(load.run(WARM_UP))
        before, cpu, began = server.stats(), server.cpu_seconds(), time.perf_counter()
        uvloop.run(load.run(seconds))
        took, used, after = time.perf_counter() - began, server.cpu_seconds() - cpu, server.stats()
        events = load.requests * (case.batch or 1)
        assert after["stored"] - before["stored"] == events, "not every event is stored"
        assert after["duplicates"] == after["rejected"] == after["failed"] == 0, after
        latencies = sorted(load.latencies)
        p50, p99 = (latencies[int(len(latencies) * part)] * 1000 for part in (0.5, 0.99))
        return Result(case.name, events, took, used, p50, p99, load.memory_mb)
    finally:
        server.stop()
        shutil.rmtree(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="this one alone")
    parser.add_argument("--data", type=Path, default=Path.cwd(), help="a directory on the disk that is to be measured")
    parser.add_argument("--json", type=Path, help="write the numbers to this file, too")
    options = parser.parse_args()
    results: list[Result] = []
    print(f"{'':22}{'events/CPU-s':>14}{'events/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'memory MB':>16}")
    for case in CASES:
        if options.case in {None, case.name}:
            result = measure(case, options.seconds, options.data)
            results.append(result)
            print(
                f"{result.case:22}{result.per_cpu_second:>14,.0f}{result.events / result.seconds:>12,.0f}"
                f"{result.p50_ms:>9.1f}{result.p99_ms:>9.1f}{result.memory_mb[0]:>9.0f} →{result.memory_mb[-1]:>5.0f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2))


if __name__ == "__main__":
    main()
