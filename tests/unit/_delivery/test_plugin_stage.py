"""Events before and with plugins: who waits for whom, and what holds delivery up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream import Context, Plugin, Receipt
from millstream._delivery.driver import Driver
from millstream._delivery.plugin_stage import PluginStage
from support.units import driver, receipt, take_all


class Seeing(Plugin):
    """A plugin that notes what it sees."""

    type = "before"

    def __init__(self, name: str = "Seeing", does: Callable[[Context], Any] = lambda _: None) -> None:
        self.name = name
        self.seen: list[str] = []
        self.does = does

    def track(self, ctx: Context) -> None:
        self.seen.append(ctx.event["event"])
        self.does(ctx)


class Staged:
    """A driver without threads, whose plugin stage is looked at between its calls."""

    def __init__(self, **settings: Any) -> None:
        self.sent: list[str] = []
        self.driver: Driver = driver(self.answer, flush_at=1, **settings)
        self.stage: PluginStage = self.driver.worker.plugins

    def answer(self, request: Any) -> Any:
        self.sent += [part.split(b'"')[0].decode() for part in request.body.split(b'"event":"')[1:]]
        return take_all(request)

    def track(self, name: str) -> Receipt:
        one = receipt(self.driver, name)
        self.driver.accept(one)
        return one


def test_without_plugins_an_event_does_not_stop_here() -> None:
    """A client that has never had a plugin asks nothing of the stage: no step of a turn is its."""
    staged = Staged()
    assert staged.track("A").done()
    assert staged.driver.worker.steps == []
    assert staged.stage.busy is False


def test_while_a_critical_plugin_loads_events_wait_and_it_sees_them() -> None:
    """What is recorded while a critical plugin is being loaded is seen by it first, and delivered then."""
    staged, late = Staged(), Seeing()
    staged.driver.hold()
    one = staged.track("A")
    assert (staged.stage.held_up, staged.stage.stalled, staged.stage.due, one.done()) == (True, True, False, False)
    staged.driver.plug(late)
    staged.driver.release()
    assert late.seen == staged.sent == ["A"]
    assert one.done()
    assert not staged.stage.stalled


def test_two_holds_need_two_releases() -> None:
    """Delivery goes on when the last of the critical plugins is loaded."""
    staged = Staged()
    staged.driver.hold()
    staged.driver.hold()
    one = staged.track("A")
    staged.driver.release()
    assert not one.done()
    staged.driver.release()
    assert one.done()


def test_a_change_counts_for_the_events_after_it() -> None:
    """A plugin that comes while events wait for others sees none of those: it comes at its place in line."""
    staged = Staged()
    newcomer = Seeing("Newcomer")

    def change_behind(ctx: Context) -> None:
        if ctx.event["event"] == "A":
            staged.track("B")
            staged.driver.worker.read_mail()  # B waits behind A
            staged.stage.change(lambda: staged.stage.runner.registry.add(newcomer))
            staged.track("C")

    first = Seeing("First", change_behind)
    staged.driver.plug(first)
    staged.track("A")
    staged.driver.flush(0.0)
    assert first.seen == staged.sent == ["A", "B", "C"]
    assert newcomer.seen == ["C"]


def test_a_flush_passes_behind_the_events_that_wait() -> None:
    """A command for when the events before it are through their plugins is done then, and at once where none wait."""
    staged, done = Staged(), []
    staged.stage.when_passed(lambda: done.append("at once"))
    assert done == ["at once"]
    plugin = Seeing("First", lambda _: done.append("plugin"))
    staged.driver.plug(plugin)
    staged.driver.hold()
    staged.track("A")
    staged.stage.when_passed(lambda: done.append("behind"))
    staged.driver.release()
    assert done == ["at once", "plugin", "behind"]


def test_a_close_gives_everything_back() -> None:
    """What waits for plugins is returned once, in order, with the commands that waited for it."""
    staged = Staged()
    staged.driver.plug(Seeing())
    staged.driver.hold()
    one, two = staged.track("A"), staged.track("B")
    staged.stage.when_passed(lambda: None)
    left, commands = staged.stage.close()
    assert left == [one, two]
    assert len(commands) == 1
    assert staged.stage.close() == ([], [])
    assert staged.sent == []
