"""Scripts in processes of their own: what only a whole process can show."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

DECIDED_OUTSIDE = (
    "MILLSTREAM_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA",
    "CURL_CA",
    "SSL_CERT",
)
# Every warning is an error, but for one: from Python 3.12 on a fork beside threads is warned of, which is our subject.
WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


class Ended(NamedTuple):
    """How a process ended, and what it said. `code` is negative for a signal."""

    code: int
    out: str
    err: str


def run_script(source: str, *arguments: str, timeout: float = 90.0, **variables: str) -> str:
    """Run Python source in a process of its own, and return what it printed.

    Fails if the process fails, does not end, or says anything on its standard error.
    """
    done = ended(start_script(source, *arguments, **variables), timeout)
    assert done.code == 0, f"the script ended with {done.code}\n{done.out}\n{done.err}"
    assert not done.err, f"the script said on its standard error:\n{done.err}"
    return done.out


def start_script(
    source: str | Path, *arguments: str, stdin: int | None = None, **variables: str
) -> subprocess.Popen[str]:
    """The same, without waiting for its end. What other processes are to import needs a file: give its path."""
    script = [str(source)] if isinstance(source, Path) else ["-c", dedent(source)]
    return start([sys.executable, *WARNINGS, *script, *arguments], stdin=stdin, **variables)


def start(command: list[str], stdin: int | None = None, **variables: str) -> subprocess.Popen[str]:
    """Start any program, without what is decided outside."""
    return child(
        subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **variables},
        )
    )


_children: list[subprocess.Popen[str]] = []


def child(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Have this process ended with the test that started it, if it has not ended by then."""
    _children.append(process)
    return process


def end_children() -> None:
    """Kill what is left of the processes that a test has started."""
    while _children:
        process = _children.pop()
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def environment() -> dict[str, str]:
    """What is inherited."""
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(DECIDED_OUTSIDE)}


def until_ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Wait until the script has printed `ready`, and its main thread does what follows."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if line != "ready":
        raise AssertionError(f"the script said {line!r} instead of 'ready'\n{ended(process)}")
    _until_asleep(process.pid)
    return process


def _until_asleep(pid: int, most: float = 0.5) -> None:
    """Wait until the main thread sleeps, for at most `most` seconds: there are scripts that never do.

    A signal that comes after Python's last look for one, and before the system call of `time.sleep(60)`, is handled
    60 seconds later: Python runs handlers between two steps of the main thread.
    """
    stat = Path(f"/proc/{pid}/stat")
    until, asleep = time.monotonic() + most, 0
    while asleep < 3 and time.monotonic() < until and stat.exists():
        state = stat.read_text("ascii", "replace").rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.002)


def ended(process: subprocess.Popen[str], timeout: float = 90.0) -> Ended:
    """Wait for the end of a process. One that does not end is killed, and fails the test."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the process did not end in {timeout:g} s\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)
