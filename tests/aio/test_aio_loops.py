"""AsyncAnalytics and its event loop: found late, lost, found again; and other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream import AsyncAnalytics, MillstreamError, Receipt
from support.api import Api
from support.background import Background
from support.processes import run_script

Make = Callable[..., AsyncAnalytics]
Run = Callable[[Any], Any]


def test_a_client_may_be_made_and_used_before_there_is_a_loop(api: Api, make: Make, run: Run) -> None:
    """What is recorded before there is a loop waits for one, and is delivered there."""
    analytics = make()
    receipt = analytics.track("Early", user_id="u")

    async def main() -> None:
        assert not receipt.done()
        assert (await analytics.close_and_flush()).delivered == 1

    run(main())
    assert api.events[0]["event"] == "Early"


def test_the_first_call_on_a_loop_delivers_what_waits(api: Api, make: Make, run: Run) -> None:
    """An event call on a loop is enough for what waited to be sent: nothing has to be awaited."""
    analytics = make(flush_at=2)
    analytics.track("Early", user_id="u")

    async def main() -> None:
        analytics.track("First", user_id="u")
        await asyncio.to_thread(api.wait_for_events, 2)
        await analytics.close()

    run(main())


def test_two_loops_in_sequence(api: Api, make: Make, run: Run) -> None:
    """A client goes on with the next loop when its own is closed, with what that one left behind."""
    analytics = make()

    async def one() -> None:
        analytics.track("One", user_id="u")

    async def two() -> None:
        analytics.track("Two", user_id="u")
        assert (await analytics.flush()).delivered == 2

    async def three() -> None:
        analytics.track("Three", user_id="u")
        assert (await analytics.close()).pending == 0

    for main in (one, two, three):
        run(main())
    assert [event["event"] for event in api.events] == ["One", "Two", "Three"]


def test_a_request_that_its_loop_cut_off_goes_again_with_the_next(api: Api, make: Make, run: Run) -> None:
    """The end of a loop in the middle of a request is no failed attempt: the next loop sends the same events again."""
    held = api.hold()
    analytics = make(max_retries=0, flush_at=1)

    async def one() -> Receipt:
        receipt = analytics.track("A", user_id="u", message_id="m1")
        await asyncio.to_thread(api.wait_for, 1)
        return receipt

    async def two(receipt: Receipt) -> None:
        await receipt
        await analytics.close()

    receipt = run(one())
    held.release()
    assert not receipt.done()
    run(two(receipt))
    assert [event["messageId"] for event in api.events] == ["m1", "m1"]
    assert analytics.stats().delivered == 1


def test_a_loop_that_neither_runs_nor_is_closed_is_named(make: Make) -> None:
    """Who waits on another loop than the client's, which will not run, is told so, and not kept waiting."""
    analytics = make()
    loop = asyncio.new_event_loop()

    async def track() -> None:
        analytics.track("A", user_id="u")

    async def close() -> None:
        await analytics.close()

    loop.run_until_complete(track())
    with pytest.raises(MillstreamError, match="another event loop"):
        asyncio.run(analytics.flush())
    loop.run_until_complete(close())
    loop.close()


def test_another_loop_may_wait_while_the_own_one_runs(api: Api, make: Make, run: Run) -> None:
    """A flush, or a receipt, can be awaited on a loop in another thread than the client's."""

    async def elsewhere(analytics: AsyncAnalytics) -> None:
        receipt = analytics.track("Elsewhere", user_id="u")
        assert (await analytics.flush()).delivered == 2
        await receipt
        await analytics.track("Once more", user_id="u")

    async def main() -> None:
        async with make() as analytics:
            analytics.track("Here", user_id="u")
            await asyncio.to_thread(asyncio.run, elsewhere(analytics))

    run(main())
    assert len(api.events) == 3


def test_track_works_from_another_thread(api: Api, make: Make, run: Run) -> None:
    """An event call from a thread without a loop wakes the client's loop, and its receipt can be waited for there."""

    def elsewhere(analytics: AsyncAnalytics) -> None:
        for n in range(50):
            analytics.track(f"E{n}", user_id="u")
        analytics.track("Last", user_id="u").wait(timeout=10)

    async def main() -> None:
        async with make() as analytics:
            analytics.track("Here", user_id="u")
            await asyncio.to_thread(elsewhere, analytics)

    run(main())
    assert [event["event"] for event in api.events] == ["Here", *[f"E{n}" for n in range(50)], "Last"]


