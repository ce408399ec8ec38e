"""The pipeline's dialogs: what they ask of a driver's host, without a driver."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from millstream import Context, DropEvent, Dropped, PluginError
from millstream._core.events.encode import encode
from millstream._core.outcome import Outcome
from millstream._core.pipeline import Answer, Awaited, Beside, PluginLike, PluginRegistry, conclude, process
from millstream._core.receipt import Receipt, Waiter

EVENT = {"type": "track", "messageId": "m1", "timestamp": "2024-02-16T10:00:00.000Z", "event": "A", "userId": "u"}


class P:
    """As much of a plugin as the dialogs look at. Its hook raises, calls or returns what it `does`."""

    def __init__(self, stage: str, name: str = "", does: Any = None, *, hook: bool = True) -> None:
        self.type = stage
        self.name = name or stage
        self.does = does
        if hook:
            self.track = self._track

    def _track(self, ctx: Context) -> Any:
        if isinstance(self.does, BaseException):
            raise self.does
        return self.does(ctx) if callable(self.does) else self.does


class Later:
    """What a hook returns whose answer has to be awaited."""


def registry(*plugins: P) -> PluginRegistry:
    line = PluginRegistry()
    for plugin in plugins:
        line.add(plugin)
    return line


class Talk:
    """The way of one event, and the host that it is in: they note what they are asked for."""

    runs_beside = False

    def run_beside(self, beside: Beside, contexts: list[Context]) -> None:
        raise NotImplementedError

    def __init__(self, *plugins: P, **event: Any) -> None:
        self.receipt = Receipt(encode({**EVENT, **event}), "track", "m1", cast("Waiter", None), "integrations" in event)
        self.registry = registry(*plugins)
        self.asked: list[Any] = []
        self.contexts: list[Context] = []
        self.errors: list[PluginError] = []
        self.data: bytes | None = None
        self.after: list[PluginLike] | None = None
        self.outcome: Outcome | None = None
        self.dialog: Iterator[list[Awaited]] = process(self.receipt, self.registry, self)
        self.waits_for: list[Awaited] = []
        self.awaited = self.go()

    @property
    def context(self) -> Context:
        return self.receipt.context()

    @property
    def error(self) -> Any:
        assert self.outcome is not None
        return self.outcome.error

    def go(self, *answers: Answer) -> list[str]:
        """Go on with the dialog. Returns whose answers it waits for."""
        for awaited, answer in zip(self.waits_for, answers, strict=True):
            awaited.answer = answer
        self.waits_for = next(self.dialog, [])
        return [awaited.plugin.name for awaited in self.waits_for]

    def deliver(self, outcome: Outcome) -> None:
        """The delivery has its outcome."""
        self.receipt._note_delivery("Segment.io", outcome)
        self.dialog = conclude(self.receipt, self.after or [], outcome, self.registry, self)
        self.awaited = self.go()

    # -- the host --------------------------------------------------------------------------------

    def call(self, plugin: PluginLike, hook: str, context: Context) -> Answer | Awaited | None:
        self.asked.append(plugin.name)
        self.contexts.append(context)
        try:
            returned = getattr(plugin, hook)(context)
        except BaseException as exc:
            return None, exc
        if isinstance(returned, Later):
            return Awaited(plugin, hook, context, cast("Any", returned))
        return None if returned is None or returned is context else (returned, None)

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        return integrations.get("Segment.io") is not False

    def hand_over(self, receipt: Receipt, data: bytes | None) -> None:
        assert receipt is self.receipt
        self.asked.append("delivery" if data else "no delivery")
        self.data = data

    def report(self, error: PluginError, context: Context) -> None:
        self.asked.append(f"report {error.plugin}")
        self.errors.append(error)

    def expect(self, receipt: Receipt, after: list[PluginLike]) -> None:
        assert receipt is self.receipt
        self.after = after

    def settle(self, receipt: Receipt, outcome: Outcome) -> None:
        assert receipt is self.receipt
        assert self.outcome is None
        self.outcome = outcome


def test_without_plugins_it_only_delivers() -> None:
    """An event that nobody wants to see is handed over as it is, and delivery alone decides."""
    talk = Talk()
    assert talk.asked == ["delivery"]
    assert talk.data is talk.receipt.data
    assert (talk.after, talk.outcome) == (None, None)


def test_one_after_another() -> None:
    """C92: before, enrichment, delivery, destinations with contexts of their own, the outcome, after."""
    talk = Talk(P("after"), P("destination", "d1"), P("destination", "d2"), P("enrichment"), P("before"))
    assert talk.asked == ["before", "enrichment", "delivery", "d1", "d2"]
    assert talk.contexts[:2] == [talk.context] * 2
    assert len({id(context) for context in [talk.context, *talk.contexts]}) == 3
    outcome = Outcome(attempts=2)
    talk.deliver(outcome)
    assert talk.asked[5:] == ["after"]
    assert talk.contexts[-1] is talk.context
    assert talk.context.attempts == 2
    assert talk.outcome is outcome
    assert {name: o.kind for name, o in talk.context.deliveries.items()} == {
        "d1": "delivered",
        "d2": "delivered",
        "Segment.io": "delivered",
    }


def test_answers_that_have_to_be_awaited() -> None:
    """A hook that answers later holds up what comes behind it; those of destinations are awaited side by side."""
    late = [P("enrichment", "e", Later()), P("destination", "d1", Later()), P("destination", "d3", Later())]
    talk = Talk(*late, P("destination", "d2"), P("after", "a1", Later()), P("after", "a2"))
    assert (talk.asked, talk.awaited) == (["e"], ["e"])
    assert talk.go((None, None)) == ["d1", "d3"]
    assert talk.asked == ["e", "delivery", "d1", "d3", "d2"]
    assert talk.go((None, OSError("down")), (None, DropEvent("not mine"))) == []
    assert {name: o.kind for name, o in talk.context.deliveries.items()} == {
        "d1": "failed",
        "d3": "dropped",
        "d2": "delivered",
    }
    talk.deliver(outcome := Outcome(attempts=1))
    assert (talk.asked[-1], talk.awaited) == ("a1", ["a1"])
    talk.go(("whatever", None))
    assert talk.asked[-1] == "a2"
    assert talk.outcome is outcome


def test_a_context_that_comes_late_takes_the_place_of_the_first() -> None:
    """What a hook returns later means what it means at once."""
    talk = Talk(P("before", "one", Later()), P("enrichment", "two"))
    other = Context(talk.context.data, "m1")
    other.event["event"] = "Other"
    talk.go((other, None))
    assert b"Other" in (talk.data or b"")
    assert [entry.extras for entry in talk.context.logs()] == [{"plugin": "two"}]


@pytest.mark.parametrize("stage", ["before", "enrichment"])
def test_a_drop_ends_it(stage: str) -> None:
    """DropEvent in `before` or `enrichment` ends the dialog; nothing is handed over."""
    talk = Talk(P(stage, does=DropEvent("why")), P("destination"), P("after"))
    assert talk.asked == [stage]
    assert isinstance(talk.error, Dropped)


def test_a_failure_of_before_ends_it() -> None:
    """C87: an exception in `before` is the event's failure, with the plugin's name and the exception as the cause."""
    exc = KeyError("x")
    talk = Talk(P("before", "Check", exc), P("enrichment"))
    assert talk.asked == ["Check"]
    assert isinstance(talk.error, PluginError)
    assert (talk.error.plugin, talk.error.__cause__) == ("Check", exc)


def test_a_failure_of_enrichment_is_reported() -> None:
    """C88: an exception in `enrichment` is a report, and the event goes on."""
    talk = Talk(P("enrichment", "Geo", KeyError("x")))
    assert talk.asked == ["Geo", "report Geo", "delivery"]


def test_failures_of_destinations_are_reported_one_by_one() -> None:
    """C89: each destination that failed is reported, and one that declined is noted."""
    talk = Talk(
        P("destination", "d1", OSError("down")),
        P("destination", "d2", DropEvent("not mine")),
        P("destination", "d3"),
        integrations={"Segment.io": False},
    )
    assert talk.asked == ["no delivery", "d1", "d2", "d3", "report d1"]
    assert {name: o.kind for name, o in talk.context.deliveries.items()} == {
        "d1": "failed",
        "d2": "dropped",
        "d3": "delivered",
    }
    assert talk.outcome is not None
    assert talk.outcome.kind == "failed"


@pytest.mark.parametrize("exc", [KeyError("x"), DropEvent("too late"), SystemExit("bye")], ids=repr)
def test_failures_after_the_outcome_change_nothing(exc: BaseException) -> None:
    """C90: whatever is raised in `after` is reported, and the next one still runs."""
    talk = Talk(P("after", "a1", exc), P("after", "a2"))
    talk.deliver(outcome := Outcome(attempts=1))
    assert talk.asked == ["delivery", "a1", "report a1", "a2"]
    assert talk.outcome is outcome


def test_a_plugin_without_the_hook_is_passed_over() -> None:
    """A plugin that has no hook for this kind of event costs it nothing, not even a place in its log."""
    talk = Talk(P("before", hook=False), P("after", hook=False))
    assert talk.asked == ["delivery"]
    assert (talk.after, talk.outcome) == (None, None)
    assert talk.context.logs() == []


def test_a_plugin_that_has_been_removed_gets_no_last_word() -> None:
    """An `after` plugin that was deregistered while the event was under way is not called any more."""
    gone, stays, late = P("after", "gone"), P("after", "stays"), P("after", "late")
    stays.does = lambda ctx: talk.registry.remove("late")
    talk = Talk(gone, stays, late)
    talk.registry.remove("gone")
    talk.deliver(Outcome(attempts=1))
    assert talk.asked == ["delivery", "stays"]


def test_each_plugin_leaves_a_note() -> None:
    """The context's log says which plugins had the event in hand, and what they noted, in order."""

    def noted(ctx: Context) -> None:
        ctx.log("info", "hello")

    plain = Talk(P("before", "one"), P("enrichment", "two"))
    assert [(e.level, e.message, e.extras) for e in plain.context.logs()] == [
        ("debug", "plugin", {"plugin": "one"}),
        ("debug", "plugin", {"plugin": "two"}),
    ]
    talk = Talk(P("before", "one", noted), P("enrichment", "two"), P("enrichment", "three", noted))
    said = [e.extras.get("plugin", e.message) for e in talk.context.logs()]
    assert said == ["one", "hello", "two", "three", "hello"]


