"""A load on loopback, and a collector in a process of its own that can be killed under it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3

PATIENCE = 30.0
WAYS = {
    "direct": ("-m", "millstream"),
    "asgi": (str(Path(__file__).with_name("other_uvicorn.py")),),
}
"""With the uvicorn that is installed, and with one that the collector does not know inside."""


class Process:
    """A `millstream serve` that has said that it is ready; `program` is what Python runs as `millstream`."""

    def __init__(self, data: Path, *options: str, port: int = 0, program: Sequence[str] = ("-m", "millstream")) -> None:
        command = [sys.executable, *program, "serve", "--port", str(port), "--data", str(data), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout
        greeting = self._process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
        if found is None:
            raise AssertionError(greeting + self._process.communicate(timeout=PATIENCE)[1])
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.pid = self._process.pid
        self.data = data

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send it a signal. Its exit code, and what it said."""
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out, err


class Load:
    """Clients that send batches, one after the other, and write down which of their events were answered 200.

    Like an SDK they send a batch again, with the same ids, until it is.
    """

    def __init__(self, port: int, *, clients: int = 8, events: int = 20) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/batch"
        self._events = events
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.answered: list[str] = []
        self.statuses: set[int] = set()
        self.enough = threading.Semaphore(0)  # released with each batch that was answered 200
        self._threads = [threading.Thread(target=self._run, args=(name,)) for name in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client bring its last batch home, or give up."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self, name: int) -> None:
        pool = urllib3.PoolManager(retries=False, timeout=5)
        number = 0
        while not self._over.is_set():
            ids = [f"{name}-{number}-{index}" for index in range(self._events)]
            body = json.dumps({"batch": [_event(each) for each in ids], "writeKey": "k"})
            while True:
                status = _post(pool, self._url, body)
                with self._lock:
                    self.statuses.add(status)
                if status == 200:
                    with self._lock:
                        self.answered += ids
                    self.enough.release()
                    break
                if self._over.wait(0.02):
                    return
            number += 1


def _event(message_id: str) -> dict[str, Any]:
    return {"type": "track", "event": "Paid", "userId": "u", "messageId": message_id, "properties": {"x": "y" * 300}}


def _post(pool: urllib3.PoolManager, url: str, body: str) -> int:
    try:
        return pool.request("POST", url, body=body).status
    except urllib3.exceptions.HTTPError:
        return 0


def stored(data: Path) -> list[str]:
    """The ids of all events in a directory, in order. Every line of every file has to be one."""
    files = sorted(data.glob("events-*.jsonl"))
    return [json.loads(line)["messageId"] for file in files for line in file.read_bytes().split(b"\n")[:-1]]
