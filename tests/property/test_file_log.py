"""The log in a directory, under power cuts, failing disks and restarts: what is kept is read, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from millstream.log import FileCursorStore, FileLog, FileReader, Progress, resume
from millstream.testing.contracts.log import appended


class Disk:
    """Stands where the system's call is: fails when told to, and keeps a copy from just before each sync."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copy = path.with_name("copy")
        self.fails = False
        self.synced: dict[str, int] = {}  # bytes of each segment that survive a loss of power
        self.synced_in_copy: dict[str, int] = {}
        self._real = os.fdatasync
        os.fdatasync = self.sync

    def sync(self, file: int) -> None:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.path, self.copy)
        self.synced_in_copy = dict(self.synced)
        if self.fails:
            raise OSError(5, "Input/output error")
        self._real(file)
        name = Path(f"/proc/self/fd/{file}").readlink().name
        self.synced[name] = os.fstat(file).st_size

    def release(self) -> None:
        os.fdatasync = self._real


class FileLogMachine(RuleBasedStateMachine):
    """One writer, readers that follow it with a cursor, and a machine that loses power."""

    @initialize(segment_bytes=st.sampled_from([1, 200, 10_000]))
    def start(self, segment_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "data"
        self.path.mkdir()
        self.segment_bytes = segment_bytes
        self.number = 0
        self.kept: dict[int, bytes] = {}  # by position: what was reported as kept
        self.seen: dict[int, bytes] = {}  # what any reader has returned
        self.disk = Disk(self.path)
        self.log = self.opened()
        self.settled: set[bytes] = set()
        self.revision = 0

    def opened(self) -> FileLog:
        return FileLog(self.path, segment_bytes=self.segment_bytes)

    @rule(sizes=st.lists(st.sampled_from([0, 1, 50, 500]), min_size=1, max_size=5), fails=st.booleans())
    def records_are_appended(self, sizes: list[int], fails: bool) -> None:
        self.disk.fails = fails
        lines = []
        for size in sizes:
            self.number += 1
            lines.append(json.dumps({"type": "track", "messageId": str(self.number), "x": "x" * size}).encode())
        try:
            position = asyncio.run(appended(self.log, *lines))
        except OSError:
            assert fails
            return
        finally:
            self.disk.fails = False
        for line in lines:
            self.kept[position] = line
            position += len(line) + 1

    @rule(most=st.integers(1, 7))
    def a_reader_reads(self, most: int) -> None:
        reader = FileReader(self.path)
        at = reader.first()
        found: dict[int, bytes] = {}
        while True:
            records, end = reader.read(at, most, 1 << 20)
            for record in records:
                found[record.end - len(record.data) - 1] = record.data
            if end == at:
                break
            at = end
        reader.close()
        assert found == self.kept
        for position, data in found.items():
            assert self.seen.setdefault(position, data) == data  # no position is used twice

    @rule(most=st.integers(1, 4), saves=st.booleans())
    def a_route_settles_some(self, most: int, saves: bool) -> None:
        reader, store = FileReader(self.path), FileCursorStore(self.path, sync_interval=1e9)
        stored, revision = store.load("route", "0") or (None, 0)
        resumed = resume(reader, "route", stored)
        assert resumed.fallback == ""
        progress = Progress(resumed.cursor)
        records, _ = reader.read(progress.low, most, 1 << 20)
        for record in records:
            if record.start not in progress:
                progress.settle(record)
                self.settled.add(record.data)
        if saves:
            store.save("route", "0", progress.cursor, revision)
        for position, data in self.kept.items():
            if position in progress:
                assert data in self.settled  # what a cursor passes over has been settled
        reader.close()

    @rule()
    def the_process_is_killed(self) -> None:
        """Its files are as they are; another one opens them."""
        self.log._segments.abandon()
        os.close(self.log._lock)
        self.log = self.opened()

    @rule(
        count=st.integers(1, 5),
        seed=st.integers(0, 1000),
        watermark=st.sampled_from(["as it is", "as it is", "missing", "garbled", "cut"]),
    )
    def the_power_goes_during_a_sync(self, count: int, seed: int, watermark: str) -> None:
        """What was not synced is there in part, or not; and the watermark may be damaged."""
        lines = [json.dumps({"type": "track", "messageId": f"lost {seed} {each}"}).encode() for each in range(count)]
        asyncio.run(appended(self.log, *lines))
        self.log.close()
        chance = random.Random(seed)
        shutil.rmtree(self.path)
        shutil.copytree(self.disk.copy, self.path)
        self.disk.synced = dict(self.disk.synced_in_copy)
        for path in self.path.glob("*.jsonl"):
            data, synced = path.read_bytes(), self.disk.synced.get(path.name, 0)
            if synced < len(data):
                torn = data[: chance.randint(synced, len(data))]
                path.write_bytes(torn + b"\0" * chance.choice([0, 0, 7]))
        mark = self.path / "watermark"
        if watermark == "missing":
            mark.unlink()
        elif watermark != "as it is":
            mark.write_bytes(b"x" * 70 if watermark == "garbled" else b"")
        self.log = self.opened()
        reader = FileReader(self.path)
        records, _ = reader.read(reader.first(), 100_000, 1 << 30)
        # Whole lines that were not synced may have survived all the same: they are kept, from now on.
        survived = {record.end - len(record.data) - 1: record.data for record in records}
        assert {position: survived.get(position) for position in self.kept} == self.kept
        assert set(survived.values()) - set(self.kept.values()) <= set(lines)
        self.kept = survived
        reader.close()

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            self.disk.release()
            shutil.rmtree(self.folder)


TestFileLog = FileLogMachine.TestCase
TestFileLog.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
