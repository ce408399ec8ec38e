"""The log in a directory: what other processes see of it, when they see it, and what retention asks them."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.log import FileLog, FileReader
from millstream.log.quarantine import Quarantine
from millstream.log.watermark import read_watermark, watermark_file
from millstream.testing.contracts.log import appended, event


def filled(path: Path, count: int, **settings: object) -> FileLog:
    """A log with so many records, each in a turn of its own."""
    log = FileLog(path, **settings)  # type: ignore[arg-type]

    async def fill() -> None:
        for number in range(count):
            await appended(log, event(number))

    asyncio.run(fill())
    return log


def numbers(reader: FileReader, start: int | None = None) -> list[int]:
    records, _ = reader.read(reader.first() if start is None else start, 10_000, 1 << 30)
    return [record.data.count(b"x") for record in records]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    log = FileLog(tmp_path)
    yield log
    log.close()


def test_nothing_is_read_before_it_is_synced(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the file, and a sync that fails takes it back: a reader does not see it meanwhile."""
    real, seen = os.fdatasync, list[list[int]]()

    def sync(file: int) -> None:
        seen.append(numbers(FileReader(log.path)))
        if len(seen) == 2:
            raise OSError(5, "Input/output error")
        real(file)

    monkeypatch.setattr(os, "fdatasync", sync)

    async def some() -> None:
        await appended(log, event(1))
        with pytest.raises(OSError, match="Input/output"):
            await appended(log, event(2))
        await appended(log, event(3))

    asyncio.run(some())
    assert seen == [[], [1], [1]]
    assert numbers(FileReader(log.path)) == [1, 3]


