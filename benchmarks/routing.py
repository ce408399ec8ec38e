"""What a router takes from a log to destinations: a real `millstream route run`, and receivers on loopback.

    python benchmarks/routing.py [--events N]

Every event is about 600 bytes. The number to compare is events per CPU-second of the router's process, all its threads
included: neighbours on the machine disturb it little. `first` is when the first request came, from the start of the
process, with all of the backlog in the log; `memory` is the most that the process had.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Process, Value
from pathlib import Path
from typing import Any

EVENT = (
    b'{"type":"track","event":"Order Completed","messageId":"m%012d","userId":"user-%06d",'
    b'"timestamp":"2026-05-17T10:00:00.000Z","receivedAt":"2026-05-17T10:00:01.000Z","sourceId":"web","integrations":{},'
    b'"context":{"library":{"name":"x","version":"1"}},"properties":{"text":"%s","revenue":39.95}}\n'
)
PADDING = b"x" * 280
DESTINATIONS: dict[str, dict[str, object]] = {
    "forward": {"type": "tracking_api", "write_key": "key"},
    "webhook": {"type": "webhook", "secret": "a-secret-of-the-benchmark"},
    "mixpanel": {"type": "mixpanel", "token": "a-token-of-the-benchmark"},
}
ANSWER = b'{"code":200,"status":1}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    count = parser.parse_args().events
    print(f"{'destination':12} {'events/CPU-s':>13} {'events/s':>10} {'first, s':>9} {'memory, MB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        _fill(data, count)
        for name, table in DESTINATIONS.items():
            measure(name, table, data, Path(folder), count)


def measure(name: str, table: dict[str, object], data: Path, folder: Path, count: int) -> None:
    """Route all of the log to one destination, and print what it took."""
    listener = socket.create_server(("127.0.0.1", 0))
    first, bytes_in = Value("d", 0.0), Value("q", 0)
    receiver = Process(target=_receive, args=(listener, first, bytes_in), daemon=True)
    receiver.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    where = "url" if name == "webhook" else "host"
    config = folder / f"{name}.toml"
    lines = [f'{key} = "{value}"' for key, value in {**table, where: url, "start": "beginning"}.items()]
    config.write_text("\n".join([f"[destinations.{name}]", *lines]))
    began = time.time()
    command = [sys.executable, "-m", "millstream", "route", "run", "--config", str(config), "--data", str(data)]
    router = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _wait(lambda: _delivered(data, name) >= count)
    seconds = time.time() - began
    router.send_signal(signal.SIGTERM)
    _, _, usage = os.wait4(router.pid, 0)
    receiver.terminate()
    cpu = usage.ru_utime + usage.ru_stime
    memory = usage.ru_maxrss / 1024
    print(f"{name:12} {count / cpu:>13,.0f} {count / seconds:>10,.0f} {first.value - began:>9.2f} {memory:>11.0f}")


def _fill(data: Path, count: int) -> None:
    data.mkdir()
    with (data / f"events-{0:020d}.jsonl").open("wb") as file:
        for number in range(count):
            file.write(EVENT % (number, number % 5000, PADDING))


def _delivered(data: Path, name: str) -> int:
    from millstream.router import statuses  # noqa: PLC0415

    return next((each.counters.delivered for each in statuses(data, time.time()) if each.name == name), 0)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit("it did not end")
        time.sleep(0.05)


def _receive(listener: socket.socket, first: Any, bytes_in: Any) -> None:
    """Answer every request 200, as fast as Python can."""
    import threading  # noqa: PLC0415

    def serve(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while line := stream.readline():
            if not first.value:
                first.value = time.time()
            length = 0
            while line.strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = stream.readline()
            bytes_in.value += len(stream.read(length))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
