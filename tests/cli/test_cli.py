"""The program itself: its names, its version, and what it says when a part of it is not installed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from millstream import Analytics
from millstream._version import __version__
from millstream.cli.app import app
from support.api import Api, stall
from support.program import Done, end, start

pytestmark = pytest.mark.process

Program = Callable[..., Done]
MODULE = [sys.executable, "-m", "millstream"]
SCRIPT = [str(Path(sys.executable).with_name("millstream"))]


def run(*command: str) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


def without(*modules: str) -> list[str]:
    """The program on a machine where these modules are not installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))"
    return [sys.executable, "-c", f"{hide}; from millstream.cli import main; main()"]


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
def test_both_names_are_one_program(program: list[str]) -> None:
    """`millstream` and `python -m millstream` say the same, and call themselves the same."""
    assert run(*program, "--version") == (0, f"millstream {__version__}\n", "")
    code, out, _ = run(*program, "serve", "--help")
    assert code == 0
    assert "millstream serve" in out
    for option in ("--host", "--port", "--data", "--key"):
        assert option in out


def test_a_mistake_in_the_options_is_exit_code_2() -> None:
    """What cannot be asked for is told apart from what went wrong."""
    code, out, err = run(*MODULE, "serve", "--port", "99999")
    assert (code, out) == (2, "")
    assert "--port" in err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_program_says_how_to_get_it(missing: str) -> None:
    """The script is installed with the library alone; it then names the missing part instead of failing."""
    code, out, err = run(*without(missing), "--version")
    assert (code, out) == (1, "")
    assert err == "millstream: the command line needs packages that are not installed: pip install 'millstream[cli]'\n"


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_a_server_the_collector_says_how_to_get_it(missing: str) -> None:
    """`millstream[cli]` alone has no server: `serve` says what brings it."""
    code, out, err = run(*without(missing), "serve")
    assert (code, out) == (1, "")
    assert "the collector needs packages that are not installed: pip install 'millstream[collector]'" in err
    assert err.count("\n") == 1


def test_importing_the_command_line_loads_no_part_of_it() -> None:
    """The console script's module costs nothing until it is run."""
    parts = {"typer", "rich", "starlette", "uvicorn"}
    probe = f"import sys, millstream.cli; print({parts!r} & set(sys.modules))"
    assert run(sys.executable, "-c", probe) == (0, "set()\n", "")


# -- what all commands have in common -------------------------------------------------------------------


def names(group: Any, *before: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*before, name]
        yield from names(command, *before, name) if hasattr(command, "commands") else ()


COMMANDS = list(names(typer.main.get_command(app)))


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_fits_the_terminal(millstream: Program, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """Each command explains itself, in 80 columns, and shows no markup."""
    monkeypatch.setenv("COLUMNS", "80")
    for option in ("--help", "-h"):
        done = millstream(*command, option)
        assert (done.code, done.err) == (0, "")
        assert f"Usage: millstream {' '.join(command)}".rstrip() in done.out
        assert max(map(len, done.out.splitlines())) <= 80
        assert "[bold]" not in done.out


def test_the_first_help_is_in_groups(millstream: Program) -> None:
    """Whoever asks for nothing sees what there is, sorted by what it is for."""
    out = millstream("--help").out
    groups = [out.index(group) for group in ("Send events", "Receive events", "Operate")]
    assert groups == sorted(groups)
    assert [name for (name, *_) in COMMANDS if f" {name} " not in out] == []
    nothing = millstream()
    assert "Receive events" in nothing.out + nothing.err


def test_a_command_that_there_is_not(millstream: Program) -> None:
    """A slip of the keyboard is exit code 2, and a hint."""
    done = millstream("sned")
    assert (done.code, done.out) == (2, "")
    assert "Did you mean 'send'?" in done.said


def test_colour_is_for_terminals_that_want_it(millstream: Program, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets plain text, and `NO_COLOR` is respected on a terminal too."""
    doctor = ("doctor", "--host", api.url, "--write-key", "key")
    green = re.compile(r"\x1b\[(\d+;)*3\dm")
    assert "\x1b" not in millstream(*doctor).out
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    assert green.search(millstream(*doctor).out)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not green.search(millstream(*doctor).out)


def test_a_terminal_that_knows_ascii_alone(api: Api) -> None:
    """What its encoding cannot say is replaced, and is no reason to fail."""
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = end(
        start("send", "track", "--event", "Käse", "--user-id", "u", "--host", api.url, "--write-key", "k", env=env)
    )
    assert (done.code, done.out) == (0, "Delivered: track K?se\n")
    assert api.accepted[0]["event"] == "Käse"


def test_ctrl_c_is_clean_everywhere(api: Api) -> None:
    """A command that makes nothing else of it ends at once and without a word, with exit code 130."""
    api.always = stall()
    process = start("doctor", "--host", api.url, "--write-key", "key", "--json")
    api.wait_for(1)
    process.send_signal(signal.SIGINT)
    assert end(process) == Done(130, "", "")


COMMANDS = [
    ["doctor", "--json", "--write-key", "k", "--host"],
    ["doctor", "--write-key", "k", "--host"],
    ["send", "track", "--event", "A", "--user-id", "u", "--max-retries", "0", "--write-key", "k", "--host"],
    ["spool", "drain", ".", "--write-key", "k", "--host"],
    ["tail", "--host"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("host", ["http://user:hush@127.0.0.1:9", "http://user:hush@[::1", "http://user:hush/@h"])
def test_no_command_shows_a_password(
    millstream: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], host: str
) -> None:
    """A host may have a user and a password in it: no message of any command does, also where it cannot be parsed."""
    monkeypatch.chdir(tmp_path)
    done = millstream(*command, host)
    assert done.out + done.err
    assert "hush" not in done.out + done.err


def test_a_key_that_ends_in_a_newline_is_the_same_key(millstream: Program, api: Api, tmp_path: Path) -> None:
    """A drain with it finds what was recorded without: a client leaves white space around its key out."""
    analytics = Analytics("key", host="http://127.0.0.1:9", spool=tmp_path, max_retries=0)
    analytics.track("A", user_id="u")
    assert analytics.close_and_flush(timeout=5).spooled == 1
    done = millstream("spool", "drain", str(tmp_path), "--write-key", " key\n", "--host", f"{api.url}\n")
    assert (done.code, [event["event"] for event in api.accepted]) == (0, ["A"]), done.err
