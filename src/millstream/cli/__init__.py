"""The command line: a thin skin over the library, one file per command."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from millstream.errors import MillstreamError, MissingExtra, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 if it did its work, 2 if it was asked for what cannot be, 1 for the rest.

    130 after a Ctrl-C that the command did not make something else of.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an event may hold what the terminal's encoding does not
    try:
        _run(arguments)
    except MillstreamError as error:
        sys.stderr.write(f"millstream: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _let_go_of_output()
    sys.exit(0)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        from .app import app  # noqa: PLC0415 (a library user without the extra can still import this module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        raise MissingExtra("the command line", "cli") from error
    app(arguments, prog_name="millstream")


def _let_go_of_output() -> None:
    """A reader that has left, as `head` does, is no error; the interpreter would say so when it ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
