"""The spool together with what else a client has: plugins, an event loop, and a disk that fills up."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream import Analytics, AsyncAnalytics, Context, ErrorEvent, Plugin
from support.api import Api, status

Make = Callable[..., Analytics]


class Stamped(Plugin):
    """Counts how often it has seen each event."""

    type = "enrichment"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def track(self, ctx: Context) -> Context:
        self.seen.append(ctx.event["event"])
        ctx.event["properties"]["stamped"] = True
        return ctx


def lines(directory: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in directory.glob("*/*.jsonl"))


def test_plugins_see_an_event_once_however_long_it_rests(tmp_path: Path, client: Make, api: Api) -> None:
    """What they made of it is what is sent, in every round."""
    api.script(status(503), status(503))
    analytics = client(spool=tmp_path)
    stamped = Stamped()
    analytics.register(stamped)
    receipt = analytics.track("A", user_id="u", properties={})
    assert [analytics.flush(timeout=10).pending for _ in range(3)] == [1, 1, 0]
    assert stamped.seen == ["A"]
    assert receipt.wait().event["properties"] == {"stamped": True}
    assert [event["properties"] for event in api.events] == [{"stamped": True}] * 3


def test_plugins_see_what_others_left(tmp_path: Path, client: Make, api: Api) -> None:
    """The spool holds what was recorded: whoever adopts it has plugins of their own."""
    dead = Analytics("key", spool=tmp_path, host="http://127.0.0.1:9", max_retries=0)
    for name in "AB":
        dead.track(name, user_id="u", properties={})
    dead.close_and_flush(timeout=5)
    stamped = Stamped()
    analytics = client(spool=tmp_path, host=api.url, flush_interval=900)
    analytics.register(stamped)  # while the worker may have begun already: for what it has not sent yet
    analytics.close_and_flush(timeout=10)
    assert sorted(event["event"] for event in api.accepted) == ["A", "B"]
    assert len(stamped.seen) == sum("stamped" in event["properties"] for event in api.accepted)


def test_an_event_that_a_plugin_drops_is_forgotten(tmp_path: Path, client: Make, api: Api) -> None:
    """Dropped is an outcome."""

    class Censor(Plugin):
        type = "before"

        def track(self, ctx: Context) -> None:
            ctx.cancel("not wanted")

    analytics = client(spool=tmp_path)
    analytics.register(Censor())
    analytics.track("A", user_id="u")
    assert analytics.close_and_flush(timeout=10).dropped == 1
    assert lines(tmp_path) == 0


def test_on_an_event_loop(tmp_path: Path, api: Api) -> None:
    """AsyncAnalytics keeps, adopts and forgets as Analytics does, on the loop of its caller."""

    async def session(host: str, *names: str) -> tuple[int, int]:
        async with AsyncAnalytics("key", host=host, spool=tmp_path, max_retries=0, flush_interval=900) as analytics:
            for name in names:
                analytics.track(name, user_id="u")
            assert lines(tmp_path) >= len(names)
            result = await analytics.close_and_flush(timeout=10)
        return result.delivered, result.spooled

    assert asyncio.run(session("http://127.0.0.1:9", *map(str, range(20)))) == (0, 20)
    assert asyncio.run(session(api.url)) == (20, 0)
    assert [event["event"] for event in api.accepted] == [str(number) for number in range(20)]
    assert lines(tmp_path) == 0


def test_a_loop_is_not_needed_to_keep_events(tmp_path: Path, api: Api) -> None:
    """What is recorded before there is a loop is on disk all the same."""
    early = AsyncAnalytics("key", host=api.url, spool=tmp_path)
    early.track("A", user_id="u")
    assert lines(tmp_path) == 1

    async def close() -> int:
        return (await early.close_and_flush(timeout=10)).delivered

    assert asyncio.run(close()) == 1


def test_the_spool_on_a_loop_is_forced_to_disk_elsewhere(tmp_path: Path, api: Api) -> None:
    """With an interval the disk is waited for in a thread, and not on the loop."""

    async def session() -> None:
        async with AsyncAnalytics("key", host=api.url, spool=tmp_path, spool_sync="interval:10ms") as analytics:
            analytics.track("A", user_id="u")
            await asyncio.sleep(0.05)
            assert (await analytics.flush(timeout=10)).delivered == 1

    asyncio.run(session())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.process
def test_a_full_disk_costs_no_event(small_disk: Path, client: Make, api: Api) -> None:
    """What finds no room on disk goes out from memory; when there is room again, events are on disk again."""
    held = api.hold()
    analytics = client(spool=small_disk, flush_at=1)
    reported: list[ErrorEvent] = []
    analytics.on("error", reported.append)
    for number in range(400):
        analytics.track("A", user_id="u", properties={"number": number, "filling": "x" * 300})
    assert (analytics.stats().spool or "").startswith("off: No space left")
    held.release()
    assert analytics.flush(timeout=20).delivered == 400
    analytics.track("B", user_id="u")
    assert analytics.stats().spool == "on"
    assert analytics.close_and_flush(timeout=10).delivered == 1
    assert sorted({event["properties"].get("number", -1) for event in api.accepted}) == list(range(-1, 400))
    assert [each.code for each in reported] == ["spool"]
    assert lines(small_disk) == 0
