"""The pipeline's dialog: what it asks of a driver, step by step, without one."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import Context, DropEvent, Dropped, PluginError
from penstock._core.encoding import encode
from penstock._core.pipeline import Call, Deliver, Delivered, Report, Timeline, Together, process
from penstock._core.receipt import Outcome

EVENT = {"type": "track", "messageId": "m1", "timestamp": "2024-02-16T10:00:00.000Z", "event": "A", "userId": "u"}


class P:
    """As much of a plugin as the dialog looks at: its hook is never called here."""

    def __init__(self, stage: str, name: str = "", *, hook: bool = True) -> None:
        self.type = stage
        self.name = name or stage
        if hook:
            self.track = lambda ctx: None


def timeline(*plugins: P) -> Timeline:
    line = Timeline()
    for plugin in plugins:
        line.add(plugin)
    return line


class Talk:
    """A dialog, and the answers that it gets."""

    def __init__(self, *plugins: P, **event: Any) -> None:
        self.context = Context(encode({**EVENT, **event}), "m1")
        self.timeline = timeline(*plugins)
        self._dialog = process(self.context, "track", self.timeline)
        self.outcome: Any = "not over"

    def step(self, answer: Any = None) -> Any:
        return self._next(lambda: self._dialog.send(answer))

    def throw(self, exc: BaseException) -> Any:
        return self._next(lambda: self._dialog.throw(exc))

    def _next(self, go: Any) -> Any:
        try:
            return go()
        except StopIteration as stop:
            self.outcome = stop.value
            return None


def test_without_plugins_it_only_delivers() -> None:
    """An event that nobody wants to see is handed over as it is, and delivery alone decides."""
    talk = Talk()
    step = talk.step()
    assert isinstance(step, Deliver)
    assert step.data is talk.context.data
    assert talk.step() is None
    assert talk.outcome is None


def test_a_step_at_a_time() -> None:
    """C92: before, enrichment, delivery, destinations side by side, the outcome, after."""
    talk = Talk(P("after"), P("destination", "d1"), P("destination", "d2"), P("enrichment"), P("before"))
    for stage in ("before", "enrichment"):
        step = talk.step(talk.context if stage == "enrichment" else None)
        assert isinstance(step, Call)
        assert (step.plugin.type, step.hook, step.context) == (stage, "track", talk.context)
    assert isinstance(talk.step(None), Deliver)
    together = talk.step()
    assert isinstance(together, Together)
    assert [call.plugin.name for call in together.calls] == ["d1", "d2"]
    assert talk.context not in [call.context for call in together.calls]
    assert isinstance(talk.step([None, None]), Delivered)
    outcome = Outcome(attempts=2)
    last = talk.step(outcome)
    assert isinstance(last, Call)
    assert last.plugin.type == "after"
    assert talk.context.attempts == 2
    talk.step(None)
    assert talk.outcome is outcome


@pytest.mark.parametrize("stage", ["before", "enrichment"])
def test_a_drop_ends_it(stage: str) -> None:
    """DropEvent in `before` or `enrichment` ends the dialog; nothing is handed over."""
    talk = Talk(P(stage), P("destination"), P("after"))
    talk.step()
    talk.throw(DropEvent("why"))
    assert isinstance(talk.outcome.error, Dropped)


def test_a_failure_of_before_ends_it() -> None:
    """C87: an exception in `before` is the event's failure, with the plugin's name and the exception as the cause."""
    talk = Talk(P("before", "Check"))
    talk.step()
    exc = KeyError("x")
    talk.throw(exc)
    assert isinstance(talk.outcome.error, PluginError)
    assert (talk.outcome.error.plugin, talk.outcome.error.__cause__) == ("Check", exc)


def test_a_failure_of_enrichment_is_reported() -> None:
    """C88: an exception in `enrichment` is a report, and the event goes on."""
    talk = Talk(P("enrichment", "Geo"))
    talk.step()
    report = talk.throw(KeyError("x"))
    assert isinstance(report, Report)
    assert report.error.plugin == "Geo"
    assert isinstance(talk.step(), Deliver)


def test_failures_of_destinations_are_reported_one_by_one() -> None:
    """C89: each destination that failed is reported, and one that declined is noted."""
    talk = Talk(
        P("destination", "d1"), P("destination", "d2"), P("destination", "d3"), integrations={"Segment.io": False}
    )
    talk.step()
    report = talk.step([OSError("down"), DropEvent("not mine"), None])
    assert isinstance(report, Report)
    assert report.error.plugin == "d1"
    assert talk.step() is None
    assert {name: o.kind for name, o in talk.context.deliveries.items()} == {
        "d1": "failed",
        "d2": "dropped",
        "d3": "delivered",
    }
    assert talk.outcome.kind == "failed"


def test_failures_after_the_outcome_change_nothing() -> None:
    """C90: an exception in `after` is reported, and the next one still runs."""
    talk = Talk(P("after", "a1"), P("after", "a2"))
    talk.step()
    talk.step()
    talk.step(outcome := Outcome(attempts=1))
    assert isinstance(talk.throw(KeyError("x")), Report)
    second = talk.step()
    assert isinstance(second, Call)
    assert second.plugin.name == "a2"
    talk.throw(DropEvent("too late"))
    talk.step()
    assert talk.outcome is outcome


def test_a_plugin_without_the_hook_is_passed_over() -> None:
    """A plugin that has no hook for this kind of event costs it nothing, not even a place in its log."""
    talk = Talk(P("before", hook=False), P("after", hook=False))
    assert isinstance(talk.step(), Deliver)
    talk.step()
    assert talk.outcome is None
    assert talk.context.logs() == []


def test_a_plugin_that_has_been_removed_gets_no_last_word() -> None:
    """An `after` plugin that was deregistered while the event was under way is not called any more."""
    gone, stays = P("after", "gone"), P("after", "stays")
    talk = Talk(gone, stays)
    talk.step()
    talk.step()
    talk.timeline.remove("gone")
    step = talk.step(Outcome(attempts=1))
    assert step.plugin is stays


def test_each_plugin_leaves_a_note() -> None:
    """The context's log says which plugins had the event in hand."""
    talk = Talk(P("before", "one"), P("enrichment", "two"))
    while talk.step() is not None:
        pass
    assert [(e.level, e.message, e.extras) for e in talk.context.logs()] == [
        ("debug", "plugin", {"plugin": "one"}),
        ("debug", "plugin", {"plugin": "two"}),
    ]


def test_a_name_is_once_in_the_timeline() -> None:
    """A plugin of a name that is there already takes the other's place, at the end."""
    line = timeline(P("before", "a"), P("before", "b"), replaced := P("before", "a"))
    assert [p.name for p in line.hooked("before", "track")] == ["b", "a"]
    assert line.hooked("before", "track")[1] is replaced
    line.remove("a")
    line.remove("b")
    assert not line
