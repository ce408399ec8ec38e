"""`penstock serve` as an operator meets it: a real process, its words, its signals and its exit code."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from penstock.collector import listen

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

PENSTOCK = [sys.executable, "-m", "penstock"]
TRACK = {"type": "track", "event": "Paid", "userId": "u1"}


class Collector:
    """A `penstock serve` that has said that it is ready."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [*PENSTOCK, "serve", "--port", "0", "--data", str(data), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.greeting = self.process.stdout.readline()
        found = re.fullmatch(r"penstock collector: (http://\S+)  \(events in (\S+)/, Ctrl-C to stop\)\n", self.greeting)
        assert found, (self.greeting, self.process.poll())
        self.url, self.folder = found[1], Path(found[2])
        self.pool = urllib3.PoolManager(retries=False, timeout=10)

    def post(self, *events: dict[str, Any], **envelope: Any) -> int:
        return self.pool.request("POST", f"{self.url}/v1/batch", json={"batch": events, **envelope}).status

    def stored(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def stop(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        self.pool.clear()
        return self.process.returncode, out, err


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    collector = Collector(tmp_path)
    yield collector
    if collector.process.poll() is None:
        collector.stop(signal.SIGKILL)


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([*PENSTOCK, *arguments], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_stores_and_stops(collector: Collector, number: int) -> None:
    """It greets when it answers, keeps what it is sent, and on a signal says what it did and exits 0."""
    assert collector.post(TRACK, {"type": "track"}) == 200
    summary = "penstock collector: stopped; requests: 1, events stored: 1, rejected: 1\n"
    assert collector.stop(number) == (0, summary, "")
    assert [event["event"] for event in collector.stored()] == ["Paid"]


def test_what_was_answered_200_survives_a_kill(collector: Collector) -> None:
    """SIGKILL leaves no time for anything, and nothing is left to do."""
    for _ in range(20):
        assert collector.post(TRACK, TRACK) == 200
    code, _, _ = collector.stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert len(collector.stored()) == 40


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit (Linux)")
def test_a_full_disk_is_answered_503_and_its_end_is_noticed(collector: Collector) -> None:
    """While nothing can be written nothing is promised; afterwards all goes on, and no line is torn."""
    assert collector.post(TRACK) == 200
    pid = collector.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (300, hard))
    assert collector.post(TRACK, TRACK) == 503
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert collector.post(TRACK) == 200
    assert len(collector.stored()) == 2
    code, out, _ = collector.stop(signal.SIGTERM)
    assert code == 0
    assert "events stored: 2, rejected: 0, not stored: 2" in out


def test_keys_can_be_demanded(tmp_path: Path) -> None:
    """`--key` may be repeated, and without one of them there is no entry."""
    collector = Collector(tmp_path, "--key", "one", "--key", "two")
    try:
        assert collector.post(TRACK) == 401
        assert [collector.post(TRACK, writeKey=key) for key in ("one", "two", "three")] == [200, 200, 401]
    finally:
        code, _, _ = collector.stop(signal.SIGTERM)
    assert code == 0


def test_an_idle_connection_does_not_delay_the_stop(collector: Collector) -> None:
    """Clients keep connections open between batches: that is no reason to stay."""
    assert collector.post(TRACK) == 200
    assert collector.stop(signal.SIGINT)[0] == 0


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """The operator reads which port, not a traceback, and no file is left behind."""
    with listen() as taken:
        port = str(taken.getsockname()[1])
        code, out, err = run("serve", "--port", port, "--data", str(tmp_path / "data"))
    assert (code, out) == (2, "")
    assert err == f"penstock: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert not (tmp_path / "data").exists()


def test_an_unwritable_directory_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """The operator reads which directory, and what is wrong with it."""
    (tmp_path / "file").touch()
    code, out, err = run("serve", "--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert (code, out) == (2, "")
    assert err == f"penstock: cannot keep events in {tmp_path}/file/data: Not a directory\n"


def test_an_unknown_host_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """An address that is not this machine's cannot be listened on."""
    code, out, err = run("serve", "--port", "0", "--host", "192.0.2.1", "--data", str(tmp_path), "--token", "t")
    assert (code, out) == (2, "")
    warning, error = err.splitlines()
    assert "can be reached from other machines" in warning
    assert error.startswith("penstock: cannot listen on 192.0.2.1 port 0: ")
