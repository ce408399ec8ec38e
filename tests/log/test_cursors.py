"""Cursors on disk, and where a route goes on: damaged, missing, ahead, of another log, moved by another router."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from millstream.errors import Fenced
from millstream.log import Cursor, FileCursorStore, MemoryLog, Progress, Reader, resume
from millstream.testing.contracts.log import appended, event


def saved(path: Path, count: int) -> tuple[FileCursorStore, Path, int]:
    store, revision = FileCursorStore(path), 0
    for low in range(1, count + 1):
        revision = store.save("route", "0", Cursor(low), revision)
    return store, path / "cursors" / "route" / "0.cursor", revision


@pytest.mark.parametrize(
    "damage", [b"00", b"x" * 30 + b"\n", b'12345678 [4,{"low":9}]\n'], ids=["torn", "other", "sum"]
)
def test_a_damaged_line_falls_back_to_the_one_before(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and warned of; and the next save goes on from the revision that could be read."""
    store, file, revision = saved(tmp_path, 3)
    with file.open("ab") as end:
        end.write(damage)
    with caplog.at_level(logging.WARNING, "millstream"):
        assert store.load("route", "0") == (Cursor(3), revision)
    assert store.fallbacks == 1
    assert "damaged" in caplog.text
    assert store.save("route", "0", Cursor(4), revision) == revision + 1
    assert FileCursorStore(tmp_path).load("route", "0") == (Cursor(4), revision + 1)


def test_a_file_without_a_line_that_can_be_read_is_none(tmp_path: Path) -> None:
    """The route goes on where the log knows it to be: see `resume`."""
    _, file, _ = saved(tmp_path, 3)
    file.write_bytes(b"\0" * file.stat().st_size)
    store = FileCursorStore(tmp_path)
    assert store.load("route", "0") is None
    assert store.fallbacks == 1
    assert store.save("route", "0", Cursor(1), 0) == 1


@pytest.mark.parametrize("how", ["unlink", "garble"])
def test_a_file_that_is_lost_while_its_router_runs_is_written_anew(tmp_path: Path, how: str) -> None:
    """The router knows better than the disk."""
    store, file, revision = saved(tmp_path, 3)
    if how == "unlink":
        file.unlink()
    else:
        file.write_bytes(b"garbled")
    store.save("route", "0", Cursor(4), revision)
    assert FileCursorStore(tmp_path).load("route", "0") == (Cursor(4), revision + 1)


def test_a_file_stays_short(tmp_path: Path) -> None:
    """Whatever was saved; and another router is fenced also when the file is a new one."""
    store, file, revision = saved(tmp_path, 10)
    other = FileCursorStore(tmp_path)
    other.save("route", "0", Cursor(11), revision)
    with pytest.raises(Fenced):
        store.save("route", "0", Cursor(11), revision)
    revision += 1
    for low in range(20, 5_000):
        revision = other.save("route", "0", Cursor(low, ((low + 2, low + 3),)), revision)
    assert file.stat().st_size < 70_000
    with pytest.raises(Fenced):
        store.save("route", "0", Cursor(0), 10)
    assert store.load("route", "0") == (Cursor(4_999, ((5_001, 5_002),)), revision)


# -- where a route goes on -------------------------------------------------------------------------------


def of(count: int, first: int = 0) -> Reader:
    log = MemoryLog()
    asyncio.run(appended(log, *map(event, range(first, first + count))))
    return log.reader()


def settled(reader: Reader, count: int) -> Cursor:
    progress = Progress(Cursor(0))
    for record in reader.read(0, count, 1 << 20)[0]:
        progress.settle(record)
    return progress.cursor


def test_a_cursor_that_fits_is_gone_on_with() -> None:
    reader = of(5)
    cursor = settled(reader, 3)
    assert resume(reader, "route", cursor) == (cursor, "")


def test_a_new_route_begins_where_it_is_told_to() -> None:
    reader = of(5)
    assert resume(reader, "route", None) == (Cursor(0), "")
    assert resume(reader, "route", None, start=4) == (Cursor(4), "")


def test_a_missing_cursor_goes_on_at_the_hold(caplog: pytest.LogCaptureFixture) -> None:
    """The log knows the route: it is no new one, and begins neither now nor at the beginning."""
    reader = of(5)
    reader.hold("route", 2)
    resumed = resume(reader, "route", None, start=5)
    assert resumed == (Cursor(2), "its cursor is missing")
    assert "route goes on at position 2" in caplog.text


def test_a_cursor_ahead_of_the_log_falls_back() -> None:
    """After a loss of power that took more of the log than of the cursor."""
    resumed = resume(of(5), "route", Cursor(7, ((9, 12),)))
    assert resumed.cursor == Cursor(5)
    assert "ahead of the log, which ends at 5" in resumed.fallback


def test_a_cursor_of_another_log_falls_back() -> None:
    """The record before it is another: its positions mean other events."""
    cursor = settled(of(5), 3)
    resumed = resume(of(5, first=10), "route", cursor)
    assert "another record" in resumed.fallback
    assert resumed.cursor.mark is None
    assert resumed.cursor.low <= cursor.low
