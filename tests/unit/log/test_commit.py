"""Group commit: which lines share a turn of the disk, and who is told what of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from millstream.log.commit import Committer

PATIENCE = 30.0


class Disk:
    """A disk whose turns begin, and end when the test lets them."""

    def __init__(self) -> None:
        self.turns: list[bytes] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.fails: set[int] = set()
        self.told: list[tuple[str, str]] = []
        self.positions: list[int] = []
        self.news = asyncio.Event()

    def write(self, data: bytes) -> int:
        position = sum(map(len, self.turns))
        self.turns.append(data)
        number = len(self.turns)
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE)
        if number in self.fails:
            raise OSError("full")
        return position

    def note(self, name: str) -> Callable[[int | BaseException], object]:
        def done(outcome: int | BaseException) -> None:
            self.told.append((name, "" if isinstance(outcome, int) else str(outcome)))
            if isinstance(outcome, int):
                self.positions.append(outcome)
            self.news.set()

        return done

    async def until(self, count: int) -> None:
        """Wait until so many have been told."""
        while len(self.told) < count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), PATIENCE)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_who_comes_while_the_disk_is_at_work_shares_the_next_turn(disk: Disk) -> None:
    """The first goes alone, all who come meanwhile go together, in order; each hears when its own turn is over."""

    async def main() -> None:
        committer = Committer(disk.write, 0)
        for name in "abc":
            committer.commit(name.encode(), disk.note(name))
        assert disk.begun.acquire(timeout=PATIENCE)
        disk.go.release()
        await disk.until(1)
        assert disk.told == [("a", "")]
        disk.go.release()
        await disk.until(3)
        committer.close()

    asyncio.run(main())
    assert disk.turns == [b"a", b"bc"]
    assert disk.told == [("a", ""), ("b", ""), ("c", "")]
    assert disk.positions == [0, 1, 2]


def test_a_turn_that_fails_takes_those_who_wait_with_it(disk: Disk) -> None:
    """What waits may have been taken for a duplicate of what is lost: it fails too, and what comes later does not."""
    disk.fails = {1}

    async def main() -> None:
        committer = Committer(disk.write, 0)
        for name in "ab":
            committer.commit(name.encode(), disk.note(name))
        disk.go.release()
        await disk.until(2)
        committer.commit(b"c", disk.note("c"))
        disk.go.release()
        await disk.until(3)
        committer.close()

    asyncio.run(main())
    assert disk.turns == [b"a", b"c"]
    assert disk.told == [("a", "full"), ("b", "full"), ("c", "")]


def test_a_turn_has_an_end(disk: Disk) -> None:
    """A turn is cut when it has `most` bytes, so that who comes first does not wait for all that follows."""

    async def main() -> None:
        committer = Committer(disk.write, 0, most=4)
        for data in (b"0", b"11", b"22", b"33"):
            committer.commit(data, disk.note(data.decode()))
        for count in (1, 3, 4):
            disk.go.release()
            await disk.until(count)
        committer.close()

    asyncio.run(main())
    assert disk.turns == [b"0", b"1122", b"33"]


def test_nothing_to_write_waits_for_what_came_before(disk: Disk) -> None:
    """A request whose events are all duplicates is answered at once, or when their originals are on the disk."""

    async def main() -> None:
        committer = Committer(disk.write, 0)
        committer.commit(b"", disk.note("idle"))
        assert disk.told == [("idle", "")]
        committer.commit(b"a", disk.note("a"))
        committer.commit(b"", disk.note("behind"))
        assert len(disk.told) == 1
        disk.go.release()
        await disk.until(2)
        disk.go.release()
        await disk.until(3)
        committer.close()

    asyncio.run(main())
    assert disk.told[1:] == [("a", ""), ("behind", "")]


def test_an_answer_that_cannot_be_given_keeps_no_other_back(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """What a caller's `done` raises is logged, and the others of the turn hear of theirs."""

    def fail(_: object) -> None:
        raise ConnectionError("gone")

    async def main() -> None:
        committer = Committer(disk.write, 0)
        committer.commit(b"a", fail)
        committer.commit(b"b", fail)
        committer.commit(b"c", disk.note("c"))
        disk.go.release()
        disk.go.release()
        await disk.until(1)
        committer.close()

    asyncio.run(main())
    assert disk.told == [("c", "")]
    assert len(caplog.records) == 2
