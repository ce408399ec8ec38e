"""The report of a delivery, for people and for programs, and the exit code."""

from __future__ import annotations

import typer

from . import output
from .delivery import Delivery, remedy

__all__ = ["report"]


def report(delivery: Delivery, done: str, *, as_json: bool, resume: str | None = None) -> None:
    """Print the outcomes, and exit: 0 if all events were delivered, 1 if not, 130 after a Ctrl-C.

    Args:
        delivery: the finished delivery.
        done: the result in words, for people.
        as_json: print JSON, for programs.
        resume: the options that resume where this delivery stopped.
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
        output.note(f"  resume with {again}")


def _why(delivery: Delivery) -> str:
    if delivery.halted is not None:
        return output.printable(str(delivery.halted))
    return "interrupted" if delivery.interrupted else "no answer in time (--timeout)"


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number:,} events"
