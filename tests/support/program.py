"""The program as its user has it: arguments in, exit code and words out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from support.processes import child

__all__ = ["PROGRAM", "Collector", "Done", "end", "start"]

PROGRAM = [sys.executable, "-m", "millstream"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its result, from one document on standard output."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """What it said on standard error, without frames, colours and line breaks."""
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", self.err)
        return " ".join(plain.split())


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {**os.environ, "COLUMNS": "200", **options.pop("env", {})}
    return child(subprocess.Popen([*PROGRAM, *arguments], text=True, env=env, **{**pipes, **options}))


def end(process: subprocess.Popen[str], timeout: float = 60.0) -> Done:
    """How it ends."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end in {timeout:g} s\n{out}\n{err}") from None
    return Done(process.returncode, out, err)


class Collector:
    """A `millstream serve` on a free port, or on the one that is named, which has said that it is ready."""

    def __init__(self, data: Path, *options: str, port: int = 0) -> None:
        self.process = start("serve", "--port", str(port), "--data", str(data), *options)
        assert self.process.stdout
        greeting = self.process.stdout.readline()
        found = re.search(r"http://\S+", greeting)
        assert found, (greeting, self.process.poll())
        self.url = found[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def post(self, *events: Any, **envelope: Any) -> None:
        """Send a batch."""
        body = json.dumps({"batch": events, "writeKey": "key", **envelope}).encode()
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request("POST", f"{self.url}/v1/batch", body=body)
        assert answer.status == 200

    def stop(self) -> None:
        """End it, if it has not ended yet."""
        if self.process.poll() is None:
            self.process.terminate()
        end(self.process)
