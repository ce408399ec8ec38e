"""Hooks of destination plugins, beside delivery: their order, their answers, and what waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pytest

from millstream import Context
from millstream._core.context import Shared
from millstream._core.pipeline import Beside
from millstream._delivery.hook_threads import Answered, HookJob, HookThreads
from support.units import receipt

PATIENCE = 30.0


@dataclass
class Plugin:
    name: str
    does: Callable[[str], Any] = lambda _: None
    type: str = "destination"


@dataclass
class Worker:
    """A mailbox that the test empties, and what the hooks did."""

    mailbox: SimpleQueue[Callable[[], object]] = field(default_factory=SimpleQueue)
    answers: list[tuple[str, str, Any]] = field(default_factory=list)
    called: SimpleQueue[str] = field(default_factory=SimpleQueue)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.threads = HookThreads(self.call, self.mailbox.put, self.note)

    def call(self, plugin: Any, hook: str, context: Context) -> Any:
        name = context.event["event"]
        self.called.put(f"{plugin.name} {name}")
        return plugin.does(name)

    def note(self, answered: Answered) -> None:
        self.answers += [(plugin.name, beside.receipt.message_id, answer) for beside, plugin, answer in answered]

    def run(self, plugin: Plugin, name: str) -> None:
        one = receipt(name=name)
        self.threads.run(HookJob(Beside(one, [plugin], Shared({}), sent=True, left=1), plugin, one.context()))

    def until(self, count: int) -> list[tuple[str, str, Any]]:
        """The answers, when there are so many."""
        while len(self.answers) < count:
            self.mailbox.get(timeout=PATIENCE)()
        return self.answers

    def hold(self, _: str) -> None:
        self.gate.wait(PATIENCE)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.gate.set()
    made.threads.abandon()


def test_a_plugin_sees_events_in_their_order(worker: Worker) -> None:
    """All hooks of a plugin run on one thread, one after the other, and each has an answer."""
    mine = Plugin("Mine", lambda name: (name.lower(), None))
    for name in "ABCDE":
        worker.run(mine, name)
    assert worker.until(5) == [("Mine", f"id-{name}", (name.lower(), None)) for name in "ABCDE"]


def test_a_slow_plugin_delays_no_other(worker: Worker) -> None:
    """A plugin that hangs is seen by its hook's name and its seconds, while another's hooks run."""
    worker.run(Plugin("Slow", worker.hold), "A")
    assert worker.called.get(timeout=PATIENCE) == "Slow A"
    worker.run(Plugin("Fast"), "A")
    assert worker.until(1) == [("Fast", "id-A", None)]
    running = worker.threads.running()
    assert running is not None
    assert running[0] == "Slow.track"
    assert running[1] >= 0.0
    worker.gate.set()
    worker.until(2)


def test_what_a_hook_raises_is_its_answer(worker: Worker) -> None:
    """An exception goes to the worker as the answer, and the next event is not kept from the plugin."""
    bug = LookupError("a bug of mine")

    def fail(name: str) -> None:
        if name == "A":
            raise bug

    mine = Plugin("Mine", fail)
    worker.run(mine, "A")
    worker.run(mine, "B")
    assert worker.until(2) == [("Mine", "id-A", (None, bug)), ("Mine", "id-B", None)]


def test_quiet_comes_after_the_hooks_that_wait(worker: Worker) -> None:
    """Who unloads a plugin is told, on the worker, when the hooks that were there before are over, and reported."""
    mine = Plugin("Mine", worker.hold)
    worker.run(mine, "A")
    worker.run(mine, "B")
    told: list[int] = []
    worker.threads.when_quiet("Mine", lambda: told.append(len(worker.answers)))
    assert told == []
    worker.gate.set()
    worker.until(2)
    if not told:
        worker.mailbox.get(timeout=PATIENCE)()
    assert told == [2]
    worker.threads.when_quiet("Unknown", lambda: told.append(-1))
    assert told == [2, -1], "a plugin that has never run is quiet now"


def test_abandoned_hooks_do_not_begin(worker: Worker) -> None:
    """Hooks that wait are forgotten at the end of the client; who waits for quiet is told all the same."""
    mine = Plugin("Mine", worker.hold)
    worker.run(mine, "A")
    assert worker.called.get(timeout=PATIENCE) == "Mine A"
    worker.run(mine, "B")
    told: list[str] = []
    worker.threads.when_quiet("Mine", lambda: told.append("quiet"))
    worker.threads.abandon()
    worker.mailbox.get(timeout=PATIENCE)()
    assert told == ["quiet"]
    worker.gate.set()
    assert worker.until(1) == [("Mine", "id-A", None)]
    assert worker.called.empty()
    assert worker.threads.running() is None, "what still hangs is no longer ours"


def test_a_hook_knows_where_it_is(worker: Worker) -> None:
    """A call that would wait for its own end is recognised: in a hook, and not beside it."""
    seen: list[bool] = []
    worker.run(Plugin("Mine", lambda _: seen.append(worker.threads.in_hook())), "A")
    worker.until(1)
    assert seen == [True]
    assert not worker.threads.in_hook()


def test_without_a_thread_hooks_run_in_the_call(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process, where no thread can be started, a hook runs at once and has its answer."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    here: list[int] = []
    mine = Plugin("Mine", lambda _: here.append(threading.get_ident()))
    worker.run(mine, "A")
    worker.run(mine, "B")
    assert here == [threading.get_ident()] * 2
    assert len(worker.until(2)) == 2
    assert not worker.threads.in_hook()
