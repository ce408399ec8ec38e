"""Where what cannot be read is put: for people to look at, never read again, never deleted by us."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["put_aside"]


def put_aside(directory: Path, name: str, pieces: Sequence[bytes]) -> None:
    """Keep these pieces, a line each, in `directory/aside`; what comes there under the same name goes behind them.

    Raises:
        OSError: they could not be, or not all.
    """
    aside = directory / "aside"
    aside.mkdir(exist_ok=True)
    file = os.open(aside / f"{name}.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    with os.fdopen(file, "wb") as whole:  # it writes until all is written, where os.write may stop short
        whole.write(b"".join([piece + b"\n" for piece in pieces]))
