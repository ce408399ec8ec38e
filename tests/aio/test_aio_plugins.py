"""Plugins, callbacks and what they await, under asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from millstream import AsyncAnalytics, Dropped, MillstreamError, Plugin, PluginError, enrichment
from support.api import Api
from support.background import Heard

Make = Callable[..., AsyncAnalytics]
Run = Callable[[Any], Any]


def test_async_hooks_are_awaited(api: Api, make: Make, run: Run) -> None:
    """What an `async def` hook writes into the event after it has waited is what is sent."""

    class Slow(Plugin):
        async def track(self, ctx: Any) -> Any:
            await asyncio.sleep(0)
            ctx.update_event("properties.slow", True)
            return ctx

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(Slow())
            analytics.track("A", user_id="u")

    run(main())
    assert api.events[0]["properties"] == {"slow": True}


def test_events_keep_their_order_while_hooks_wait(api: Api, make: Make, run: Run) -> None:
    """Events go out in the order of the calls, however long each one's hooks take."""
    gates = {f"E{n}": asyncio.Event() for n in range(5)}

    @enrichment
    async def slow(ctx: Any) -> None:
        await gates[ctx.event["event"]].wait()

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(slow)
            receipts = [analytics.track(name, user_id="u") for name in gates]
            flush = asyncio.create_task(analytics.flush())
            for name in reversed(gates):
                await asyncio.sleep(0)
                gates[name].set()
            assert (await flush).delivered == 5
            assert all(receipt.done() for receipt in receipts)

    run(main())
    assert [event["event"] for event in api.events] == list(gates)


def test_hooks_of_different_events_run_side_by_side(make: Make, run: Run) -> None:
    """A hook that waits for the next event's hook does not wait for ever."""
    met = asyncio.Event()

    @enrichment
    async def meet(ctx: Any) -> None:
        if ctx.event["event"] == "B":
            met.set()
        await met.wait()

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(meet)
            analytics.track("A", user_id="u")
            analytics.track("B", user_id="u")
            assert (await analytics.flush()).delivered == 2

    run(main())


def test_destinations_run_side_by_side(make: Make, run: Run) -> None:
    """Destinations of one event are awaited together: each may wait for the other."""
    here, there = asyncio.Event(), asyncio.Event()

    class Ours(Plugin):
        type = "destination"

        def __init__(self, name: str, mine: asyncio.Event, other: asyncio.Event) -> None:
            self.name, self.mine, self.other = name, mine, other

        async def track(self, ctx: Any) -> None:
            self.mine.set()
            await self.other.wait()

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(Ours("here", here, there), Ours("there", there, here))
            context = await analytics.track("A", user_id="u")
            assert {name: outcome.kind for name, outcome in context.deliveries.items()} == {
                "here": "delivered",
                "there": "delivered",
                "Segment.io": "delivered",
            }

    run(main())


@pytest.mark.parametrize(("stage", "code"), [("before", "delivery_failure"), ("enrichment", "plugin")])
def test_a_hook_that_hangs_has_timed_out(api: Api, make: Make, run: Run, stage: str, code: str) -> None:
    """After `plugin_timeout` a hook counts as having raised TimeoutError, with what that means in its stage."""
    errors = Heard()

    class Hung(Plugin):
        type = stage

        async def track(self, ctx: Any) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        async with make(plugin_timeout=0.05) as analytics:
            analytics.on("error", errors)
            await analytics.register(Hung())
            receipt = analytics.track("A", user_id="u")
            await analytics.flush()
            assert receipt.done()

    run(main())
    [(event,)] = errors.calls
    assert (event.code, type(event.reason), type(event.reason.__cause__)) == (code, PluginError, TimeoutError)
    assert len(api.events) == (stage == "enrichment")


def test_a_hook_that_will_not_be_cancelled_holds_up_nothing(make: Make, run: Run) -> None:
    """A hook that ignores its cancellation is left behind: the event and the close go on."""
    over = asyncio.Event()

    @enrichment
    async def stubborn(_: Any) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        analytics = make(plugin_timeout=0.05)
        await analytics.register(stubborn)
        analytics.track("A", user_id="u")
        assert (await analytics.close()).delivered == 1
        over.set()

    run(main())


def test_stats_show_the_hook_that_waits(make: Make, run: Run) -> None:
    """`stats()` names the hook that has been awaited for longest."""
    running, gate = asyncio.Event(), asyncio.Event()

    @enrichment
    async def slow(_: Any) -> None:
        running.set()
        await gate.wait()

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(slow)
            analytics.track("A", user_id="u")
            await running.wait()
            assert analytics.stats().running_hook == "slow.track"
            gate.set()

    run(main())