@pytest.mark.process
def test_another_process_waits_for_more(log: FileLog) -> None:
    """A router is told of an event by a file: it has no connection to the collector."""
    code = (
        "import sys, time\nfrom millstream.log import FileReader\n"
        "reader = FileReader(sys.argv[1])\nprint('ready', flush=True)\n"
        "print(reader.wait(0, time.monotonic() + 30))\nprint(len(reader.read(0, 10, 1 << 20)[0]))\n"
    )
    command = [sys.executable, "-c", code, str(log.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        asyncio.run(appended(log, event(1)))
        assert other.stdout.read().split() == ["True", "1"]


def test_with_an_interval_readers_see_what_is_synced(tmp_path: Path) -> None:
    """A look at what there is sees all; a cursor goes by what survives a loss of power."""
    log = FileLog(tmp_path, sync_interval=3600)

    async def one() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        log.append(event(1) + b"\n", future.set_result)
        await future

    asyncio.run(one())
    assert numbers(FileReader(tmp_path)) == []
    assert numbers(FileReader(tmp_path, unsynced=True)) == [1]
    log.close()
    assert numbers(FileReader(tmp_path)) == [1]


def test_without_a_watermark_all_is_read(tmp_path: Path) -> None:
    """A directory of an older release; or one whose machine was started anew: what is read was on the disk itself."""
    filled(tmp_path, 3).close()
    (tmp_path / "watermark").unlink()
    assert numbers(FileReader(tmp_path)) == [0, 1, 2]
    file = watermark_file(tmp_path)
    file.write(5, 5, 1)  # of another start
    file.close()
    assert numbers(FileReader(tmp_path)) == [0, 1, 2]
    (tmp_path / "watermark").write_bytes(b"garbled")
    assert numbers(FileReader(tmp_path)) == [0, 1, 2]


def test_positions_are_not_used_twice(tmp_path: Path) -> None:
    """Not even when every segment was deleted, or the end of the last one was lost: cursors would mean other events."""
    filled(tmp_path, 4).close()
    mark = read_watermark(tmp_path)
    assert mark is not None
    (file,) = tmp_path.glob("events-*.jsonl")
    file.write_bytes(file.read_bytes()[:-10])
    log = filled(tmp_path, 1)
    assert FileReader(tmp_path).durable() == mark.durable + len(event(0)) + 1
    log.close()
    for path in tmp_path.glob("events-*.jsonl"):
        path.unlink()
    end = FileReader(tmp_path).durable()
    log = FileLog(tmp_path)
    assert asyncio.run(appended(log, event(1))) == end
    log.close()


def test_a_segment_that_is_deleted_under_a_reader_is_skipped(tmp_path: Path) -> None:
    """The reader goes on behind it, and says how much is missing."""
    log = filled(tmp_path, 6, segment_bytes=1)
    reader = FileReader(tmp_path)
    records, at = reader.read(0, 2, 1 << 20)
    for path in sorted(tmp_path.glob("events-*.jsonl"))[1:4]:
        path.unlink()
    records, end = reader.read(at, 10, 1 << 20)
    assert [record.data for record in records] == [event(4), event(5)]
    assert (records[0].start, end) == (at, reader.durable())
    assert reader.missing == len(event(2)) + len(event(3)) + 2
    reader.read(at, 10, 1 << 20)
    assert reader.missing == len(event(2)) + len(event(3)) + 2  # counted once
    reader.close()
    log.close()


def test_a_bad_record_is_kept_in_quarantine_once(tmp_path: Path) -> None:
    """However many readers find it."""
    filled(tmp_path, 3).close()
    (file,) = tmp_path.glob("events-*.jsonl")
    data = file.read_bytes()
    bad = len(event(0)) + 1
    file.write_bytes(data[:bad] + b"?" + data[bad + 1 :])
    for _ in range(2):
        reader = FileReader(tmp_path, quarantine=Quarantine(tmp_path))
        assert numbers(reader) == [0, 2]
        assert reader.corrupt == 1
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.name == f"events-{bad:020d}.bin"
    assert kept.read_bytes() == b"?" + event(1)[1:]


# -- retention ------------------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> None:
    for each in path.glob("events-*.jsonl"):
        os.utime(each, (time.time() - seconds, time.time() - seconds))


def test_age_waits_for_readers(tmp_path: Path) -> None:
    """A segment is deleted when it is old and no route has yet to read it."""
    log = filled(tmp_path, 4, segment_bytes=1)
    reader = log.reader()
    records, _ = reader.read(0, 10, 1 << 20)
    reader.hold("slow", records[1].start)
    reader.hold("fast", records[3].end)
    log.close()
    aged(tmp_path, 1_000)
    FileLog(tmp_path, max_age=500).close()
    assert numbers(FileReader(tmp_path)) == [1, 2, 3]
    assert reader.lost("slow") == 0
    reader.release("slow")
    FileLog(tmp_path, max_age=500).close()
    assert numbers(FileReader(tmp_path)) == []


def test_bytes_win_and_each_reader_is_told_what_it_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk is not filled for a destination that is gone; how many events it has lost is said, and remembered."""
    log = filled(tmp_path, 6, segment_bytes=300)
    reader = log.reader()
    records, _ = reader.read(0, 10, 1 << 20)
    for route, record in (("gone", records[0]), ("slow", records[1]), ("fast", records[5])):
        reader.hold(route, record.start)
    log.close()
    with caplog.at_level(logging.WARNING, "millstream"):
        FileLog(tmp_path, max_bytes=1).close()
    left = numbers(FileReader(tmp_path))
    lost = 6 - len(left)
    assert lost > 0
    assert {route: reader.lost(route) for route in ("gone", "slow", "fast")} == {
        "gone": lost,
        "slow": lost - 1,
        "fast": max(0, lost - 5),
    }
    assert f"gone had yet to read {lost} events" in caplog.text


def test_a_damaged_hold_holds_everything(tmp_path: Path) -> None:
    """No event is deleted because a file that says who needs it cannot be read."""
    log = filled(tmp_path, 3, segment_bytes=1)
    log.reader().hold("route", log.reader().durable())
    (hold,) = (tmp_path / "readers").iterdir()
    hold.write_bytes(b"?")
    log.close()
    aged(tmp_path, 1_000)
    FileLog(tmp_path, max_age=500).close()
    assert numbers(FileReader(tmp_path)) == [0, 1, 2]
