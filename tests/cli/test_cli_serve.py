"""`millstream serve` as an operator meets it: a real process, its words, its signals and its exit code."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from millstream.collector import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.program import Done

pytestmark = pytest.mark.process

MILLSTREAM = [sys.executable, "-m", "millstream"]
TRACK = {"type": "track", "event": "Paid", "userId": "u1"}


class Collector:
    """A `millstream serve` that has said that it is ready."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        command = [*MILLSTREAM, "serve", "--port", "0", "--data", str(data), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self.process.stdout
        self.greeting = self.process.stdout.readline()
        found = re.fullmatch(
            r"millstream collector: (http://\S+)  \(events in (\S+)/, Ctrl-C to stop\)\n", self.greeting
        )
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
    done = subprocess.run([*MILLSTREAM, *arguments], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_stores_and_stops(collector: Collector, number: int) -> None:
    """It greets when it answers, keeps what it is sent, and on a signal says what it did and exits 0."""
    assert collector.post(TRACK, {"type": "track"}) == 200
    summary = "millstream collector: stopped; requests: 1, events stored: 1, rejected: 1\n"
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
    assert err == f"millstream: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert not (tmp_path / "data").exists()


def test_an_unwritable_directory_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """The operator reads which directory, and what is wrong with it."""
    (tmp_path / "file").touch()
    code, out, err = run("serve", "--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert (code, out) == (2, "")
    assert err == f"millstream: cannot store events in {tmp_path}/file/data: Not a directory\n"


def test_an_unknown_host_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """An address that is not this machine's cannot be listened on."""
    code, out, err = run("serve", "--port", "0", "--host", "192.0.2.1", "--data", str(tmp_path), "--token", "t")
    assert (code, out) == (2, "")
    warning, error = err.splitlines()
    assert "is reachable from other machines" in warning
    assert error.startswith("millstream: cannot listen on 192.0.2.1 port 0: ")


def test_another_collector_on_the_directory_is_one_line_and_exit_code_2(collector: Collector) -> None:
    """Two would cut off each other's lines."""
    code, out, err = run("serve", "--port", "0", "--data", str(collector.folder))
    assert (code, out) == (2, "")
    assert err == f"millstream: {collector.folder} is in use by another collector: choose another directory\n"


def test_settings_come_from_options_then_the_environment_then_a_file(tmp_path: Path) -> None:
    """The same names everywhere, and the nearest one counts."""
    file = tmp_path / "collector.toml"
    file.write_text('port = 1\nstrict = true\nkey = ["file"]\ndedup_window = 0\nrate-limit = 1000\nmax-size = "1GB"\n')
    collector = Collector(tmp_path / "data", "--config", str(file), MILLSTREAM_COLLECTOR_KEY="one two")
    try:
        event = {**TRACK, "messageId": "m"}
        assert [collector.post(event, writeKey=key) for key in ("file", "one", "two")] == [401, 200, 200]
        assert collector.post({"type": "track"}, writeKey="one") == 400
        assert collector.post(event, writeKey="one") == 200
        assert len(collector.stored()) == 3
    finally:
        collector.stop(signal.SIGTERM)


def test_an_interval_and_a_limit_for_age_can_be_set(tmp_path: Path) -> None:
    """As one writes them."""
    collector = Collector(
        tmp_path, "--sync", "interval:20ms", "--max-age", "30d", "--oauth-audience", "https://x.example"
    )
    assert collector.post(TRACK) == 200
    assert collector.stop(signal.SIGTERM)[0] == 0
    assert len(collector.stored()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prot = 1", "there is no option prot; did you mean port?"),
        ("port = ", "is no TOML: "),
        ('port = "x"', "--port"),
        (None, "it cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_used_is_exit_code_2(
    millstream: Callable[..., Done], tmp_path: Path, content: str | None, said: str
) -> None:
    """A setting that nobody knows is a slip of the pen, which would otherwise be without effect in silence."""
    file = tmp_path / "collector.toml"
    if content is not None:
        file.write_text(content)
    done = millstream("serve", "--config", str(file), "--data", str(tmp_path / "data"))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dedup-window", "soon"], "--dedup-window 'soon' must be a duration such as 500ms, 90s, 24h or 30d"),
        (["--max-age", "3 years"], "--max-age '3 years' must be a duration"),
        (["--max-size", "much"], "--max-size 'much' must be a size such as 500MB or 20GB"),
        (
            ["--sync", "sometimes"],
            "--sync 'sometimes' must be always, or interval and a duration, as in interval:500ms",
        ),
        (["--sync", "interval:0"], "--sync 'interval:0' must be"),
        (
            ["--host", "0.0.0.0"],
            "0.0.0.0 is reachable from other machines, and so is the page: set a --token for it",
        ),
        (["--oauth-key", "nowhere.pem"], "oauth-key: cannot read nowhere.pem: No such file or directory"),
        (["--rate-limit", "0"], "rate_limit must be a number of events per second over 0"),
        (["--token", "with space"], "token: ASCII letters"),
        (["--prefix", "/a b"], "prefix '/a b' must be a path such as /tracking"),
        (["--allow-host", "*.example"], "hosts: '*.example' is not a host name"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    millstream: Callable[..., Done], tmp_path: Path, options: list[str], said: str
) -> None:
    """The operator reads which setting, and what it may be."""
    done = millstream("serve", "--port", "0", "--data", str(tmp_path), *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"millstream: {said}")
    assert done.err.count("\n") == 1


def test_oauth_without_an_audience_is_warned_about(tmp_path: Path) -> None:
    """An assertion that a client has made for another server would be accepted, if it names that one as Host."""
    pem = tmp_path / "shop.pem"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for options, warned in (([], True), (["--oauth-audience", "https://events.example.com"], False)):
        collector = Collector(tmp_path / "data", "--oauth-key", str(pem), *options)
        code, _, err = collector.stop(signal.SIGTERM)
        assert code == 0
        assert ("--oauth-audience to the URL" in err) == warned


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_an_address_may_be_written_as_in_a_url(tmp_path: Path, host: str) -> None:
    """With brackets or without; it is this machine's own, and needs no token."""
    collector = Collector(tmp_path, "--host", host)
    assert collector.url.startswith("http://[::1]:")
    assert collector.post(TRACK) == 200
    assert collector.stop(signal.SIGTERM)[0] == 0


def test_requests_may_come_with_the_prefix_of_a_proxy(tmp_path: Path) -> None:
    """Events, the page and all else: with it, without it, and with a slash too many."""
    collector = Collector(tmp_path, "--prefix", "/tracking/v2/")
    for path in ("/v1/track", "/tracking/v2/v1/track", "//v1/track", "/tracking/v2//v1//track"):
        answer = collector.pool.request("POST", collector.url + path, json=TRACK)
        assert (answer.status, answer.json()) == (200, {"success": True}), path
    for path in ("/health", "/tracking/v2/health", "/tracking/v2/stats", "/tracking/v2/", "/tracking/v2/debug/app.js"):
        assert collector.pool.request("GET", collector.url + path).status == 200, path
    for path in ("/tracking/health", "/tracking/v2v1/track"):
        assert collector.pool.request("GET", collector.url + path).status == 404, path
    assert collector.stop(signal.SIGTERM)[0] == 0
    assert len(collector.stored()) == 4


def test_an_address_that_others_reach_is_warned_about(tmp_path: Path) -> None:
    """There is no TLS."""
    process = subprocess.Popen(
        [*MILLSTREAM, "serve", "--host", "0.0.0.0", "--token", "t", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert "http://0.0.0.0:" in process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert err == "millstream: warning: 0.0.0.0 is reachable from other machines, without TLS\n"
