"""Segments: what was appended is there, whole, whoever appends at the same time and whatever the disk does."""

from __future__ import annotations

import dis
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from millstream._core.record import records
from millstream.log import segments
from millstream.log.segments import SegmentWriter, segments_in
from support.processes import run_script


def line(number: int, size: int = 40) -> bytes:
    return b'{"n":%d,"x":"%s"}\n' % (number, b"x" * size)


def contents(directory: Path) -> dict[int, bytes]:
    """All records of a log, by their positions."""
    return {
        start: piece
        for segment in segments_in(directory)
        for start, piece in records(segment.path.read_bytes(), segment.base)
    }


def test_a_position_is_where_the_record_is(tmp_path: Path) -> None:
    """What `append` returns finds the record again, in whichever segment it is."""
    log = SegmentWriter(tmp_path, segment_bytes=200)
    positions = {log.append(line(number)): line(number)[:-1] for number in range(50)}
    assert contents(tmp_path) == positions
    assert len(segments_in(tmp_path)) > 5
    assert [segment.base for segment in segments_in(tmp_path)] == sorted(s.base for s in log.segments)


def test_many_threads_append_at_once(tmp_path: Path) -> None:
    """No record is lost, none is written over, none runs into another."""
    log = SegmentWriter(tmp_path, segment_bytes=5_000)
    kept: list[dict[int, bytes]] = [{} for _ in range(8)]

    def work(mine: int) -> None:
        for number in range(300):
            data = line(mine * 1000 + number, size=number % 90)
            kept[mine][log.append(data)] = data[:-1]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert contents(tmp_path) == {start: piece for each in kept for start, piece in each.items()}


@pytest.mark.process
def test_a_signal_handler_may_append_while_append_runs(tmp_path: Path) -> None:
    """A timer cuts in, more than a thousand times, a new segment's beginning included; no deadlock, no loss."""
    out = run_script(
        """
        import signal, sys, time
        from pathlib import Path
        from millstream.log.segments import SegmentWriter
        log, kept = SegmentWriter(Path(sys.argv[1]), segment_bytes=400), {}

        def append(kind, number):
            data = b'{"%s":%d,"x":"%s"}\\n' % (kind, number, b"x" * (number % 50))
            kept[log.append(data)] = data[:-1]

        cuts = depth = 0
        def cut_in(*_):
            global cuts, depth
            cuts, depth = cuts + 1, depth + 1
            if depth < 4:  # on a slow machine the handler is cut into as well, but not for ever
                signal.setitimer(signal.ITIMER_REAL, 0.00005)
            append(b"cut", cuts)
            append(b"cut again", cuts)
            depth -= 1
            signal.setitimer(signal.ITIMER_REAL, 0.0001)

        signal.signal(signal.SIGALRM, cut_in)
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
        number = 0
        while cuts < 1500:
            number += 1
            append(b"own", number)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

        from millstream._core.record import records
        from millstream.log.segments import segments_in
        found = {
            start: piece
            for segment in segments_in(Path(sys.argv[1]))
            for start, piece in records(segment.path.read_bytes(), segment.base)
        }
        assert found == kept, (len(found), len(kept))
        print("intact")
        """,
        os.fspath(tmp_path),
        timeout=55,
    )
    assert out == "intact\n"


class Cuts:
    """Calls `cut` once, at the moment of a given number, of all those at which a signal handler may be run.

    These are the beginning of a function, and the end of a call or a jump: nothing comes between other bytecodes.
    """

    def __init__(self, moment: int, cut: Callable[[], object]) -> None:
        self.moment = moment
        self.cut = cut
        self.passed = 0
        self._last: dict[int, str] = {}

    def __enter__(self) -> Cuts:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != segments.__file__:
            return None
        frame.f_trace_opcodes = True
        last = self._last.get(id(frame), "")
        if event == "call" or (event == "opcode" and ("CALL" in last or "JUMP" in last or "WITH" in last)):
            self.passed += 1
            if self.passed == self.moment:
                self.cut()
        self._last[id(frame)] = dis.opname[frame.f_code.co_code[frame.f_lasti]] if event == "opcode" else ""
        return self._trace


