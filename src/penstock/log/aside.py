"""Where what cannot be read is put: for people to look at, never read again, never deleted by us."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["put_aside"]


def put_aside(directory: Path, name: str, data: bytes) -> None:
    """Keep these bytes in a file of this name in `directory/aside`; more of the same name go behind them.

    Raises:
        OSError: they could not be.
    """
    aside = directory / "aside"
    aside.mkdir(exist_ok=True)
    file = os.open(aside / f"{name}.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        os.write(file, data + b"\n")
    finally:
        os.close(file)
