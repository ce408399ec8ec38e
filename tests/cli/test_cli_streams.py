"""Every command with standard streams that are closed, full, or a pipe that is read no more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.api import Answer, Api
from support.processes import run_script
from support.program import PROGRAM, Done, end, start

pytestmark = pytest.mark.process

STORED = {
    "type": "track", "event": "Größe", "userId": "u", "messageId": "m", "properties": {"n": 1},
    "timestamp": "2026-01-02T12:00:00.000Z", "receivedAt": "2026-01-02T12:00:00.000Z",
}  # fmt: skip
SPOOLED = """
    import os, sys
    from millstream import Analytics
    Analytics("key", host="http://127.0.0.1:1", spool=sys.argv[1], max_retries=0).track("Paid", user_id="u")
    os._exit(0)
"""
ROWS = [("hello", {"boot": "b", "last": 1}), ("rows", {"rows": [{"id": 1, "kind": "stored", "event": STORED}]})]
STREAM = Answer(
    200,
    {"Content-Type": "text/event-stream"},
    "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in ROWS).encode(),
)

COMMANDS = {
    "version": ["--version"],
    "help": ["serve", "--help"],
    "send": ["send", "track", "--event", "Paid", "--user-id", "u", "--host", "{url}"],
    "send -": ["send", "-", "--host", "{url}"],
    "send - --json": ["send", "-", "--json", "--host", "{url}"],
    "replay": ["replay", "--data", "{data}", "--to", "{url}"],
    "replay --dry-run": ["replay", "--data", "{data}", "--to", "{url}", "--dry-run"],
    "query": ["query", "select * from events", "--data", "{data}"],
    "query --json": ["query", "select * from range(100000)", "--data", "{data}", "--json"],
    "export": ["export", "--data", "{data}", "--to", "{out}/events.parquet"],
    "tail": ["tail", "--host", "{url}"],
    "tail --json": ["tail", "--host", "{url}", "--json"],
    "doctor": ["doctor", "--host", "{url}"],
    "doctor --json": ["doctor", "--host", "{url}", "--json"],
    "spool list": ["spool", "list", "{spool}"],
    "spool count": ["spool", "count", "{spool}"],
    "spool show": ["spool", "show", "{spool}"],
    "spool export": ["spool", "export", "{spool}"],
    "spool drain": ["spool", "drain", "{spool}", "--host", "{url}"],
    "keygen": ["keygen", "{out}/acme", "--ec"],
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "key")


@pytest.fixture
def command(request: pytest.FixtureRequest, tmp_path: Path, api: Api) -> list[str]:
    """One of the commands, with all that it needs."""
    name: str = request.param
    for folder in ("data", "out", "spool"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "events-00000000000000000000.jsonl").write_text(json.dumps(STORED) + "\n")
    if "spool" in name:
        run_script(SPOOLED, str(tmp_path / "spool"))
    if "tail" in name:
        api.always = STREAM
    return [each.format(url=api.url, **{n: tmp_path / n for n in ("data", "out", "spool")}) for each in COMMANDS[name]]


every_command = pytest.mark.parametrize("command", COMMANDS, indirect=True)
Program = Callable[..., Done]


@contextmanager
def standard_output(kind: str) -> Iterator[None]:
    """While this lasts, descriptor 1 is full, or a pipe that is read no more."""
    before = os.dup(1)
    try:
        if kind == "full":
            os.dup2(full := os.open("/dev/full", os.O_WRONLY), 1)
            os.close(full)
        else:
            reader, writer = os.pipe()
            os.dup2(writer, 1)
            os.close(writer)
            os.close(reader)
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


@every_command
def test_a_result_that_cannot_be_written(millstream: Program, command: list[str]) -> None:
    """It is said in one line, and is exit code 1: a script that reads the result must not take it for empty."""
    with standard_output("full"):
        done = millstream(*command, stdin=json.dumps(STORED))
    assert done.code == 1
    assert done.err.splitlines()[-1] == "millstream: cannot write to standard output: No space left on device"


@pytest.mark.process
@every_command
def test_a_closed_standard_output(command: list[str]) -> None:
    """The same where there is none. In a process of its own: here, the next file that is opened would be it."""
    done = run(command, ">&-", input=json.dumps(STORED))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "millstream: cannot write to standard output: it is closed"


@every_command
def test_a_reader_that_has_left(millstream: Program, command: list[str]) -> None:
    """`millstream … | true` has done what it was to do, and says nothing."""
    with standard_output("left"):
        assert millstream(*command, stdin=json.dumps(STORED)) == Done(0, "", "")


def run(command: list[str], redirection: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does that is told to redirect something."""
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *command]
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False, timeout=50, **options)


