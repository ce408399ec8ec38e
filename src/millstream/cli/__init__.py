"""The command line: a thin skin over the library, one file per command."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from millstream.errors import MillstreamError, MissingExtra, SettingsError

from .streams import Lost, standard_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 on success, 2 for wrong usage, 1 for other failures.

    130 after a Ctrl-C that the command did not handle. A closed pipe (as of `head`) does not change the status; output
    that could not be written does: it is a failure.
    """
    with standard_streams() as stdout:
        status = _code_of(arguments)
        with suppress(Lost):
            sys.stdout.flush()
        if stdout.error and not isinstance(stdout.error, BrokenPipeError):
            why = "it is closed" if stdout.error.errno == errno.EBADF else stdout.error.strerror
            sys.stderr.write(f"millstream: cannot write to standard output: {why}\n")
            status = status or 1
    sys.exit(status)


def _code_of(arguments: Sequence[str] | None) -> int | str | None:
    try:
        _run(arguments)
    except SystemExit as end:
        return end.code
    except MillstreamError as error:
        sys.stderr.write(f"millstream: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        return 130
    except Lost:
        pass  # the rest of the stream is unwanted or unreadable
    return 0


def _run(arguments: Sequence[str] | None) -> None:
    try:
        from .app import app  # noqa: PLC0415 (a library user without the extra can still import this module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        raise MissingExtra("the command line", "cli") from error
    app(arguments, prog_name="millstream")
