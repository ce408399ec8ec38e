"""Lanes: who owns one, what is adopted, and what becomes of what cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from millstream import SpoolError
from millstream._core.record import Place
from millstream.spool import Spool
from millstream.spool.inspect import events, lanes
from support.processes import start_script

Make = Callable[..., Spool]


def event(number: int) -> bytes:
    return b'{"type":"track","messageId":"%d","event":"A"}' % number


@pytest.fixture
def told() -> list[SpoolError]:
    """What was reported."""
    return []


@pytest.fixture
def spool(tmp_path: Path, told: list[SpoolError]) -> Make:
    def make(source: str = "source", max_bytes: int = 1 << 30, sync: float | None = None) -> Spool:
        return Spool(tmp_path / "spool", source=source, max_bytes=max_bytes, sync=sync, report=told.append)

    return make


def leave(spool: Spool, *numbers: int) -> list[Place]:
    """Write events down as a process does that then dies."""
    places = [spool.append(event(number)) for number in numbers]
    spool.orphan()
    return [place for place in places if place is not None]


def adopted(spool: Spool) -> list[tuple[Place, bytes]]:
    """All that a start finds."""
    found = []
    for stretch in spool.adopt():
        rest: object = stretch
        while rest is not None:
            some, rest = spool.read(rest, 3, 1 << 20)  # type: ignore[arg-type]
            assert some
            found += some
        assert sum(1 for _ in found) >= stretch.count
    return found


def numbers(found: list[tuple[Place, bytes]]) -> list[int]:
    return [int(json.loads(record)["messageId"]) for _, record in found]


def lane_of(tmp_path: Path) -> Path:
    (lane,) = [path for path in (tmp_path / "spool").iterdir() if "-" in path.name]
    return lane


# -- from one owner to the next -----------------------------------------------------------------------


def test_what_is_not_done_with_is_adopted_in_order(spool: Make) -> None:
    """What was settled before does not come again, and nothing settled later is kept back by what was before it."""
    first = spool()
    places = [first.append(event(number)) for number in range(10)]
    first.settle([place for place in (places[0], places[1], places[4], places[9]) if place])
    first.orphan()
    assert numbers(adopted(spool())) == [2, 3, 5, 6, 7, 8]


def test_an_adopter_that_dies_too_leaves_the_rest(spool: Make) -> None:
    """Its notes count for the next one."""
    leave(spool(), 1, 2, 3)
    second = spool()
    found = adopted(second)
    second.settle([found[1][0]])
    second.orphan()
    assert numbers(adopted(spool())) == [1, 3]


def test_a_lane_that_is_done_with_is_gone(spool: Make, tmp_path: Path) -> None:
    """Nothing of it stays behind, whether it was our own or a dead one's."""
    leave(spool(), 1, 2)
    second = spool()
    own = second.append(event(3))
    second.settle([place for place, _ in adopted(second)])
    assert own is not None
    second.settle([own])
    second.release()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_living_owner_s_lane_is_left_alone(spool: Make) -> None:
    """Its lock is held: two clients on one directory, even in one process, do not disturb each other."""
    first, second = spool(), spool()
    first.append(event(1))
    assert adopted(second) == []
    first.orphan()
    assert numbers(adopted(second)) == [1]


def test_a_lane_that_is_let_go_of_is_free(spool: Make) -> None:
    """Whoever has got a copy of the lock's descriptor, by a fork that nobody was told of."""
    mine = spool()
    mine.append(event(1))
    assert mine._lane is not None
    copy = os.dup(mine._lane._lock)
    mine.release()
    assert numbers(adopted(spool())) == [1]
    os.close(copy)


def test_a_lane_is_adopted_while_events_of_it_are_already_settled(spool: Make, tmp_path: Path) -> None:
    """What was not looked at yet is not deleted, however much of what was is done with."""
    first = spool()
    assert first.append(event(1))
    for number in range(2, 5):  # each in a segment of its own
        lane = first._lane
        assert lane is not None
        assert lane.log is not None
        lane.log.rotate()
        assert first.append(event(number))
    first.orphan()
    second = spool()
    found = []
    for stretch in second.adopt():
        some, rest = second.read(stretch, 10, 1 << 20)
        assert rest is None
        found += numbers(some)
        second.settle([place for place, _ in some])
    assert found == [1, 2, 3, 4]
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_event_that_comes_while_its_segment_is_deleted(spool: Make, tmp_path: Path) -> None:
    """A signal handler records one, just when all that was in the segment is done with: it is not deleted with it."""
    mine = spool()
    places = [mine.append(event(1))]
    lane = mine._lane
    assert lane is not None
    log = lane.log
    assert log is not None
    rotate = log.rotate

    def cut_in() -> None:
        places.append(mine.append(event(2)))
        rotate()

    log.rotate = cut_in  # type: ignore[method-assign]
    mine._off = "the disk is full"  # so that even the segment that is written to is deleted
    mine.settle([place for place in places if place])
    mine.orphan()
    assert numbers(adopted(spool())) == [2]


