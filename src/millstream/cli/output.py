"""Output of the commands: results on standard output, everything else on standard error.

Colour and progress bars appear on a terminal only, `NO_COLOR` is respected, and a pipe gets plain text or JSON.
JSON is UTF-8, whatever the terminal's encoding. Events are untrusted text: `printable` escapes control characters,
which could steer the terminal.

A report (`say`, `show`, `print_json`) ends a command: if standard output fails, the command goes on, and `main` reports
it. A stream (`write`) is the work itself: there it raises Lost.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, cast

import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .streams import Lost, Output

__all__ = [
    "Advance",
    "announce",
    "console",
    "note",
    "print_json",
    "printable",
    "progress",
    "say",
    "show",
    "warn",
    "write",
]

Advance = Callable[[int, str], None]
"""`advance(done, detail)`: progress towards the total; and in words."""

ENDLESS = 10_000
"""Columns where the output is not a terminal."""
_OFTEN = 0.1
"""Seconds between two drawings of a progress bar: drawing takes longer than sending an event."""


def console(*, err: bool = False, wrap: bool = False) -> Console:
    """Standard output (or error) with colour where supported.

    Lines are broken only with `wrap` on a terminal: a pipe gets whole lines.
    """
    made = Console(stderr=err, highlight=False, soft_wrap=not wrap, markup=False, emoji=False)
    if wrap and not made.is_terminal:
        made.width = ENDLESS
    return made


def say(text: str, style: str = "") -> None:
    """Print a line of the result on standard output."""
    with suppress(Lost):
        console().print(text, style=style)


def show(renderable: RenderableType) -> None:
    """Print a part of the result, as wide as the terminal, on standard output."""
    with suppress(Lost):
        console(wrap=True).print(renderable)


def announce(text: str) -> None:
    """Print a line about the command on standard output; if that fails, on standard error."""
    sys.stdout.flush()
    try:
        os.write(sys.stdout.fileno(), f"{text}\n".encode(sys.stdout.encoding, "replace"))
    except OSError:
        note(text)


def note(text: str, style: str = "") -> None:
    """Print a line about the progress on standard error."""
    console(err=True).print(text, style=style)


def warn(text: str) -> None:
    """Print a warning."""
    note(f"millstream: warning: {text}", "yellow")


def print_json(value: Any) -> None:
    """Print one JSON document on one line of standard output."""
    with suppress(Lost):
        write(msgspec.json.encode(value))
        sys.stdout.flush()


def write(line: bytes) -> None:
    """Write a line of a stream to standard output, unchanged.

    Raises:
        Lost: standard output is closed or full.
    """
    cast("Output", sys.stdout).write_bytes(line + b"\n")


def printable(text: str) -> str:
    r"""Escape control characters, which a terminal would obey, as in `\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@contextmanager
def progress(label: str, total: int | None) -> Generator[Advance, None, None]:
    """Show a progress bar on standard error until the work ends. Without a terminal: nothing.

    Args:
        label: what is being done.
        total: the value of `done` at the end; None if unknown.
    """
    err = console(err=True)
    if not err.is_terminal:
        yield lambda _done, _told: None
        return
    bar = (BarColumn(bar_width=24), TimeRemainingColumn(compact=True)) if total else ()
    columns = (TextColumn(label, markup=False), *bar, TextColumn("{task.fields[detail]}", markup=False))
    with Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task(label, total=total, detail="")
        drawn = 0.0

        def advance(done: int, detail: str) -> None:
            nonlocal drawn
            if (now := monotonic()) - drawn >= _OFTEN:
                drawn = now
                shown.update(task, completed=done, detail=detail)

        yield advance