def test_deliveries_that_were_asked_for_early_are_kept_up() -> None:
    """A plugin that holds on to `ctx.deliveries` sees there what becomes of the event."""
    held: list[dict[str, Outcome]] = []
    talk = Talk(P("before", does=lambda ctx: held.append(ctx.deliveries)), P("destination"))
    talk.deliver(Outcome(attempts=1))
    assert held[0] is talk.context.deliveries
    assert [*held[0]] == ["destination", "Segment.io"]


def test_what_waits_for_its_outcome_is_unknown_to_the_garbage_collector() -> None:
    """A context that nobody has put anything into costs the collector nothing; one that may be part of a cycle does."""
    plugins = [P(stage, does=lambda ctx: ctx) for stage in ("before", "enrichment", "destination", "after")]
    waiting = Talk(*plugins)
    gc.collect()
    assert not gc.is_tracked(waiting.context)
    waiting.context.event["self"] = waiting.context
    assert gc.is_tracked(waiting.context)


def test_a_name_is_once_in_the_timeline() -> None:
    """A plugin of a name that is there already takes the other's place, at the end."""
    first = P("before", "a")
    line = registry(first, P("before", "b"), replaced := P("before", "a"))
    assert [plugin.name for plugin, _ in line.stages("track").first] == ["b", "a"]
    assert line.stages("track").first[1][0] is replaced
    assert first not in line
    line.remove("a")
    line.remove("b")
    assert not line
