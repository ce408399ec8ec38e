"""The process that runs a transformation: `python -m millstream.router.transform_worker`, started by the router."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from millstream._core.events.encode import decode
from millstream._core.transformation import results

from .frames import HEADER, Failed, Outcome, Transformed, frame

__all__ = ["main"]

Function = Callable[[dict[str, Any]], Any]
MESSAGE = 500
"""Characters of an exception's text that are passed on."""


def main(spec: str, memory: int, cpu: int, folder: str) -> None:
    """Load a function, and run it for each event that comes, until the router closes the pipe.

    Args:
        spec: `module:function`.
        memory: bytes of address space that the process may have; 0 is without a limit.
        cpu: seconds of processor time after which it is ended.
        folder: where modules are looked for first; empty is nowhere else than usual.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the router, which ends this process
    # What the function prints goes to the router's standard error; only this file has the pipes.
    events, outcomes = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if folder:
        sys.path.insert(0, folder)
    try:
        function = _loaded(spec)
    except BaseException as exc:  # noqa: BLE001 - a module may raise anything, SystemExit included
        _write(outcomes, Failed(_reason(exc)))
        return
    _write(outcomes, Transformed())
    while (event := _read(events)) is not None:
        _write(outcomes, _run(function, event))


def _loaded(spec: str) -> Function:
    module, _, name = spec.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise AttributeError(f"{module} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} in {module} is no function, but {type(found).__name__}")
    function: Function = found
    return function


def _run(function: Function, data: bytes) -> Outcome:
    try:
        event = decode(data)
        message_id, timestamp = str(event.get("messageId", "")), str(event.get("timestamp", ""))
        return Transformed(results(function(event), message_id, timestamp))
    except BaseException as exc:  # noqa: BLE001 - a function may raise anything, SystemExit included
        return Failed(_reason(exc))


def _reason(exc: BaseException) -> str:
    """Return an exception as the last line of its traceback, and where it was raised."""
    try:
        text = traceback.format_exception_only(exc)[-1].strip()
    except Exception:  # noqa: BLE001 - even its text may raise
        text = type(exc).__name__
    frames = traceback.extract_tb(exc.__traceback__)
    own = [each for each in frames if each.filename not in (__file__, importlib.__file__) and each.filename[0] != "<"]
    where = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""  # noqa: PTH119
    return text[:MESSAGE] + where


def _read(events: BinaryIO) -> bytes | None:
    header = events.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (size,) = HEADER.unpack(header)
    data = events.read(size)
    return data if len(data) == size else None


def _write(pipe: int, outcome: Outcome) -> None:
    data = memoryview(frame(outcome))
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