@pytest.mark.parametrize("within", [[5], [45, 20], [60, 60, 60], [5, 90, 5, 90]], ids=str)
@pytest.mark.parametrize("before", [[], [10], [110]], ids=str)
def test_a_handler_may_cut_in_at_any_moment(tmp_path: Path, before: list[int], within: list[int]) -> None:
    """Wherever it does, and however much it appends there: each record is whole, and where it is looked for."""
    moment, passed = 0, 1
    while moment < passed:
        moment += 1
        directory = tmp_path / str(moment)
        directory.mkdir()
        log = SegmentWriter(directory, segment_bytes=120)
        kept: dict[int, bytes] = {}

        def append(size: int, log: SegmentWriter = log, kept: dict[int, bytes] = kept) -> None:
            data = line(len(kept), size)
            kept[log.append(data)] = data[:-1]

        for size in before:
            append(size)
        with Cuts(moment, lambda append=append: [append(size) for size in within]) as cuts:  # type: ignore[misc]
            append(30)
        passed = cuts.passed
        append(7)
        homes = segments_in(directory)
        for position, record in kept.items():
            home = max((segment for segment in homes if segment.base <= position), key=lambda segment: segment.base)
            assert dict(records(home.path.read_bytes(), home.base)).get(position) == record, f"moment {moment}"
        assert contents(directory) == kept
        assert sum(segment.written for segment in log.segments) == len(kept) == len(before) + 2 + len(within)
        assert [segment.busy for segment in log.segments if segment.busy] == []
        log.close()
        assert [segment for segment in log.segments if segment.file >= 0] == []
    assert passed > 5


def test_what_was_half_written_is_no_record(tmp_path: Path) -> None:
    """A file may not grow beyond a limit: the record that hits it is refused, and never runs into the next."""
    log = SegmentWriter(tmp_path, segment_bytes=10_000)
    kept = {log.append(line(number)): line(number)[:-1] for number in range(3)}
    size = segments_in(tmp_path)[0].path.stat().st_size
    ours = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, ours[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            log.append(line(99))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, ours)
        signal.signal(signal.SIGXFSZ, before)
    kept |= {log.append(line(number)): line(number)[:-1] for number in range(5, 8)}
    assert contents(tmp_path) == kept


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", os.fspath(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", os.fspath(disk)], check=True)


@pytest.mark.process
def test_a_full_disk_that_empties_again(small_disk: Path) -> None:
    """What it took in part is blank, what it refused was refused, and what comes after is whole."""
    (small_disk / "in the way").write_bytes(b"x" * 40_000)
    log = SegmentWriter(small_disk, segment_bytes=1 << 20)
    kept, refused = {}, []
    for number in range(100):
        data = line(number, size=701)
        try:
            kept[log.append(data)] = data[:-1]
        except OSError as error:
            refused.append(error.errno)
    assert refused == [errno.ENOSPC] * len(refused)
    assert len(refused) > 50
    (small_disk / "in the way").unlink()
    for number in range(100, 120):
        data = line(number, size=701)
        kept[log.append(data)] = data[:-1]
    assert contents(small_disk) == kept
    log.close()


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    """Opened again, its positions go on; a last line without an end is cut off, as nobody was told that it is there."""
    log = SegmentWriter.reopen(tmp_path, segment_bytes=1000, prefix="events-")
    kept = {log.append(line(number)): line(number)[:-1] for number in range(3)}
    log.close()
    with segments_in(tmp_path, "events-")[-1].path.open("ab") as file:
        file.write(b'{"torn": tru')
    again = SegmentWriter.reopen(tmp_path, segment_bytes=1000, prefix="events-")
    kept |= {again.append(line(number)): line(number)[:-1] for number in range(3, 6)}
    found = {
        start: piece
        for segment in segments_in(tmp_path, "events-")
        for start, piece in records(segment.path.read_bytes(), segment.base)
    }
    assert found == kept
    assert [path.name[:7] for path in tmp_path.iterdir()] == ["events-"] * len(again.segments)


