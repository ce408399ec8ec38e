"""What became of a delivery, for people and for programs; and what the command exits with."""

from __future__ import annotations

import typer

from . import output
from .delivery import Delivery, remedy

__all__ = ["report"]


def report(delivery: Delivery, done: str, *, as_json: bool, resume: str | None = None) -> None:
    """Say what became of the events, and exit: 0 if all arrived, 1 if not, 130 after a Ctrl-C.

    Args:
        delivery: which is over.
        done: the result in words, for people.
        as_json: whether a program reads it.
        resume: the options that go on where this ended.
    """
    again = None if delivery.ended else resume
    if as_json:
        output.print_json({**delivery.result(), "resume": again})
    else:
        _say(delivery, done, again)
    if delivery.interrupted:
        raise typer.Exit(130)
    if not delivery.complete:
        raise typer.Exit(1)


def _say(delivery: Delivery, done: str, again: str | None) -> None:
    if delivery.delivered or delivery.complete:
        output.say(done)
    if wrong := delivery.failed + delivery.invalid:
        output.note(f"millstream: {_events(wrong)} cannot be delivered:", "red")
        for problem in delivery.problems:
            output.note(f"  {output.printable(f'{problem.place}: {problem.error}')}")
        if (more := wrong - len(delivery.problems)) > 0:
            output.note(f"  … and {more:,} more")
    if delivery.undecided:
        output.note(f"millstream: {_events(delivery.undecided)} not delivered: {_why(delivery)}", "red")
    elif delivery.interrupted:
        output.note("millstream: interrupted", "red")
    if delivery.halted and (advice := remedy(delivery.halted)):
        output.note(f"  {advice}")
    if again:
        output.note(f"  go on with {again}")


def _why(delivery: Delivery) -> str:
    if delivery.halted is not None:
        return output.printable(str(delivery.halted))
    return "interrupted" if delivery.interrupted else "there was no answer in time (--timeout)"


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number:,} events"
