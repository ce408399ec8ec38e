"""A spool that something has happened to: what can be read is delivered, and nothing healthy is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from millstream import Analytics, SpoolError
from millstream._core.record import Place, joined
from millstream.spool import Spool
from millstream.spool.inspect import events, lanes
from millstream.spool.lock import release_lock, take_lock
from millstream.spool.spool import source_of
from support.api import Api

Make = Callable[..., Spool]


def event(number: int, **more: Any) -> bytes:
    return json.dumps({"type": "track", "messageId": str(number), "event": "A", **more}).encode()


@pytest.fixture
def told() -> list[SpoolError]:
    """What was reported."""
    return []


@pytest.fixture
def spool(tmp_path: Path, told: list[SpoolError]) -> Make:
    def make(source: str = "source", sync: float | None = None) -> Spool:
        return Spool(tmp_path / "spool", source=source, max_bytes=1 << 30, sync=sync, report=told.append)

    return make


def leave(spool: Spool, *numbers: int, segments: bool = False) -> Path:
    """Write events down, as a process does that then dies; if asked for, each in a segment of its own."""
    for number in numbers:
        place = spool.append(event(number))
        assert place is not None
        assert spool._lane is not None
        if segments and spool._lane.log is not None:
            spool._lane.log.rotate()
    spool.orphan()
    assert spool._lane is not None
    return spool._lane.directory


def adopted(spool: Spool) -> list[int]:
    """The numbers of the events that a start finds."""
    found: list[tuple[Place, bytes]] = []
    for stretch in spool.adopt():
        rest = stretch
        while rest is not None:
            some, rest = spool.read(rest, 3, 1 << 20)
            found += some
    return [int(json.loads(record)["messageId"]) for _, record in found]


@pytest.mark.parametrize("owner", [None, b"", b"rubbish", b"\0" * 90], ids=["missing", "empty", "rubbish", "blank"])
def test_a_spoiled_owner_costs_no_event(spool: Make, told: list[SpoolError], owner: bytes | None) -> None:
    """A loss of power leaves files empty; the lane's events are whole, and are delivered."""
    lane = leave(spool(), 1, 2)
    (lane / "owner.json").unlink()
    if owner is not None:
        (lane / "owner.json").write_bytes(owner)
    second = spool()
    assert adopted(second) == [1, 2]
    assert adopted(spool()) == []  # the lock is held again
    assert told == []