def test_close_hands_back_what_is_still_with_a_hook(make: Make, run: Run) -> None:
    """At the close's deadline an event whose hook has not ended is given up, and returned."""

    @enrichment
    async def hung(_: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        analytics = make()
        await analytics.register(hung)
        analytics.track("A", user_id="u", message_id="m1")
        result = await analytics.close_and_flush(timeout=0.1)
        assert [event["messageId"] for event in result.unsent] == ["m1"]
        assert analytics.stats().pending == 0

    run(main())


def test_a_cancelled_hook_is_called_once_more(make: Make, run: Run) -> None:
    """A hook that somebody cancels is called again for its event; the second time it counts as failed."""
    calls: list[str] = []

    class Doomed(Plugin):
        type = "before"

        async def track(self, ctx: Any) -> None:
            calls.append(ctx.id)
            raise asyncio.CancelledError

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(Doomed())
            with pytest.raises(PluginError, match="cancelled"):
                await analytics.track("A", user_id="u")

    run(main())
    assert len(calls) == 2


def test_an_async_hook_drops_its_event(make: Make, run: Run) -> None:
    """`ctx.cancel` in an `async def` hook drops the event, and those behind it go on."""

    class Gate(Plugin):
        type = "before"

        async def track(self, ctx: Any) -> None:
            await asyncio.sleep(0)
            if ctx.event["event"] == "A":
                ctx.cancel("no A")

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(Gate())
            dropped, kept = analytics.track("A", user_id="u"), analytics.track("B", user_id="u")
            with pytest.raises(Dropped, match="no A"):
                await dropped
            await kept

    run(main())


def test_load_and_unload_are_awaited(make: Make, run: Run) -> None:
    """A plugin's `async def` load and unload have ended when register and deregister return."""
    notes: list[str] = []

    class Careful(Plugin):
        critical = True

        async def load(self, ctx: Any, analytics: Any) -> None:
            await asyncio.sleep(0)
            notes.append("loaded")

        def track(self, ctx: Any) -> None:
            notes.append(ctx.event["event"])

        async def unload(self, ctx: Any, analytics: Any) -> None:
            await asyncio.sleep(0)
            notes.append("unloaded")

    async def main() -> None:
        async with make() as analytics:
            early = analytics.track("Early", user_id="u")
            registering = asyncio.create_task(analytics.register(Careful()))
            await asyncio.sleep(0)
            late = analytics.track("Meanwhile", user_id="u")
            await registering
            await early
            await late
            await analytics.deregister("Careful")

    run(main())
    assert notes == ["loaded", "Meanwhile", "unloaded"]


def test_unload_comes_after_the_last_hook(make: Make, run: Run) -> None:
    """`deregister` waits for the hooks of the plugin that are being awaited, and only then unloads it."""
    notes: list[str] = []

    class Busy(Plugin):
        type = "destination"

        async def track(self, ctx: Any) -> None:
            notes.append("begin")
            await asyncio.sleep(0.05)
            notes.append("end")

        def unload(self, ctx: Any, analytics: Any) -> None:
            notes.append("unloaded")

    async def main() -> None:
        async with make() as analytics:
            await analytics.register(Busy())
            analytics.track("A", user_id="u")
            await analytics.deregister("Busy")

    run(main())
    assert notes == ["begin", "end", "unloaded"]


# -- callbacks ------------------------------------------------------------------------------------------


def test_callbacks_run_on_the_loop(make: Make, run: Run) -> None:
    """What a callback returns is awaited on the client's own loop, and close waits for it."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def told(err: object, ctx: object) -> None:
        await asyncio.sleep(0.02)
        loops.append(asyncio.get_running_loop())

    async def main() -> None:
        async with make() as analytics:
            analytics.track("A", user_id="u", callback=told)
        assert loops == [asyncio.get_running_loop()]

    run(main())


def test_to_wait_for_oneself_is_refused(make: Make, run: Run) -> None:
    """A hook or callback that awaits a flush is told that it would wait for itself; a task of its own may."""
    refused: list[str] = []
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        analytics = make()

        @enrichment
        async def flushes(_: Any) -> None:
            tasks.append(asyncio.create_task(analytics.flush()))
            try:
                await analytics.flush()
            except MillstreamError as exc:
                refused.append(str(exc))

        async def told(*_: object) -> None:
            try:
                await analytics.close()
            except MillstreamError as exc:
                refused.append(str(exc))

        await analytics.register(flushes)
        await analytics.track("A", user_id="u", callback=told)
        await asyncio.gather(*tasks)
        await analytics.close()

    run(main())
    assert [text.split()[0] for text in refused] == ["flush", "close_and_flush"]
    assert all("wait for itself" in text for text in refused)