def test_a_receipt_can_be_waited_for_where_there_is_no_loop(api: Api, make: Make) -> None:
    """Without any loop, who waits for a receipt delivers it."""
    assert make().track("A", user_id="u").wait(timeout=10).attempts == 1
    assert len(api.events) == 1


def test_to_block_the_loop_is_refused(make: Make, run: Run) -> None:
    """`receipt.wait()` on a loop's thread raises, and says what to do."""

    async def main() -> None:
        async with make() as analytics:
            receipt = analytics.track("A", user_id="u")
            with pytest.raises(MillstreamError, match="await it instead"):
                receipt.wait(timeout=1)
            await receipt

    run(main())


def test_no_thread_of_ours(make: Make, run: Run) -> None:
    """With the default client, delivery starts no thread."""

    async def main() -> None:
        before = set(threading.enumerate())
        threads: list[set[threading.Thread]] = []
        async with make() as analytics:
            analytics.on("http_response", lambda *_: threads.append(set(threading.enumerate()) - before))
            await analytics.track("A", user_id="u")
        assert [{thread.name for thread in new} for new in threads] == [{"test-api-connection"}]

    run(main())


def test_threads_are_not_needed(make: Make, run: Run, remote: Any, monkeypatch: Any) -> None:
    """With an `async def` HTTP client nothing needs a thread: not delivery, not close, not the end of the process."""

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with make(http_client=remote) as analytics:
            await analytics.track("A", user_id="u", callback=lambda *_: asyncio.sleep(0))
            analytics.track("B", user_id="u")
        analytics._lifecycle.at_gate()
        analytics._lifecycle.driver.close(5)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        run(main())
    assert (len(remote.requests), remote.closed) == (2, 1)


# -- cancellation ---------------------------------------------------------------------------------------


