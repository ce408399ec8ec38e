"""Export: views of the warehouse as Parquet, CSV or JSON Lines files."""

from __future__ import annotations

import difflib
import logging
import os
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from millstream._public import publish
from millstream.errors import QueryError, SettingsError

from .database import Database, OnProgress
from .names import literal, quoted
from .querying import explained
from .reader import Period
from .snapshot import ALWAYS, take

__all__ = ["FORMATS", "Exported", "Format", "export"]

_log = logging.getLogger("millstream")

Format: TypeAlias = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

_READING = 0.7
"""The part of the progress when the events are read."""

_ISO = "'%Y-%m-%dT%H:%M:%S.%fZ'"
_OPTIONS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": f"FORMAT csv, HEADER true, TIMESTAMPFORMAT {_ISO}",
    "jsonl": f"FORMAT json, ARRAY false, TIMESTAMPFORMAT {_ISO}",
}


@dataclass(frozen=True)
class Exported:
    """A written file: its view, and its number of rows."""

    view: str
    path: Path
    rows: int


def export(
    directory: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    views: Sequence[str] | None = None,
    format: Format | None = None,  # noqa: A002 - the usual word
    received: Period = ALWAYS,
    replace: bool = False,
    on_progress: OnProgress | None = None,
    on_warning: Callable[[str], object] = _log.warning,
) -> list[Exported]:
    """Write views to files, each of them atomically.

    Args:
        directory: the `--data` directory of `millstream serve`.
        to: a file, for one view; or a directory, made if missing, which gets a file for each view.
        views: by default `events` for a file, and all non-empty views for a directory.
        format: of the files; by default the file name's suffix, and Parquet in a directory.
        received: only events received in this period.
        replace: whether to overwrite existing files.
        on_progress: see OnProgress.
        on_warning: called with a sentence for each kind of omitted values; by default they are logged.

    Raises:
        SettingsError: the files cannot be written there, or the events' directory does not exist.
        QueryError: a view does not exist, or the events cannot be read.
    """
    files = _Files(Path(to), format, replace=replace)
    if files.single and views is None:
        views = ["events"]
    if files.single and len(views or ()) != 1:
        raise SettingsError(f"{to} is a file, which takes one view: name one, or pass a directory")
    snapshot = take(directory, views, received=received, on_progress=on_progress, share=(0, _READING))
    for warning in snapshot.warnings:
        on_warning(f"{directory}: {warning}")
    with closing(snapshot.database) as database:
        if unknown := [view for view in views or () if view not in snapshot.tables]:
            raise QueryError(_no_view(unknown[0], snapshot.tables))
        chosen = views or [view for view in snapshot.tables if database.run(f"SELECT 1 FROM {quoted(view)} LIMIT 1")]
        files.prepare(chosen)
        written: list[Exported] = []
        rest = (1 - _READING) / max(len(chosen), 1)
        for number, view in enumerate(chosen):
            database.share = (_READING + rest * number, _READING + rest * (number + 1))
            written.append(Exported(view, files.path(view), _write(database, view, files)))
    return written


class _Files:
    """The target files and their format."""

    def __init__(self, target: Path, format: Format | None, *, replace: bool) -> None:  # noqa: A002
        self.single = bool(target.suffix) and not target.is_dir()
        self.format: str = format or (target.suffix[1:].lower() if self.single else "parquet")
        if self.format not in _OPTIONS:
            raise SettingsError(f"cannot tell the format of {target} from its name: pass one of {', '.join(_OPTIONS)}")
        self._target = target
        self._replace = replace

    def path(self, view: str) -> Path:
        return self._target if self.single else self._target / f"{view}.{self.format}"

    def prepare(self, views: Sequence[str]) -> None:
        """Check that every file can be written, before the first is."""
        taken = [path for path in map(self.path, views) if path.exists()]
        if taken and not self._replace:
            raise SettingsError(
                f"{taken[0]} exists already: choose another name, or overwrite it (--force, in Python replace=True)"
            )
        folder = self._target.parent if self.single else self._target
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot write to {folder}: {error.strerror}") from error


def _write(database: Database, view: str, files: _Files) -> int:
    """Write a view under a temporary name, rename the file, and return the number of rows."""
    path = files.path(view)
    partial = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex}.part")
    try:
        with explained():
            copy = f"COPY (SELECT * FROM {quoted(view)}) TO {literal(str(partial))} ({_OPTIONS[files.format]})"
            ((rows,),) = database.run(copy, part=(0, 1))
        partial.replace(path)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return int(rows)


def _no_view(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`millstream query 'show tables'` lists all"
    return f"no view {name}: {hint}"


publish("millstream.warehouse", export)
