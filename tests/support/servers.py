"""Real servers, with an application of ours in them: started, asked, and stopped as a service manager would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from support.processes import Ended, environment

PATIENCE = 30.0
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """A server in a process of its own, in `folder`, where its application is.

    Args:
        folder: becomes the working directory.
        command: the module and its arguments; `{fd}` stands for the listening socket.
        sources: name of a module to its source.
        variables: of the environment.
    """

    def __init__(self, folder: Path, *command: str, sources: dict[str, str], **variables: str) -> None:
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(dedent(source), "utf-8")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        fd = self._listener.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(fd=fd, port=self.port) for word in command)],
            cwd=folder,
            pass_fds=[fd],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment(), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **variables},
        )
        self.said: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, workers: int = 1, least: int = 20) -> int:
        """Get `/`, until so many workers have answered, and so many times at least. Returns how often it was.

        The answer is the worker's process id. A worker that has not answered yet may not have come to listen to
        signals.
        """
        deadline = time.monotonic() + PATIENCE
        answers: list[bytes] = []
        while len(answers) < least or len(set(answers)) < workers:
            assert time.monotonic() < deadline, f"only {set(answers)} have answered\n{''.join(self.said)}"
            with LOCAL.open(f"http://127.0.0.1:{self.port}/", timeout=PATIENCE) as answer:
                answers.append(answer.read())
        return len(answers)

    def wait_for(self, words: str, times: int = 1) -> None:
        """Until it has said these words so often."""
        with self._news:
            came = self._news.wait_for(lambda: "".join(self.said).count(words) >= times, PATIENCE)
        assert came, f"waited {PATIENCE:g} s for {times} × {words!r}\n{''.join(self.said)}"

    def find_port(self, after: str) -> None:
        """It listens where it likes, and says so: the number after these words."""
        self.port = int("".join(self.said).partition(after)[2].split()[0])

    def reload(self) -> None:
        """Have it start its workers again."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal, and wait for its end."""
        self._process.send_signal(number)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end in {PATIENCE:g} s\n{''.join(self.said)}") from None
        self._reader.join(PATIENCE)
        return Ended(code, "".join(self.said), "")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._listener.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.said.append(line)
                self._news.notify_all()


@contextmanager
def served(folder: Path, *command: str, sources: dict[str, str], **variables: str) -> Iterator[Server]:
    """A server for the time of a block."""
    server = Server(folder, *command, sources=sources, **variables)
    try:
        yield server
    finally:
        server.close()
