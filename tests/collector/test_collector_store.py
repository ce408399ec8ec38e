"""The directory of JSON lines: all of a request or nothing of it, on the disk before it is said so."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from millstream.collector import Collector, Files
from millstream.collector.rejects import Rejects
from millstream.errors import SettingsError

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a full disk: the system takes what fits, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run(*steps: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run these at once, on an event loop; what failed is in the list as its exception."""

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(step() for step in steps), return_exceptions=True)

    return asyncio.run(all_of_them())


def appending(store: Files, text: bytes) -> asyncio.Future[int]:
    """The end of an `append`, to wait for."""
    future = asyncio.get_running_loop().create_future()

    def done(outcome: int | BaseException) -> None:
        if isinstance(outcome, int):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    store.append(text, done)
    return future


def append(store: Files, *lines: bytes) -> None:
    (outcome,) = run(lambda: appending(store, b"".join(line + b"\n" for line in lines)))
    if isinstance(outcome, BaseException):
        raise outcome


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Files]:
    store = Files(tmp_path / "made" / "here")
    yield store
    store.close()


class Disk:
    """A disk that waits to be told: stands where the system's call is, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.turn = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.error: OSError | None = None
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, file: int) -> None:
        self.calls += 1
        self.begun.release()
        assert self.turn.acquire(timeout=20)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self._real(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_lines_are_appended_in_order(store: Files) -> None:
    """Each line ends with a line break, and what is returned from is in the file."""
    append(store, b'{"a":1}', b'{"a":2}')
    append(store, b'{"a":3}')
    (file,) = store.path.glob("*.jsonl")
    assert file.name == f"events-{0:020}.jsonl"
    assert file.read_bytes() == b'{"a":1}\n{"a":2}\n{"a":3}\n'


def test_nothing_is_promised_before_the_disk_has_it(store: Files, disk: Disk) -> None:
    """Who comes while the disk is at work shares its next turn, and waits for it."""

    async def four() -> None:
        first = appending(store, b"1\n")
        await asyncio.to_thread(disk.begun.acquire, timeout=20)
        later = [appending(store, line + b"\n") for line in (b"2", b"3", b"4")]
        done, _ = await asyncio.wait({first, *later}, timeout=0.05)
        assert not done
        disk.turn.release()
        await first
        await asyncio.to_thread(disk.begun.acquire, timeout=20)
        assert not any(each.done() for each in later)
        disk.turn.release()
        await asyncio.gather(*later)

    asyncio.run(four())
    disk.turn.release()
    assert disk.calls == 2
    assert content(store.path) == b"1\n2\n3\n4\n"


def test_a_disk_that_fails_has_kept_nothing(store: Files, disk: Disk) -> None:
    """After a sync that failed nobody knows what is on the disk: it is taken back, and so is what waited behind it."""
    disk.turn.release()
    append(store, b"before")

    async def two() -> list[Any]:
        disk.error = OSError(errno.EIO, "Input/output error")
        first = appending(store, b"lost\n")
        assert await asyncio.to_thread(disk.begun.acquire, timeout=20)
        assert await asyncio.to_thread(disk.begun.acquire, timeout=20)
        behind = appending(store, b"")
        disk.turn.release()
        return await asyncio.gather(first, behind, return_exceptions=True)

    first, behind = asyncio.run(two())
    assert isinstance(first, OSError)
    assert isinstance(behind, OSError)
    assert content(store.path) == b"before\n"
    disk.turn.release()
    append(store, b"after")
    assert content(store.path) == b"before\nafter\n"
    disk.turn.release()


def test_an_error_is_told_to_all_whom_it_concerns_at_once(store: Files, disk: Disk) -> None:
    """In one turn of the event loop: what comes next is not taken for a duplicate of what has been lost."""
    told: list[str] = []

    async def two() -> None:
        disk.error = OSError(errno.EIO, "Input/output error")
        store.append(b"lost\n", lambda _: (told.append("first"), loop.call_soon(told.append, "what comes next")))
        assert await asyncio.to_thread(disk.begun.acquire, timeout=20)
        last = loop.create_future()
        store.append(b"", lambda _: 1 / 0)
        store.append(b"", lambda _: (told.append("behind"), loop.call_soon(last.set_result, None)))
        disk.turn.release()
        await last

    loop = asyncio.new_event_loop()
    loop.run_until_complete(two())
    loop.close()
    assert told == ["first", "behind", "what comes next"]
    disk.turn.release()


def test_without_lines_one_waits_for_those_before(store: Files, disk: Disk) -> None:
    """A duplicate of an event that is not on the disk yet is not on the disk either."""

    async def two() -> None:
        await appending(store, b"")  # nobody before: nothing to wait for
        first = appending(store, b"1\n")
        await asyncio.to_thread(disk.begun.acquire, timeout=20)
        second = appending(store, b"")
        done, _ = await asyncio.wait({second}, timeout=0.05)
        assert not done
        disk.turn.release(2)
        await asyncio.gather(first, second)

    asyncio.run(two())
    disk.turn.release()


def test_a_write_that_fails_half_way_leaves_nothing_behind(store: Files) -> None:
    """A disk that fills up in the middle of a request costs that request, not the lines around it."""
    append(store, b"before")
    with file_size_limit(10), pytest.raises(OSError, match=r".*") as caught:
        append(store, b"x" * 20, b"y" * 20)
    assert caught.value.errno == errno.EFBIG
    assert content(store.path) == b"before\n"
    append(store, b"after")
    assert content(store.path) == b"before\nafter\n"


def test_a_disk_without_room_for_another_file_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails where a new file would begin leaves no gap: the next line follows the last."""
    store = Files(tmp_path, segment_bytes=10)
    append(store, b"0123456789")
    real = os.open

    def full(path: Any, *how: Any, **more: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space left"):
        append(store, b"lost")
    monkeypatch.setattr(os, "open", real)
    append(store, b"after")
    store.close()
    assert content(tmp_path) == b"0123456789\nafter\n"
    assert [path.name for path in sorted(tmp_path.glob("*.jsonl"))] == [
        f"events-{position:020}.jsonl" for position in (0, 11)
    ]


def test_requests_at_the_same_time_do_not_mix(store: Files) -> None:
    """Each request's lines stay together, in whatever turn of the disk they are."""
    positions = run(
        *(lambda name=name: appending(store, (name * 400 + b"\n") * 2) for name in (b"a", b"b", b"c", b"d") * 20)
    )
    assert positions == [number * 802 for number in range(80)]
    lines = content(store.path).splitlines()
    assert len(lines) == 160
    assert {len(line) for line in lines} == {400}
    assert all(first == second for first, second in zip(lines[::2], lines[1::2], strict=True))


def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    """Each file begins where the one before it ends, also after a new start."""
    for _ in range(2):
        store = Files(tmp_path, segment_bytes=20)
        for _ in range(3):
            append(store, b"0123456789")
        store.close()
    names = [path.name for path in sorted(tmp_path.glob("*.jsonl"))]
    assert names == [f"events-{position:020}.jsonl" for position in (0, 22, 33, 55)]
    assert content(tmp_path) == b"0123456789\n" * 6


def test_a_line_that_a_killed_process_left_half_is_cut_off(tmp_path: Path) -> None:
    """It was promised to nobody, and the next line must not continue it."""
    Files(tmp_path).close()
    for left in (b'{"a":1}\n{"b":', b'{"c":'):
        store = Files(tmp_path)
        append(store, b'{"x":1}')
        store.close()
        last = max(tmp_path.glob("*.jsonl"))
        last.write_bytes(last.read_bytes() + left)
    Files(tmp_path).close()
    assert content(tmp_path) == b'{"x":1}\n{"a":1}\n{"x":1}\n'


def test_a_file_that_was_begun_and_not_written_is_no_obstacle(tmp_path: Path) -> None:
    """A process may be killed between the two."""
    (tmp_path / f"events-{0:020}.jsonl").touch()
    store = Files(tmp_path)
    append(store, b"1")
    store.close()
    assert content(tmp_path) == b"1\n"


def test_two_collectors_do_not_share_a_directory(tmp_path: Path) -> None:
    """They would cut off each other's lines; the lock is gone when the other is, however it ended."""
    store = Files(tmp_path)
    with pytest.raises(SettingsError, match="is in use by another collector"):
        Files(tmp_path)
    store.close()
    Files(tmp_path).close()


@pytest.mark.process
def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A collector that was killed leaves nothing that keeps the next one out."""
    program = "import sys; from millstream.collector import Files; Files(sys.argv[1]); print(1, flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(SettingsError, match="is in use"):
            Files(tmp_path)
        process.kill()
    Files(tmp_path).close()


def test_the_oldest_files_go_when_there_is_too_much(tmp_path: Path) -> None:
    """At a start, and with each new file; the one that is written to stays."""
    store = Files(tmp_path, segment_bytes=100)
    for _ in range(50):
        append(store, b"0123456789")
    store.close()
    assert len(content(tmp_path)) == 550
    store = Files(tmp_path, segment_bytes=100, max_bytes=300)
    assert 200 <= len(content(tmp_path)) <= 300
    for _ in range(100):
        append(store, b"9876543210")
    assert 200 <= len(content(tmp_path)) <= 410
    store.close()


def test_files_go_when_they_are_too_old(tmp_path: Path) -> None:
    """By the time at which they were last written to."""
    store = Files(tmp_path)
    append(store, b"old")
    store.close()
    (file,) = tmp_path.glob("*.jsonl")
    os.utime(file, (0, 0))
    store = Files(tmp_path, max_age=3600)
    append(store, b"new")
    store.close()
    assert content(tmp_path) == b"new\n"


def test_a_file_is_closed_before_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes slowly would lie in one file for ever, which never grows old."""
    now = 1000.0
    monkeypatch.setattr("millstream.log.file_log.monotonic", lambda: now)
    store = Files(tmp_path, max_age=800)
    for _ in range(4):
        append(store, b"x")
        now += 101
    store.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


@pytest.mark.parametrize("how", ["unlink", "rename", "replace", "rmtree", "move"])
def test_what_another_process_takes_away_is_followed_by_a_new_file(store: Files, how: str) -> None:
    """Each of the next events is where readers look, in a file with the name of its position."""
    append(store, b'{"a":1}')
    (file,) = store.path.glob("*.jsonl")
    match how:
        case "unlink":
            file.unlink()
        case "rename":
            file.rename(file.with_suffix(".old"))
        case "replace":
            file.unlink()
            file.write_bytes(b'{"b":1}\n')
        case "rmtree":
            shutil.rmtree(store.path.parent)
        case _:
            store.path.rename(store.path.with_name("elsewhere"))
    append(store, b'{"a":2}')
    append(store, b'{"a":3}')
    written = store.path / f"events-{8:020}.jsonl"
    assert written.read_bytes() == b'{"a":2}\n{"a":3}\n'
    with pytest.raises(SettingsError, match="is in use by another collector"):
        Files(store.path)


@pytest.mark.parametrize("left", [0, 5, 8])
def test_a_file_that_another_process_cuts_gets_no_hole(store: Files, left: int) -> None:
    """As logrotate's copytruncate does: what comes next is in a file of its own, and not behind zeros."""
    append(store, b'{"a":1}', b'{"a":2}')
    (file,) = store.path.glob("*.jsonl")
    os.truncate(file, left)
    append(store, b'{"a":3}')
    assert file.read_bytes() == b'{"a":1}\n{"a":2}\n'[:left]
    assert (store.path / f"events-{16:020}.jsonl").read_bytes() == b'{"a":3}\n'


def test_a_file_is_cut_while_the_disk_is_full(store: Files) -> None:
    """What was written half is taken back, and nothing is put in the place of what another process has cut."""
    append(store, b"before")
    (file,) = store.path.glob("*.jsonl")
    with file_size_limit(10), pytest.raises(OSError, match=r".*"):
        append(store, b"x" * 20)
    os.truncate(file, 3)
    with file_size_limit(10), pytest.raises(OSError, match=r".*"):
        append(store, b"y" * 20)
    append(store, b"after")
    assert content(store.path) == b"befafter\n"


def test_a_directory_that_has_become_anothers_takes_nothing(store: Files, tmp_path: Path) -> None:
    """Removed, and taken by another collector: no event is accepted there, until it is free."""
    append(store, b"1")
    store.path.rename(tmp_path / "elsewhere")
    other = Files(store.path)
    (failed,) = run(lambda: appending(store, b"2\n"))
    assert isinstance(failed, SettingsError)
    other.close()
    append(store, b"3")
    assert content(store.path) == b"3\n"


def test_a_file_that_is_gone_does_not_end_retention(tmp_path: Path) -> None:
    """An old file that was deleted by hand counts as deleted."""
    store = Files(tmp_path, segment_bytes=100, max_bytes=300)
    for number in range(30):
        append(store, b"0123456789")
        if number == 15:
            min(tmp_path.glob("*.jsonl")).unlink()
    assert len(content(tmp_path)) <= 410
    store.close()


def test_a_start_looks_past_what_it_cannot_read(tmp_path: Path) -> None:
    """Lines that an older version has kept: nested deeply, behind zeros; and a collector that fails leaves no lock."""
    now = datetime.now(timezone.utc).isoformat()
    file = tmp_path / f"events-{0:020}.jsonl"
    deep = b'{"deep":%b%b}\n' % (b"[" * 960, b"]" * 960)
    file.write_bytes(deep + b"\0" * 100 + event(1, now) + b"\n")

    def start(frames: int) -> set[tuple[str, str]]:
        if frames:
            return start(frames - 1)
        store = Files(tmp_path)
        found = set(store.recent(LONG_AGO))
        store.close()
        return found

    assert start(40) == {("s", "1")}


def test_a_collector_that_cannot_begin_leaves_no_lock(tmp_path: Path) -> None:
    """What it has opened it closes again, and the next one can begin."""
    folder = tmp_path / "watermark"
    folder.mkdir()
    for _ in range(2):
        with pytest.raises(SettingsError, match="Is a directory"):
            Collector(tmp_path)
    folder.rmdir()
    Collector(tmp_path).close()


def event(number: int, received: str, source: str = "s") -> bytes:
    return json.dumps({"messageId": str(number), "sourceId": source, "receivedAt": received}).encode()


def test_what_came_lately_is_found_again(tmp_path: Path) -> None:
    """For the window of duplicates: sources and ids from all files that may hold them, of the time asked for."""
    store = Files(tmp_path, segment_bytes=200)
    now = datetime.now(timezone.utc)
    for number in range(10):
        append(store, event(number, (now - timedelta(hours=9 - number)).isoformat()))
    append(store, b'{"no": "id"}', b"[", event(99, now.isoformat(), ""))
    found = set(store.recent(now - timedelta(hours=4, minutes=30)))
    assert found == {("s", str(number)) for number in range(5, 10)} | {("", "99")}
    assert len(set(store.recent(LONG_AGO))) == 11
    store.close()


def test_with_an_interval_the_disk_is_forced_later(tmp_path: Path, disk: Disk) -> None:
    """A 200 then means that the system has it: it survives our death, and not yet a loss of power."""
    store = Files(tmp_path, sync_interval=1.0)

    async def some() -> None:
        for _ in range(10):
            await appending(store, b"1\n")
        assert disk.calls <= 1
        disk.turn.release(20)
        await asyncio.to_thread(disk.begun.acquire, timeout=20)

    asyncio.run(some())
    assert content(tmp_path) == b"1\n" * 10
    store.close()


def test_a_directory_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    """It is a setting that is wrong, known when the collector is made and not at the first event."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot store events in .*file/below: Not a directory"):
        Files(tmp_path / "file" / "below")


def test_a_closed_store_refuses(store: Files) -> None:
    """After `close` nothing is written into whatever file has the number now."""
    store.close()
    store.close()
    (failed,) = run(lambda: appending(store, b"late\n"))
    assert isinstance(failed, OSError)
    store.quarantine([b"late"])


def test_what_was_not_kept_lies_beside_in_bounded_files(tmp_path: Path) -> None:
    """`rejected.jsonl`, and the one before it."""
    rejects = Rejects(tmp_path, max_bytes=100)
    for number in range(50):
        rejects.write([b'{"reason":"duplicate","n":%d}' % number])
    files = {path.name: path.read_bytes().splitlines() for path in (tmp_path / "quarantine").iterdir()}
    assert set(files) <= {"rejected.jsonl", "rejected.jsonl.1"}
    assert sum(map(len, files.values())) < 10
    assert files["rejected.jsonl.1"]
    assert rejects.lost == 0


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_was_not_kept_is_for_the_owner_and_the_group(tmp_path: Path, mask: int) -> None:
    """As the events are, whatever the process's umask."""
    before = os.umask(mask)
    try:
        Rejects(tmp_path).write([b"{}"])
        Rejects(tmp_path).write([b"{}"])
    finally:
        os.umask(before)
    file = tmp_path / "quarantine" / "rejected.jsonl"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes() == b"{}\n{}\n"


def test_what_cannot_even_be_put_in_quarantine_is_counted(tmp_path: Path) -> None:
    """No request fails for it."""
    (tmp_path / "quarantine").write_bytes(b"a file")
    rejects = Rejects(tmp_path, max_waiting=3)
    assert rejects.offer([b"1", b"2"])
    rejects.write([b"1", b"2"])
    assert rejects.lost == 2
    assert rejects.offer([b"3"] * 4)
    assert not rejects.offer([b"4"])  # the disk does not move
    assert rejects.lost == 3
