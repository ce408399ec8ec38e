"""The tutorial, done as a reader does it: files saved, commands typed, output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import Block, page

from support.ports import reserved_port

pytestmark = pytest.mark.process

INSTALLING = re.compile(r"python3 -m venv|\. venv/|pip install")


class Reader:
    """Somebody in an empty directory, with one terminal for the collector and one for everything else."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = str(port)
        self.folder = folder
        self.server: subprocess.Popen[str] | None = None
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        quiet = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        quiet.pop("MILLSTREAM_ON_INVALID")  # which the plugin of pytest sets
        self.env = quiet | {"PATH": path, "PYTHONUNBUFFERED": "1"}

    def save(self, name: str, code: str) -> None:
        (self.folder / name).write_text(code.replace("7070", self.port))

    def type(self, line: str) -> str:
        """Type a command, and see what it prints."""
        line = line.replace("7070", self.port).replace("python3", sys.executable)
        if line.startswith("millstream serve"):
            self.server = subprocess.Popen(
                line.split(), cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert self.server.stdout is not None
            return self.server.stdout.readline()
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return done.stdout

    def stop_the_collector(self) -> str:
        assert self.server is not None
        self.server.send_signal(2)
        out, _ = self.server.communicate(timeout=20)
        assert self.server.returncode == 0
        return out

    def leave(self) -> None:
        if self.server is not None and self.server.poll() is None:
            self.server.kill()
            self.server.communicate()


@pytest.fixture
def reader(tmp_path: Path):
    with reserved_port() as port:
        somebody = Reader(tmp_path, port)
        yield somebody
        somebody.leave()


def matches(shown: str, printed: str, port: str) -> bool:
    """Whether a command printed what the page shows; an ellipsis there stands for anything on a line."""
    pattern = ".*".join(re.escape(part) for part in shown.replace("7070", port).strip().split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


def file_name(block: Block, text: str) -> str:
    """The name that the sentence before a block of code tells the reader to save it under."""
    before = "\n".join(text.splitlines()[: block.line - 1])
    return re.findall(r"save this as `([\w.]+)`", before, re.IGNORECASE)[-1]


def test_the_tutorial_works_as_written(reader: Reader):
    """Whoever follows the tutorial word by word sees what it shows."""
    tutorial = page("docs/tutorial/first-events.md")
    printed = ""
    for block in tutorial.blocks("python", "sh", "text"):
        if block.language == "python":
            reader.save(file_name(block, tutorial.text), block.code)
        elif block.language == "text":
            if "stopped" in block.code:
                printed = reader.stop_the_collector()
            assert matches(block.code, printed, reader.port), f"line {block.line}: {printed}"
        else:
            lines = [line for line in block.code.splitlines() if not INSTALLING.search(line)]
            printed = "".join(reader.type(line) for line in lines)