def test_the_work_is_done_all_the_same(millstream: Program, api: Api) -> None:
    """The events arrive, and where nobody reads the result, the exit code tells what became of them."""
    event = ["send", "track", "--event", "Paid", "--user-id", "u", "--host", api.url]
    for redirection in (">&-", ">/dev/full", "2>&-", ">&- 2>&-", "2>/dev/full"):
        assert run(event, redirection).returncode == (1 if redirection.startswith(">") else 0)
    assert len(api.accepted) == 5
    api.always = Answer(400)
    with standard_output("left"):
        assert millstream(*event).code == 1


def test_a_closed_standard_input(api: Api) -> None:
    """It is not the next file that the program opens, and no empty input."""
    done = run(["send", "-", "--json", "--host", api.url], "<&-")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == [
        {"place": "standard input", "error": "unreadable: Bad file descriptor", "message_id": ""}
    ]
    assert run(["send", "-", "--host", api.url], "</").returncode == 1


@pytest.mark.parametrize("name", ["export --json", "query --json", "tail --json", "spool export"])
def test_json_is_utf8(tmp_path: Path, api: Api, name: str) -> None:
    """Whatever the terminal's encoding is: a question mark in the place of a letter would be another event."""
    api.always = STREAM if "tail" in name else api.always
    data = tmp_path / "data"
    data.mkdir()
    (data / "events-00000000000000000000.jsonl").write_text(json.dumps(STORED) + "\n")
    spool = tmp_path / "spool"
    run_script(SPOOLED.replace("Paid", "Größe"), str(spool))
    arguments = {
        "export --json": ["export", "--data", str(data), "--to", str(tmp_path / "Größe.csv"), "--json"],
        "query --json": ["query", "select event_text from tracks", "--data", str(data), "--json"],
        "tail --json": ["tail", "--host", api.url, "--json"],
        "spool export": ["spool", "export", str(spool)],
    }[name]
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = start(*arguments, env=env, encoding="utf-8")
    assert process.stdout
    assert "Größe" in json.dumps(json.loads(process.stdout.readline()), ensure_ascii=False)
    process.kill()
    end(process)


# -- the collector ----------------------------------------------------------------------------------


def serve(data: Path, redirection: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, "serve", "--port", "0", "--data", str(data)],
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def post(greeting: str) -> None:
    found = re.search(r"http://[\w.]+:\d+", greeting)
    assert found, greeting
    event = {"type": "track", "event": "Paid", "userId": "u"}
    assert urllib3.request("POST", f"{found[0]}/v1/batch", json={"batch": [event]}, retries=False).status == 200


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_collector_without_standard_output(tmp_path: Path, redirection: str) -> None:
    """It serves, says on standard error where, and stops as always: what it says is not what it is for."""
    process = serve(tmp_path, redirection)
    assert process.stderr
    post(process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    done = end(process)
    assert done == Done(0, None, "millstream collector: stopped; requests: 1, events stored: 1, rejected: 0\n")  # type: ignore[arg-type]
    assert len(list(tmp_path.glob("events-*.jsonl"))) == 1


def test_a_collector_whose_reader_has_left(tmp_path: Path) -> None:
    """`millstream serve | head -1` goes on, and a signal is exit code 0."""
    process = serve(tmp_path, "", stdout=subprocess.PIPE)
    assert process.stdout
    post(process.stdout.readline())
    process.stdout.close()
    process.stdout = None
    process.send_signal(signal.SIGTERM)
    assert end(process).code == 0


@pytest.mark.parametrize(("before", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)], ids=["", "nohup"])
def test_a_hangup_stops_in_good_order(tmp_path: Path, before: Any, stops: bool) -> None:
    """A closed terminal stops the collector as Ctrl-C does; under `nohup` it goes on."""
    prepare: Callable[[], object] = lambda: signal.signal(signal.SIGHUP, before)  # noqa: E731
    process = serve(tmp_path, "", stdout=subprocess.PIPE, preexec_fn=prepare)
    assert process.stdout
    greeting = process.stdout.readline()
    post(greeting)
    process.send_signal(signal.SIGHUP)
    if not stops:
        post(greeting)
        process.send_signal(signal.SIGTERM)
    done = end(process)
    assert (done.code, done.err) == (0, "")
    assert f"events stored: {1 if stops else 2}" in done.out