@pytest.mark.process
def test_each_lane_is_adopted_by_one(spool: Make, tmp_path: Path) -> None:
    """Processes that start at the same time share out what the dead have left."""
    for number in range(20):
        leave(spool(), number)
    script = """
        import sys
        from pathlib import Path
        from millstream.spool import Spool
        spool = Spool(Path(sys.argv[1]), source="source", max_bytes=1 << 30, sync=None, report=print)
        for stretch in spool.adopt():
            some, _ = spool.read(stretch, 10, 1 << 20)
            print(*(record.decode() for _, record in some), sep="\\n")
        print("done", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", dedent(script), os.fspath(tmp_path / "spool")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = []
    for process in processes:  # none of them ends before all have looked
        assert process.stdout is not None
        found += list(iter(process.stdout.readline, "done\n"))
    for process in processes:
        process.communicate("end\n", timeout=30)
    assert sorted(int(json.loads(record)["messageId"]) for record in found) == list(range(20))


@pytest.mark.process
def test_a_child_does_not_keep_its_parent_s_lock(spool: Make, tmp_path: Path) -> None:
    """A lock outlives nobody but its owner: the parent is killed, its forked child lives on, and the lane is free."""
    process = start_script(
        """
        import os, sys
        from millstream import Analytics
        analytics = Analytics("key", host="http://127.0.0.1:9", spool=sys.argv[1])
        analytics.track("A", user_id="u")
        child = os.fork()
        if child == 0:
            sys.stdin.read()  # until the test ends
            os._exit(0)
        print(child, flush=True)
        sys.stdin.read()
        """,
        os.fspath(tmp_path / "spool"),
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert [lane.alive for lane in lanes(tmp_path / "spool")] == [True]
        process.kill()
        process.wait(30)
        assert [lane.alive for lane in lanes(tmp_path / "spool")] == [False]
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.mark.process
def test_no_child_gets_hold_of_a_lock(spool: Make, tmp_path: Path) -> None:
    """A server forks its workers while another thread takes over a lane: whatever the moment, no lock goes along."""
    leave(spool(), 1)
    process = start_script(
        """
        import fcntl, os, sys, time
        from pathlib import Path
        from millstream.spool import Spool
        calls, children = [], []

        def then_fork(call):
            def both(*arguments, **named):
                result = call(*arguments, **named)
                calls.append(call)
                if len(calls) % 3 != 2:  # as another thread may, just when the call is done
                    children.append(os.fork())
                    if children[-1] == 0:
                        time.sleep(60)
                        os._exit(0)
                return result
            return both

        os.open, fcntl.flock = then_fork(os.open), then_fork(fcntl.flock)
        first = Spool(Path(sys.argv[1]), source="source", max_bytes=1 << 30, sync=None, report=print)
        adopted = list(first.adopt())
        place = first.append(b'{"type":"track","messageId":"2"}')
        print(*children, flush=True)
        sys.stdin.read()
        """,
        os.fspath(tmp_path / "spool"),
    )
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    try:
        assert len(children) >= 4
        assert [lane.alive for lane in lanes(tmp_path / "spool")] == [True, True]
        process.kill()
        process.wait(30)
        deadline = time.monotonic() + 30  # a child may not have come round to closing anything yet
        while any(lane.alive for lane in lanes(tmp_path / "spool")):
            assert time.monotonic() < deadline, "a child has got hold of a lock"
            time.sleep(0.02)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        process.communicate(timeout=30)


# -- what cannot be read ------------------------------------------------------------------------------


def test_a_torn_last_line_is_moved_to_quarantine(spool: Make, tmp_path: Path, told: list[SpoolError]) -> None:
    """What is before it is delivered; it is counted, told, kept for people to look at, and not found again."""
    leave(spool(), 1, 2)
    (segment,) = lane_of(tmp_path).glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-10])
    second = spool()
    assert numbers(adopted(second)) == [1]
    assert second.corrupt == 1
    assert [str(error).partition(", ")[2] for error in told] == ["and are in quarantine"]
    (kept,) = (tmp_path / "spool" / "quarantine").iterdir()
    assert kept.read_bytes() == event(2)[:-9] + b"\n"
    second.orphan()
    assert spool().corrupt == 0
    assert numbers(adopted(spool())) == [1]


def test_a_corrupted_middle_costs_nothing_around_it(spool: Make, tmp_path: Path) -> None:
    """Rubbish, blanks and half a record between records: all whole ones are delivered."""
    leave(spool(), *range(10))
    (segment,) = lane_of(tmp_path).glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    size = len(event(0)) + 1
    data[3 * size : 3 * size + 20] = b"\0" * 20
    data[6 * size + 5 : 6 * size + 9] = b"\xff\xfe\n{"
    segment.write_bytes(bytes(data))
    second = spool()
    assert numbers(adopted(second)) == [0, 1, 2, 4, 5, 7, 8, 9]
    assert second.corrupt == 3


def test_a_file_that_cannot_be_read_is_moved_to_quarantine(spool: Make, tmp_path: Path, told: list[SpoolError]) -> None:
    """A segment that is no file (or on a broken part of the disk) is told of, once, and the others are delivered."""
    leave(spool(), 1)
    (lane_of(tmp_path) / f"{500:020d}.jsonl").mkdir()
    assert numbers(adopted(spool())) == [1]
    assert len(told) == 1
    assert "is in quarantine" in str(told[0])
    assert [path.name[-10:] for path in (tmp_path / "spool" / "quarantine").iterdir()] == ["0500.jsonl"]


def test_an_empty_file_is_no_trouble(spool: Make, tmp_path: Path, told: list[SpoolError]) -> None:
    """Whatever is empty is removed."""
    leave(spool(), 1)
    for path in lane_of(tmp_path).glob("*.jsonl"):
        path.write_bytes(b"")
    assert adopted(spool()) == []
    assert told == []
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("owner", [b'{"format": 99}', b'{"format": "lanes"}', b'{"format": 1, "pid": {}}', b"[]"])
def test_an_unknown_format_is_left_alone(spool: Make, tmp_path: Path, told: list[SpoolError], owner: bytes) -> None:
    """A newer release may have written it, and may come back for it."""
    leave(spool(), 1)
    (lane_of(tmp_path) / "owner.json").write_bytes(owner)
    assert adopted(spool()) == []
    assert "left alone" in str(told[0])
    assert list(lane_of(tmp_path).glob("*.jsonl"))


def test_records_that_vanish_after_they_were_adopted(spool: Make, tmp_path: Path, told: list[SpoolError]) -> None:
    """Whoever deletes files by hand costs their events, and is told so; nothing is raised, nothing hangs."""
    leave(spool(), 1, 2, 3)
    second = spool()
    stretches = list(second.adopt())
    for path in lane_of(tmp_path).glob("*.jsonl"):
        path.unlink()
    assert [second.read(stretch, 10, 1 << 20) for stretch in stretches] == [([], None)]
    assert second.corrupt == 3
    assert len(told) == 1


# -- what cannot be written ---------------------------------------------------------------------------


def test_trouble_is_told_once_until_it_is_over(spool: Make, tmp_path: Path, told: list[SpoolError]) -> None:
    """A directory that cannot be made: no event is refused, one report; when it can, events are on disk again."""
    (tmp_path / "spool").write_text("a file in the way")
    mine = spool()
    assert [mine.append(event(number)) for number in range(5)] == [None] * 5
    assert len(told) == 1
    assert mine.state.startswith("off: ")
    (tmp_path / "spool").unlink()
    mine._again = 0.0  # a second later
    assert mine.append(event(6)) is not None
    assert mine.state == "on"


def test_nothing_is_written_after_the_release(spool: Make) -> None:
    """A call that crosses the close is in memory alone."""
    mine = spool()
    assert mine.append(event(1)) is not None
    mine.release()
    assert mine.append(event(2)) is None


def test_a_spool_is_touched_by_the_first_event_alone(spool: Make, tmp_path: Path) -> None:
    """Making one, and looking for what the dead have left, writes nothing."""
    mine = spool()
    assert adopted(mine) == []
    mine.release()
    assert not (tmp_path / "spool").exists()


# -- from outside -------------------------------------------------------------------------------------


def test_a_spool_can_be_looked_at_while_it_is_in_use(spool: Make, tmp_path: Path) -> None:
    """Lanes, their owners, and the events that are not done with."""
    mine = spool()
    places = [mine.append(event(number)) for number in range(3)]
    assert places[0] is not None
    mine.settle([places[0]])
    leave(spool("other"), 7)
    found = {lane.source: lane for lane in lanes(tmp_path / "spool")}
    assert {source: (lane.events, lane.alive, lane.known) for source, lane in found.items()} == {
        "source": (2, True, True),
        "other": (1, False, True),
    }
    owner = found["source"].owner
    assert owner is not None
    assert owner.pid == os.getpid()
    assert sorted(events(tmp_path / "spool")) == [event(1), event(2), event(7)]
    assert list(events(found["other"].path)) == [event(7)]