def test_a_sync_lets_go_of_what_is_no_longer_written_to(tmp_path: Path) -> None:
    """Files stay open until they are synced, and not for ever by one who never syncs."""
    log = SegmentWriter(tmp_path, segment_bytes=50)
    for number in range(5):
        log.append(line(number))
    assert log.dirty_since is not None
    log.sync()
    assert log.dirty_since is None
    assert [segment.file >= 0 for segment in log.segments] == [False] * 4 + [True]
    for number in range(100):
        log.append(line(number))
    assert sum(segment.file >= 0 for segment in log.segments) < 12


def test_who_syncs_waits_for_what_he_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that is under way in another thread is no reason to say that it is done."""
    log = SegmentWriter(tmp_path, segment_bytes=1000)
    force, begun, go_on, forced = os.fdatasync, threading.Event(), threading.Event(), list[str]()

    def slow(file: int) -> None:
        begun.set()
        assert go_on.wait(30)
        force(file)
        forced.append("the other's")

    def quick(file: int) -> None:
        force(file)
        forced.append("mine")

    log.append(line(1))
    monkeypatch.setattr(os, "fdatasync", slow)
    other = threading.Thread(target=log.sync)
    other.start()
    assert begun.wait(30)
    monkeypatch.setattr(os, "fdatasync", quick)
    log.sync()
    assert forced == ["mine"]
    go_on.set()
    other.join(30)


def test_a_segment_is_not_dropped_while_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file would be closed under the one who syncs, and its number may be another file's."""
    log, force, dropped = SegmentWriter(tmp_path, segment_bytes=1000), os.fdatasync, list[bool]()
    log.append(line(1))
    (segment,) = log.segments

    def drop(file: int) -> None:
        dropped.append(log.drop(segment))
        force(file)

    monkeypatch.setattr(os, "fdatasync", drop)
    log.sync()
    assert dropped == [False]
    assert log.drop(segment)
    assert segments_in(tmp_path) == []


def test_a_sync_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be forced to the disk is as dirty as before."""

    def broken(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log = SegmentWriter(tmp_path, segment_bytes=1000)
    log.append(line(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            log.sync()
    assert log.dirty_since is not None
    log.sync()
    assert log.dirty_since is None
    assert not any(segment.dirty for segment in log.segments)


@pytest.mark.parametrize("end", [SegmentWriter.close, SegmentWriter.rotate], ids=["close", "rotate"])
def test_a_file_is_not_closed_under_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[SegmentWriter], None]
) -> None:
    """Its number may be another file's by then, and the record in the middle of that."""
    log = SegmentWriter(tmp_path, segment_bytes=1000)
    log.append(line(1))
    write = os.pwrite

    def end_it(file: int, data: bytes, offset: int) -> int:
        end(log)  # as a signal handler does; another thread would have to wait
        other = os.open(tmp_path / "another", os.O_RDWR | os.O_CREAT)
        try:
            assert other != file
            return write(file, data, offset)
        finally:
            os.close(other)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", end_it)
        log.append(line(2))
    assert len(contents(tmp_path)) == 2
    log.close()
    assert all(segment.file < 0 for segment in log.segments)
    with pytest.raises(OSError, match="closed"):
        log.append(line(3))
    assert len(segments_in(tmp_path)) == 1


def test_a_log_is_kept_within_bounds(tmp_path: Path) -> None:
    """The oldest segments go, by size or by age; the one that is written to never does."""
    log = SegmentWriter(tmp_path, segment_bytes=50)
    for number in range(10):
        log.append(line(number))
    size = segments_in(tmp_path)[0].path.stat().st_size
    bases = [segment.base for segment in log.segments]
    assert [segment.base for segment in log.retain(max_bytes=4 * size)] == bases[:6]
    os.utime(log.segments[0].path, (1, 1))
    assert [segment.base for segment in log.retain(written_after=1000.0)] == bases[6:7]
    assert [segment.base for segment in log.retain(max_bytes=0)] == bases[7:9]
    assert [segment.base for segment in segments_in(tmp_path)] == bases[9:]
