"""`millstream serve` with destinations, as a process, and clients for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from routing import PATIENCE

from millstream import Analytics
from support.processes import child, environment

HERE = Path(__file__).parent


class Served:
    """A collector in a process of its own, and its router.

    Args:
        folder: of its configuration, `collector.toml`, and its events, `data`.
        tables: what the configuration holds.
    """

    def __init__(self, folder: Path, tables: Mapping[str, Any]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "collector.toml"
        self.errors = folder / "errors.log"
        self.configure(tables)

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def configure(self, tables: Mapping[str, Any]) -> None:
        """Write the configuration."""
        self.config.write_text(toml(tables))

    def start(self) -> None:
        """Start the collector, and wait until it listens."""
        command = [sys.executable, "-m", "millstream", "serve", "--port", "0"]
        with self.errors.open("ab") as errors:
            self.process = child(
                subprocess.Popen(
                    [*command, "--config", str(self.config), "--data", str(self.data)],
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env={**environment(), "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
                )
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}\n{self.errors.read_text()}"
        self.url = found[0]

    def kill(self) -> None:
        """Kill the collector; its router ends by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def record(self, numbers: range, key: str = "web-key") -> None:
        """Have a client record events, and wait until the collector has them."""
        client = Analytics(key, host=self.url)
        for n in numbers:
            client.track("Counted", user_id=f"user-{n % 7}", message_id=f"m{n}", properties={"n": n})
        result = client.close_and_flush(timeout=PATIENCE)
        assert result.delivered == len(numbers), result

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours beside it."""
        return subprocess.run(
            [sys.executable, "-m", "millstream", *arguments, "--data", str(self.data)],
            env={**environment(), "PYTHONPATH": str(HERE), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def toml(tables: Mapping[str, Any]) -> str:
    """Return tables as TOML: values are JSON, which TOML's are in all that tests need."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    for kind, named in tables.items():
        if isinstance(named, Mapping):
            for name, table in named.items():
                lines.append(f"[{kind}.{name}]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
