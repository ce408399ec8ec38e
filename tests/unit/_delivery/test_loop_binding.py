"""Work on an event loop: what becomes of it when it ends, is cancelled, takes too long, or its loop goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from millstream._delivery import loop_binding
from millstream._delivery.loop_binding import LoopBinding


class Bound:
    """A binding, what it gives back, and what its work told."""

    def __init__(self) -> None:
        self.undone: list[str] = []
        self.ends = 0
        self.binding = LoopBinding(lambda command: command(), self.ended)
        self.told: list[tuple[Any, str]] = []

    def ended(self) -> None:
        self.ends += 1

    def done(self, value: Any, exc: BaseException | None) -> None:
        self.told.append((value, "" if exc is None else f"{type(exc).__name__}: {exc}"))

    def again(self, name: str) -> Callable[[], object]:
        return lambda: self.undone.append(name)


async def forever() -> None:
    await asyncio.Event().wait()


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_loop_is_found_when_one_runs_and_kept_while_it_is_open() -> None:
    """Without a running loop there is none; the first one stays the client's until it has ended."""
    bound = Bound()
    assert bound.binding.get() is None

    async def first() -> None:
        loop = asyncio.get_running_loop()
        assert bound.binding.get() is bound.binding.here() is loop
        other = await asyncio.to_thread(lambda: (bound.binding.get(), bound.binding.here()))
        assert other == (loop, None)
        assert bound.binding.runs()

    asyncio.run(first())
    assert not bound.binding.runs()
    assert bound.binding.get() is None
    assert bound.ends == 1


def test_what_ends_is_told_once() -> None:
    """A value or an exception of the work goes to `done`; nothing is given back."""
    bound = Bound()

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(asyncio.sleep(0, "value"), bound.done, bound.again("a"))
        bound.binding.spawn(fail(), bound.done, bound.again("b"))
        assert bound.binding.at_work
        await turns()
        assert not bound.binding.at_work

    async def fail() -> None:
        raise LookupError("a bug")

    asyncio.run(main())
    assert sorted(bound.told, key=str) == [("value", ""), (None, "LookupError: a bug")]
    assert bound.undone == []


def test_what_a_loop_leaves_behind_is_given_back_once() -> None:
    """Work that is not over when its loop ends is begun anew elsewhere; what has no way to, is let go."""
    bound = Bound()

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(forever(), bound.done, bound.again("request"))
        bound.binding.spawn(forever(), bound.done)
        await turns()
        bound.binding.release()
        assert bound.undone == ["request"]
        assert bound.binding.get() is asyncio.get_running_loop()

    asyncio.run(main())
    assert bound.undone == ["request"]
    assert bound.told == []


def test_a_loop_that_ends_in_good_order_gives_back() -> None:
    """The end of `asyncio.run`, which cancels every task, loses no request."""
    bound = Bound()

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(forever(), bound.done, bound.again("request"))
        await turns()

    asyncio.run(main())
    assert bound.undone == ["request"]
    assert bound.told == []
    assert bound.ends == 1


def test_cancelled_work_is_begun_anew_on_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that other code cancelled goes again after a pause; what cannot go again is told of it."""
    monkeypatch.setattr(loop_binding, "AFTER_A_CANCEL", 0.0)
    bound = Bound()

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(forever(), bound.done, bound.again("request"))
        bound.binding.spawn(forever(), bound.done)
        await turns()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns()
        assert bound.undone == ["request"]

    asyncio.run(main())
    assert bound.told == [(None, "CancelledError: ")]
    assert bound.undone == ["request"]


def test_work_that_takes_too_long_is_told_once_and_forgotten() -> None:
    """After its seconds `done` is told of a TimeoutError, though the work ignores its cancellation and ends later."""
    bound = Bound()
    cancelled = asyncio.Event()

    async def ignore() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.set()
        return "late"

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(ignore(), bound.done, bound.again("hook"), timeout=0.0)
        await cancelled.wait()
        await turns()

    asyncio.run(main())
    assert bound.told == [(None, "TimeoutError: no end after 0 s")]
    assert bound.undone == []


def test_a_task_of_ours_is_known() -> None:
    """What would wait for itself is recognised: code inside a spawned task, and not beside it."""
    bound = Bound()
    seen: list[bool] = []

    async def look() -> None:
        seen.append(bound.binding.is_ours())

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(look(), bound.done)
        await turns()
        await look()

    asyncio.run(main())
    assert seen == [True, False]


def test_a_close_waits_for_loose_ends_alone() -> None:
    """`aclose` waits for callbacks that are awaited, as long as it may, and lets the loop go."""
    bound = Bound()

    async def main() -> None:
        bound.binding.get()
        bound.binding.spawn(turns(), bound.done)
        await bound.binding.aclose(30.0)
        assert bound.told == [(None, "")]
        assert bound.binding.loop is None

    asyncio.run(main())
    assert bound.ends == 1
