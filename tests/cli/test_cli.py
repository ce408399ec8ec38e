"""The program itself: its names, its version, and what it says when a part of it is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock._version import __version__

pytestmark = pytest.mark.process

MODULE = [sys.executable, "-m", "penstock"]
SCRIPT = [str(Path(sys.executable).with_name("penstock"))]


def run(*command: str) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


def without(*modules: str) -> list[str]:
    """The program on a machine where these modules are not installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))"
    return [sys.executable, "-c", f"{hide}; from penstock.cli import main; main()"]


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
def test_both_names_are_one_program(program: list[str]) -> None:
    """`penstock` and `python -m penstock` say the same, and call themselves the same."""
    assert run(*program, "--version") == (0, f"penstock {__version__}\n", "")
    code, out, _ = run(*program, "serve", "--help")
    assert code == 0
    assert "penstock serve" in out
    for option in ("--host", "--port", "--data", "--key"):
        assert option in out


def test_a_mistake_in_the_options_is_exit_code_2() -> None:
    """What cannot be asked for is told apart from what went wrong."""
    code, out, err = run(*MODULE, "serve", "--port", "99999")
    assert (code, out) == (2, "")
    assert "--port" in err


def test_without_the_extra_the_program_says_how_to_get_it() -> None:
    """The script is installed with the library alone; it then names the missing part instead of failing."""
    code, out, err = run(*without("typer"), "--version")
    assert (code, out) == (1, "")
    assert err == "penstock: the command line needs packages that are not installed: pip install 'penstock[cli]'\n"


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_a_server_the_collector_says_how_to_get_it(missing: str) -> None:
    """`penstock[cli]` alone has no server: `serve` says what brings it."""
    code, out, err = run(*without(missing), "serve")
    assert (code, out) == (1, "")
    assert "the collector needs packages that are not installed: pip install 'penstock[collector]'" in err
    assert err.count("\n") == 1


def test_importing_the_command_line_loads_no_part_of_it() -> None:
    """The console script's module costs nothing until it is run."""
    parts = {"typer", "rich", "starlette", "uvicorn"}
    probe = f"import sys, penstock.cli; print({parts!r} & set(sys.modules))"
    assert run(sys.executable, "-c", probe) == (0, "set()\n", "")