def test_to_cancel_who_waits_for_a_receipt_loses_nothing(api: Api, make: Make, run: Run) -> None:
    """A task that awaits a receipt may be cancelled: the event is delivered all the same."""
    held = api.hold()

    async def main() -> None:
        async with make() as analytics:
            receipt = analytics.track("A", user_id="u")
            waiting = asyncio.ensure_future(_wait_for(receipt))
            await asyncio.to_thread(api.wait_for, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            held.release()
        assert receipt.done()
        await receipt

    run(main())
    assert len(api.requests) == 1


@pytest.mark.parametrize("what", ["flush", "close_and_flush"])
def test_to_cancel_a_flush_loses_nothing(api: Api, make: Make, run: Run, what: str) -> None:
    """A cancelled flush or close goes on without whoever waited for it."""
    held = api.hold()

    async def main() -> None:
        analytics = make()
        receipt = analytics.track("A", user_id="u")
        waiting = asyncio.create_task(getattr(analytics, what)())
        await asyncio.to_thread(api.wait_for, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.release()
        await receipt
        await analytics.close()
        assert analytics.stats().delivered == 1

    run(main())
    assert len(api.requests) == 1


def test_to_cancel_every_task_of_the_loop_loses_nothing(make: Make, run: Run, remote: Any) -> None:
    """Whoever cancels all tasks cancels a request of ours: it goes again, and no attempt is counted."""

    async def main() -> None:
        remote.open.clear()
        async with make(http_client=remote) as analytics:
            receipt = analytics.track("A", user_id="u")
            flush = asyncio.create_task(analytics.flush())
            await remote.asked.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            remote.open.set()
            assert (await receipt).attempts == 1
        assert flush.cancelled()

    asyncio.run(main())
    assert len(remote.requests) == 2


async def _wait_for(receipt: Receipt) -> None:
    await receipt


# -- the end of the process -----------------------------------------------------------------------------


@pytest.mark.process
def test_what_a_closed_loop_left_is_delivered_at_exit(api: Api) -> None:
    """Nobody closed the client, and its loop is gone: the end of the process delivers."""
    run_script(
        """
        import asyncio, sys
        from millstream import AsyncAnalytics
        analytics = AsyncAnalytics("key", host=sys.argv[1])
        async def main():
            for n in range(100):
                analytics.track(f"E{n}", user_id="u")
        asyncio.run(main())
        """,
        api.url,
    )
    assert [event["event"] for event in api.events] == [f"E{n}" for n in range(100)]


@pytest.mark.process
def test_what_a_forgotten_client_had_is_delivered_at_exit(api: Api) -> None:
    """A client that nobody holds any more still owes its events, whether a loop ever had them or not."""
    run_script(
        """
        import asyncio, gc, sys
        from millstream import AsyncAnalytics
        def record(name):
            AsyncAnalytics("key", host=sys.argv[1]).track(name, user_id="u")
        async def main():
            record("On a loop")
        asyncio.run(main())
        record("Without one")
        gc.collect()
        """,
        api.url,
    )
    assert sorted(event["event"] for event in api.events) == ["On a loop", "Without one"]


@pytest.mark.process
def test_a_cut_off_request_is_sent_again_at_exit(api: Api, tmp_path: Path) -> None:
    """A request in flight when its loop ended is made again at the end of the process."""
    held = api.hold()
    arrived = tmp_path / "arrived"
    script = Background(
        run_script,
        """
        import asyncio, os, sys
        from millstream import AsyncAnalytics
        analytics = AsyncAnalytics("key", host=sys.argv[1], flush_at=1, max_retries=0, http_request_timeout=300.0)
        async def main():
            analytics.track("A", user_id="u", message_id="m1")
            while not os.path.exists(sys.argv[2]):
                await asyncio.sleep(0.01)
        asyncio.run(main())
        """,
        api.url,
        str(arrived),
    )
    api.wait_for(1)
    arrived.touch()
    api.wait_for(2)
    held.release()
    script.result(timeout=30)
    assert [event["messageId"] for event in api.events] == ["m1", "m1"]


@pytest.mark.process
def test_async_clients_and_hooks_are_awaited_at_exit_too(api: Api) -> None:
    """With `async def` hooks, callbacks and an HTTP client that has to be awaited, the end of the process delivers."""
    out = run_script(
        """
        import asyncio, sys
        from millstream import AiohttpClient, AsyncAnalytics, Plugin
        class Mine(AiohttpClient):
            async def send(self, request):
                print("send")
                return await super().send(request)
        class Slow(Plugin):
            async def track(self, ctx):
                await asyncio.sleep(0.01)
                ctx.update_event("properties.slow", True)
        async def told(err, ctx):
            await asyncio.sleep(0)
            print("told", err)
        analytics = AsyncAnalytics("key", host=sys.argv[1].replace("127.0.0.1", "localhost"), http_client=Mine())
        async def main():
            await analytics.register(Slow())
            analytics.track("A", user_id="u", callback=told)
        asyncio.run(main())
        """,
        api.url,
    )
    assert out.split() == ["send", "told", "None"]
    assert api.events[0]["properties"] == {"slow": True}


@pytest.mark.process
def test_what_cannot_be_delivered_at_exit_is_said_once() -> None:
    """The end of the process takes `exit_timeout` at most, and one warning says how many events are left."""
    out = run_script(
        """
        import asyncio, logging, sys
        from millstream import AsyncAnalytics
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        analytics = AsyncAnalytics("key", host="http://127.0.0.1:1", exit_timeout=0.2)
        async def main():
            for n in range(3):
                analytics.track("A", user_id="u")
        asyncio.run(main())
        """
    )
    attempt, line = out.splitlines()
    assert attempt.startswith("1 request to http://127.0.0.1:1 failed: ")
    assert line.startswith("3 events were not delivered within exit_timeout=0.2 s (3 events failed at ")


@pytest.mark.process
def test_a_forked_child_has_a_loop_of_its_own(api: Api) -> None:
    """After a fork each process delivers its own events, once, and the parent's loop goes on."""
    run_script(
        """
        import asyncio, os, sys
        from millstream import AsyncAnalytics
        analytics = AsyncAnalytics("key", host=sys.argv[1])
        async def parent():
            await analytics.track("Parent 1", user_id="u")
            analytics.track("Parent 2", user_id="u")
        async def child():
            await analytics.track("Child", user_id="u")
            await analytics.close_and_flush()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(parent())
        pid = os.fork()
        if pid == 0:
            asyncio.run(child())
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        loop.run_until_complete(analytics.close_and_flush())
        loop.close()
        """,
        api.url,
    )
    assert sorted(event["event"] for event in api.events) == ["Child", "Parent 1", "Parent 2"]