def test_what_is_left_of_a_lane_that_was_being_deleted_is_removed(spool: Make, tmp_path: Path) -> None:
    """Whoever deletes a lane may die between any two steps."""
    (tmp_path / "spool" / "source-0123456789abcdef").mkdir(parents=True)
    half = leave(spool(), 1)
    next(half.glob("*.jsonl")).unlink()
    (half / f"{0:020d}.done").write_bytes(b"\n0 10\n")
    assert adopted(spool()) == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_lane_that_vanishes_hides_no_other(spool: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes take over and delete lanes at the same time."""
    leave(spool(), 1)
    leave(spool(), 2)
    listed = Path.iterdir

    def one_more(path: Path) -> Iterator[Path]:
        yield from listed(path)
        yield path / "source-ffffffffffffffff"

    monkeypatch.setattr(pathlib.Path, "iterdir", one_more)
    assert sorted(adopted(spool())) == [1, 2]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES], ids=["no descriptors left", "no right to"])
def test_a_trouble_that_may_pass_costs_nothing(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A segment that cannot be opened today is told of, stays where it is, and is delivered another day."""
    lane = leave(spool(), 1, 2, segments=True)
    (first, second) = sorted(lane.glob("*.jsonl"))
    opened = os.open

    def refuse(path: Any, *how: Any, **more: Any) -> int:
        if path == first:
            raise OSError(code, os.strerror(code), os.fspath(path))
        return opened(path, *how, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        unlucky = spool()
        assert adopted(unlucky) == [2]
        assert [os.strerror(code) in str(error) for error in told] == [True]
        unlucky.release()
    assert first.exists()
    assert second.exists()
    assert adopted(spool()) == [1, 2]


def test_a_directory_that_cannot_be_listed_is_not_empty(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find nothing is not to see nothing: no lane is deleted that nobody could look into."""
    lane = leave(spool(), 1)
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path == lane:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return listed(path)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "iterdir", refuse)
        patch.setattr(pathlib.Path, "glob", lambda *_: iter(()))  # which sees nothing where it finds nothing
        unlucky = spool()
        assert adopted(unlucky) == []
        unlucky.release()
    assert len(told) == 1
    assert adopted(spool()) == [1]


def test_one_lost_segment_costs_its_own_events_alone(spool: Make) -> None:
    """Those before it and after it come, however many are read at once."""
    lane = leave(spool(), 0, 1, 2, 3, segments=True)
    second = spool()
    first, *others = second.adopt()
    whole = first
    for stretch in others:
        both = joined(whole, stretch)
        assert both is not None
        whole = both
    min(lane.glob("*.jsonl")).unlink()
    assert spool().read(first, 10, 1 << 20) == ([], None)
    found, rest = second.read(whole, 10, 1 << 20)
    assert [record for _, record in found] == [event(1)]
    while rest is not None:
        some, rest = second.read(rest, 10, 1 << 20)
        found += some
    assert [record for _, record in found] == [event(1), event(2), event(3)]
    assert second.corrupt == 1


def test_a_place_that_is_gone_counts_for_no_other(spool: Make) -> None:
    """What is settled once more does not make a later segment look as if it were done with."""
    mine = spool()
    first = mine.append(event(1))
    assert first is not None
    assert mine._lane is not None
    assert mine._lane.log is not None
    mine._lane.log.rotate()
    mine.append(event(2))
    for _ in range(3):
        mine.settle([first])
    assert mine.written_at(first) == 0.0
    mine.release()
    assert adopted(spool()) == [2]


def test_what_could_not_be_read_to_its_end_is_not_deleted(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was found in a segment is done with; but nobody knows what else is in there."""
    lane = leave(spool(), *range(2000))
    (segment,) = lane.glob("*.jsonl")
    whole = os.open(segment, os.O_RDONLY)
    opened = os.fdopen

    class Bad:
        """The file, as a disk gives it that fails after the first part."""

        def __init__(self, file: Any) -> None:
            self.file = file
            self.reads = 0

        def __enter__(self) -> Bad:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def seek(self, place: int) -> None:
            self.file.seek(place)

        def read(self, size: int) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            data: bytes = self.file.read(size // 16)
            return data

    with monkeypatch.context() as patch:
        patch.setattr(
            os,
            "fdopen",
            lambda file, how: Bad(opened(file, how)) if os.path.sameopenfile(file, whole) else opened(file, how),
        )
        second = spool()
        stretches = list(second.adopt())
    os.close(whole)
    places = [place for stretch in stretches for place, _ in second.read(stretch, 2000, 1 << 30)[0]]
    assert 0 < len(places) < 2000
    second.settle(places)
    second.release()
    assert len(told) == 1
    assert segment.exists()
    assert adopted(spool()) == list(range(len(places), 2000))


def test_odd_records_stop_nobody(tmp_path: Path, client: Callable[..., Analytics], api: Api) -> None:
    """JSON that is no event is left out; what is beside it is delivered."""
    first = Spool(tmp_path, source=source_of("key"), max_bytes=1 << 30, sync=None, report=print)
    for record in (
        event(1),
        event(2, integrations=5),
        event(3, integrations=None),
        b'{"type":"track","messageId":7}',
        event(4),
    ):
        first.append(record)
    first.orphan()
    analytics = client(spool=tmp_path)
    result = analytics.close_and_flush(timeout=20)
    assert sorted(event["messageId"] for event in api.accepted) == ["1", "4"]
    assert (result.delivered, result.pending) == (2, 0)
    assert analytics.stats().corrupt == 3


@pytest.mark.process
def test_a_file_full_of_rubbish_is_taken_in_small_bites(spool: Make) -> None:
    """However large it is and without any line in it: memory holds a few megabytes, and it takes no longer for that."""
    lane = leave(spool(), 1)
    with next(lane.glob("*.jsonl")).open("ab") as file:
        for _ in range(40):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + event(2) + b"\n")
    script = """
        import resource, sys
        from pathlib import Path
        from millstream.spool import Spool
        spool = Spool(Path(sys.argv[1]), source="source", max_bytes=1 << 30, sync=None, report=print)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(sum(stretch.count for stretch in spool.adopt()))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    told = subprocess.check_output([sys.executable, "-c", dedent(script), lane.parent], text=True, timeout=50)
    count, growth = [line for line in told.splitlines() if line.isdigit()]
    assert int(count) == 2
    assert int(growth) < 20_000, f"it took {int(growth):,} KiB of memory"


def test_a_lane_is_looked_through_a_part_at_a_time(spool: Make) -> None:
    """Whoever has other work to do is not kept from it by a large segment; and nothing is deleted before its end."""
    lane = leave(spool(), *range(5000))
    second = spool()
    found: list[int] = []
    most = 0
    for stretch in second.adopt():
        most = max(most, stretch.count)
        some, rest = second.read(stretch, 5000, 1 << 30)
        assert rest is None
        found += [int(json.loads(record)["messageId"]) for _, record in some]
        second.settle([place for place, _ in some])
        assert len(found) == 5000 or lane.exists()
    assert found == list(range(5000))
    assert most < 2000
    assert not lane.exists()


# -- other people's -----------------------------------------------------------------------------------


@pytest.mark.process
def test_a_lane_of_another_user_is_told_of(spool: Make) -> None:
    """Where the rights are wrong, somebody has to set them right, and so has to know."""
    if os.geteuid():
        pytest.skip("becoming another user needs root")
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to others
        Path(directory).chmod(0o755)
        leave(Spool(Path(directory), source="source", max_bytes=1 << 30, sync=None, report=print), 1)
        script = f"""
            import os
            from pathlib import Path
            from millstream.spool import Spool
            os.setuid(65534)
            spool = Spool(Path({directory!r}), source="source", max_bytes=1 << 30, sync=None, report=print)
            assert list(spool.adopt()) == []
        """
        told = subprocess.check_output([sys.executable, "-c", dedent(script)], text=True, timeout=30)
    assert told.count("\n") == 1
    assert "cannot be taken over: Permission denied" in told


def test_a_look_from_outside_passes_over_what_cannot_be_read(spool: Make, tmp_path: Path) -> None:
    """`millstream spool` shows what there is, also of a spool that is damaged, or changes at the same time."""
    damaged = leave(spool(), 1)
    (damaged / f"{500:020d}.jsonl").mkdir()
    (damaged / f"{600:020d}.jsonl").symlink_to(tmp_path / "gone")
    (damaged / "owner.json").unlink()
    leave(spool("other"), 2)
    found = {lane.source: lane for lane in lanes(tmp_path / "spool")}
    assert {source: (lane.events, lane.corrupt, lane.known, lane.alive) for source, lane in found.items()} == {
        "source": (1, 1, True, False),
        "other": (1, 0, True, False),
    }
    assert sorted(events(tmp_path / "spool")) == [event(1), event(2)]


def test_a_look_from_outside_keeps_nobody_from_looking(spool: Make, tmp_path: Path) -> None:
    """Two may look at the same time, and write nothing."""
    lane = leave(spool(), 1)
    another = take_lock(lane, to_look=True)
    assert another is not None
    before = {path: path.stat().st_mtime_ns for path in lane.parent.rglob("*")}
    assert [each.alive for each in lanes(tmp_path / "spool")] == [False]
    assert {path: path.stat().st_mtime_ns for path in lane.parent.rglob("*")} == before
    release_lock(another)


# -- the end ------------------------------------------------------------------------------------------


def test_what_is_settled_after_the_release_is_nobody_s_business(spool: Make, told: list[SpoolError]) -> None:
    """The lanes may have another owner by then."""
    leave(spool(), 1, 2)
    second = spool()
    (stretch,) = second.adopt()
    places = [place for place, _ in second.read(stretch, 10, 1 << 20)[0]]
    own = second.append(event(3))
    assert own is not None
    second.settle(places[:1])
    second.release()
    second.settle([places[1], own])
    assert sorted(adopted(spool())) == [2, 3]
    assert told == []


def test_a_call_that_crosses_the_release_is_no_trouble(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is not on disk; but there is nothing wrong with the disk, and nobody is told so."""
    mine = spool()
    mine.append(event(1))
    assert mine._lane is not None
    append = mine._lane.append

    def late(record: bytes) -> Place:
        mine.release()
        return append(record)

    monkeypatch.setattr(mine._lane, "append", late)
    assert mine.append(event(2)) is None
    assert told == []
    assert mine.state == "on"


def test_a_note_that_the_disk_did_not_take_is_made_up_for(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write is none. What was not noted is with the next note, or at the latest when the lane is let go of."""
    mine = spool()
    places = [mine.append(event(number)) for number in range(4)]
    written = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: written(file, data[:2]))
        mine.settle([place for place in places[:2] if place])
    assert ["cannot be noted" in str(error) for error in told] == [True]
    mine.release()
    assert adopted(spool()) == [2, 3]


def test_a_directory_given_by_a_relative_path_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that becomes a daemon changes its directory: the spool does not go with it."""
    monkeypatch.chdir(tmp_path)
    mine = Spool(Path("spool"), source="source", max_bytes=1 << 30, sync=None, report=print)
    first = mine.append(event(1))
    assert first is not None
    monkeypatch.chdir("/")
    assert mine._lane is not None
    assert mine._lane.log is not None
    mine._lane.log.rotate()
    assert mine.append(event(2)) is not None
    mine.settle([first])
    assert list(events(tmp_path / "spool")) == [event(2)]
    mine.orphan()


def test_a_lane_that_cannot_be_made_leaves_nothing(
    spool: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk stays full for long, and it is tried again every second."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mine = spool()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for number in range(3):
            mine._again = 0.0  # a second later
            assert mine.append(event(number)) is None
    assert list((tmp_path / "spool").iterdir()) == []


# -- loss of power ------------------------------------------------------------------------------------


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was forced to the disk itself, in order."""
    names: list[str] = []
    for call in ("fsync", "fdatasync"):
        force = getattr(os, call)

        def spy(file: int, force: Callable[[int], None] = force) -> None:
            force(file)
            names.append(Path(f"/proc/self/fd/{file}").readlink().name)

        monkeypatch.setattr(os, call, spy)
    return names


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_names_are_forced_to_the_disk_as_well(spool: Make, forced: list[str]) -> None:
    """A file without a name is lost with the power: so is a lane whose renaming nobody has forced."""
    mine = spool(sync=0.0)
    assert mine.append(event(1)) is not None
    assert mine._lane is not None
    lane = mine._lane.directory.name
    assert forced[0] == "owner.json"
    assert forced[2] == "spool"
    assert forced[-2:] == [f"{0:020d}.jsonl", lane]
    forced.clear()
    assert mine.append(event(2)) is not None
    assert forced == [f"{0:020d}.jsonl"]
    mine.release()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_what_was_not_forced_yet_is_at_the_end(spool: Make, forced: list[str]) -> None:
    """The last half second of an interval counts as well."""
    mine = spool(sync=60.0)
    assert mine.append(event(1)) is not None
    forced.clear()
    mine.release()
    assert f"{0:020d}.jsonl" in forced


def test_an_event_that_cannot_be_forced_is_on_disk_all_the_same(
    spool: Make, told: list[SpoolError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, once, and what is written is not taken for what is not: it would be delivered twice."""

    def broken(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    mine = spool(sync=0.0)
    assert mine.append(event(0)) is not None
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        places = [mine.append(event(number)) for number in (1, 2)]
        assert None not in places
        assert mine.state.startswith("off: ")
    assert ["not forced to the disk" in str(error) for error in told] == [True]
    assert mine.append(event(3)) is not None
    assert mine.state == "on"
    mine.release()
