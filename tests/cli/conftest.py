"""The program in this process: as quick as a function, and through its front door."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from millstream.cli import main
from support.program import Done


@pytest.fixture
def millstream(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, stdin: str | bytes = b"") -> Done:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return Done(end.value.code, *capfd.readouterr())

    return run
