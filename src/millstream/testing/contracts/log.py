"""What every log promises: positions, an end that readers never pass, waiting, bad records, and holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from millstream._public import publish
from millstream.log import Log, Position, Reader, Record

__all__ = ["LogContract"]

PATIENCE = 10.0
"""Seconds that a test waits for what must come."""


class LogContract:
    """Tests for a log. Each gets a directory of its own (pytest's `tmp_path`)."""

    async def open(self, directory: Path) -> Log:
        """Open the log that belongs to a directory; after a close, the same one again."""
        raise NotImplementedError

    def test_what_is_appended_is_read(self, tmp_path: Path) -> None:
        """In its order, byte for byte, under the positions that were reported."""

        async def scenario(log: Log) -> None:
            starts = [await appended(log, event(number)) for number in range(5)]
            starts += [await appended(log, event(5), event(6))]
            found = await everything(log)
            assert [record.data for record in found] == [event(number) for number in range(7)]
            assert [record.start for record in found[:6]] == starts

        self._run(tmp_path, scenario)

    def test_records_leave_no_position_out(self, tmp_path: Path) -> None:
        """However few are read at once, each begins where the one before it ended, and nothing is read twice."""

        async def scenario(log: Log) -> None:
            await appended(log, *map(event, range(20)))
            reader = log.reader(log.partitions()[0])
            whole = await everything(log)
            for most in (1, 3, 7, 100):
                assert await read_all(reader, most, 1 << 20) == whole
            assert await read_all(reader, 100, 1) == whole  # at least one record, however large
            assert whole[0].start == reader.first()
            assert whole[-1].end == reader.durable()
            assert all(one.end == two.start for one, two in pairwise(whole))

        self._run(tmp_path, scenario)

    def test_reading_begins_at_any_record(self, tmp_path: Path) -> None:
        """The position of a record is where it is found again."""

        async def scenario(log: Log) -> None:
            await appended(log, *map(event, range(9)))
            reader = log.reader(log.partitions()[0])
            for record in await everything(log):
                found, end = await asyncio.to_thread(reader.read, record.start, 1, 1 << 20)
                assert (list(found), end) == ([record], record.end)
                assert reader.checkpoint(record.start) <= record.start

        self._run(tmp_path, scenario)

    def test_nothing_is_read_past_the_end(self, tmp_path: Path) -> None:
        """Neither at the end nor beyond it, where a cursor of another log may be."""

        async def scenario(log: Log) -> None:
            reader = log.reader(log.partitions()[0])
            assert reader.first() == reader.durable()
            await appended(log, event(1))
            for position in (reader.durable(), reader.durable() + 1_000):
                assert await asyncio.to_thread(reader.read, position, 10, 1 << 20) == ([], position)

        self._run(tmp_path, scenario)

    def test_a_reader_waits_for_more(self, tmp_path: Path) -> None:
        """It returns soon after an append, and without one when its time is over."""

        async def scenario(log: Log) -> None:
            reader = log.reader(log.partitions()[0])
            end = reader.durable()
            assert not await asyncio.to_thread(reader.wait, end, monotonic() + 0.01)
            waiting = asyncio.create_task(asyncio.to_thread(reader.wait, end, monotonic() + PATIENCE))
            await appended(log, event(1))
            began = monotonic()
            assert await waiting
            assert monotonic() - began < PATIENCE / 2
            assert await asyncio.to_thread(reader.wait, end, monotonic() - 1)  # there is something already

        self._run(tmp_path, scenario)

    def test_a_bad_record_is_left_out_and_counted(self, tmp_path: Path) -> None:
        """Once, and its positions belong to the record after it; behind the last one, to none."""

        async def scenario(log: Log) -> None:
            await appended(log, event(1), b"no event", event(2), b'{"type":"track"}')
            reader = log.reader(log.partitions()[0])
            one, two = await read_all(reader, 10, 1 << 20)
            assert (one.data, two.data) == (event(1), event(2))
            assert two.start == one.end
            assert reader.corrupt == 2
            found, end = await asyncio.to_thread(reader.read, two.end, 10, 1 << 20)
            assert (list(found), end) == ([], reader.durable())
            await read_all(reader, 1, 1 << 20)
            assert reader.corrupt == 2

        self._run(tmp_path, scenario)

    def test_what_is_kept_is_there_after_a_restart(self, tmp_path: Path) -> None:
        """Under the same positions; and what comes then follows."""

        async def first(log: Log) -> None:
            await appended(log, *map(event, range(4)))
            before.extend(await everything(log))

        async def second(log: Log) -> None:
            assert await everything(log) == before
            start = await appended(log, event(4))
            assert start >= before[-1].end
            assert (await everything(log))[-1].data == event(4)

        before: list[Record] = []
        self._run(tmp_path, first, second)

    def test_without_records_an_append_waits_for_those_before(self, tmp_path: Path) -> None:
        """It is reported after them."""

        async def scenario(log: Log) -> None:
            order: list[str] = []
            done = asyncio.Event()
            log.append(event(1) + b"\n", lambda _: order.append("record"))

            def last(_: object) -> None:
                order.append("nothing")
                done.set()

            log.append(b"", last)
            await asyncio.wait_for(done.wait(), PATIENCE)
            assert order == ["record", "nothing"]

        self._run(tmp_path, scenario)

    def test_a_hold_is_remembered(self, tmp_path: Path) -> None:
        """By every reader, until the route is forgotten."""

        async def scenario(log: Log) -> None:
            partition = log.partitions()[0]
            one, two = log.reader(partition), log.reader(partition)
            assert one.held("a route") is None
            assert one.lost("a route") == 0
            await asyncio.to_thread(one.hold, "a route", 5)
            await asyncio.to_thread(one.hold, "../another.route", 7)
            await asyncio.to_thread(one.hold, "a route", 9)
            assert (two.held("a route"), two.held("../another.route")) == (9, 7)
            await asyncio.to_thread(two.release, "a route")
            assert one.held("a route") is None

        self._run(tmp_path, scenario)

    def _run(self, directory: Path, *scenarios: Callable[[Log], Awaitable[None]]) -> None:
        async def each() -> None:
            for scenario in scenarios:
                async with self._opened(directory) as log:
                    await scenario(log)

        asyncio.run(each())

    @asynccontextmanager
    async def _opened(self, directory: Path) -> AsyncGenerator[Log, None]:
        log = await self.open(directory)
        try:
            yield log
        finally:
            log.close()


def event(number: int) -> bytes:
    """One record."""
    return msgspec.json.encode({"type": "track", "messageId": f"m-{number}", "event": "x" * number})


async def appended(log: Log, *records: bytes) -> Position:
    """Append records, and return their position when they can be read."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    log.append(b"".join(record + b"\n" for record in records), future.set_result)
    outcome = await asyncio.wait_for(future, PATIENCE)
    if isinstance(outcome, BaseException):
        raise outcome
    reader = log.reader(log.partitions()[0])
    assert await asyncio.to_thread(reader.wait, outcome, monotonic() + PATIENCE)
    return int(outcome)


async def everything(log: Log) -> list[Record]:
    """All records of a log's first partition."""
    return await read_all(log.reader(log.partitions()[0]), 1_000, 1 << 20)


async def read_all(reader: Reader, max_events: int, max_bytes: int) -> list[Record]:
    """All that a reader finds, so many records at a time."""
    found: list[Record] = []
    at = reader.first()
    while True:
        records, end = await asyncio.to_thread(reader.read, at, max_events, max_bytes)
        assert len(records) <= max_events
        found += records
        if end == at:
            return found
        at = end


publish("millstream.testing.contracts", LogContract)
