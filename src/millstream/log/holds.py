"""Holds: how far each reader of a log has come, for the process that deletes old segments.

readers/<route>.hold   the first position that the route has yet to read
readers/<route>.lost   records that were deleted although it had yet to read them
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from .._core.record import Position
from .files import entries, make_directory, open_file
from .watermark import NumberFile, read_numbers

__all__ = ["Holds", "file_name"]

HOLD, LOST = ".hold", ".lost"


class Holds:
    """The holds of a log in a directory. Several processes use them: each route is held by one of them.

    Args:
        directory: the log's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "readers"
        self._files: dict[str, NumberFile] = {}

    def hold(self, route: str, position: Position) -> None:
        """Note that a route needs what is there from a position on. Raises OSError."""
        file = self._files.get(route)
        if file is None or not file.in_place():
            if file is not None:
                file.close()
            make_directory(self._directory)
            file = self._files[route] = NumberFile(self._path(route, HOLD))
        file.write(position)

    def release(self, route: str) -> None:
        """Forget a route. Raises OSError."""
        file = self._files.pop(route, None)
        if file is not None:
            file.close()
        for suffix in (HOLD, LOST):
            self._path(route, suffix).unlink(missing_ok=True)

    def positions(self) -> dict[str, Position]:
        """Return what each route holds. One whose file is damaged holds everything. Raises OSError."""
        return {
            unquote(path.name.removesuffix(HOLD)): _number(path, damaged=0)
            for path in entries(self._directory)
            if path.name.endswith(HOLD)
        }

    def held(self, route: str) -> Position | None:
        """Return what one route holds; None if it holds nothing, or its file is damaged."""
        number = _number(self._path(route, HOLD), damaged=-1)
        return None if number < 0 else number

    def lost(self, route: str) -> int:
        """Return how many records a route has lost to retention."""
        return _number(self._path(route, LOST), damaged=0)

    def lose(self, route: str, records: int) -> None:
        """Add to what a route has lost. For the process that deletes. Raises OSError."""
        file = NumberFile(self._path(route, LOST))
        try:
            file.write(self.lost(route) + records)
        finally:
            file.close()

    def close(self) -> None:
        """Release the files. The holds stay."""
        while self._files:
            self._files.popitem()[1].close()

    def _path(self, route: str, suffix: str) -> Path:
        return self._directory / f"{file_name(route)}{suffix}"


def file_name(name: str) -> str:
    """Return a name that is safe in a path, from which `unquote` makes the original."""
    return quote(name, safe=" ").replace(".", "%2E") or "%00"


def _number(path: Path, *, damaged: int) -> int:
    try:
        file = open_file(path, os.O_RDONLY)
    except OSError:
        return damaged
    try:
        numbers = read_numbers(file)
    finally:
        os.close(file)
    return numbers[0] if numbers else damaged
