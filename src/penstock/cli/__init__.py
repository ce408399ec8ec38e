"""The command line: a thin skin over the library, one file per command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from penstock.errors import MissingExtra, PenstockError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 if it did its work, 2 if it was asked for what cannot be, 1 for the rest."""
    try:
        _run(arguments)
    except PenstockError as error:
        sys.stderr.write(f"penstock: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    sys.exit(0)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        from .app import app  # noqa: PLC0415 (a library user without the extra can still import this module)
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        raise MissingExtra("the command line", "cli") from error
    app(arguments, prog_name="penstock")
