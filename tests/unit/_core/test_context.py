"""The context: an event as plugins, listeners and callbacks have it in hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millstream import Context, DropEvent, Dropped
from millstream._core.context import Metric
from millstream._core.events.encode import encode


def context(**event: Any) -> Context:
    return Context(encode({"type": "track", "messageId": "m1", **event}), "m1")


def test_decoding_is_put_off_until_somebody_looks() -> None:
    """A context that nobody looks at keeps its bytes; from the first look on there is one dict."""
    ctx = context(event="A")
    assert not ctx._looked_at
    assert ctx.event is ctx.event
    assert ctx._looked_at


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("event", {}, {"event": "x"}),
        ("traits.custom", {}, {"traits": {"custom": "x"}}),
        ("a.b.c.d", {}, {"a": {"b": {"c": {"d": "x"}}}}),
        ("a.b", {"a": {"c": 1}}, {"a": {"c": 1, "b": "x"}}),
        ("a.b", {"a": None}, {"a": {"b": "x"}}),
        ("a.b", {"a": "text"}, {"a": {"b": "x"}}),
        ("products.1.name", {"products": [{}, {"id": 7}]}, {"products": [{}, {"id": 7, "name": "x"}]}),
        ("products.0.name", {"products": [5]}, {"products": [{"name": "x"}]}),
        ("products.0", {"products": [5]}, {"products": ["x"]}),
        ("a.0.b", {}, {"a": {"0": {"b": "x"}}}),
    ],
)
def test_update_event_creates_what_is_missing(path: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """A dotted path is followed into dicts and lists; levels that are missing or hold no more are created."""
    ctx = context(**before)
    event = ctx.update_event(path, "x")
    assert event is ctx.event
    assert event == {"type": "track", "messageId": "m1", **after}


@pytest.mark.parametrize(("path", "error"), [("products.7.name", IndexError), ("products.first", ValueError)])
def test_update_event_invents_no_place_in_a_list(path: str, error: type[Exception]) -> None:
    """A place that a list does not have is the plugin's mistake."""
    with pytest.raises(error):
        context(products=[1]).update_event(path, "x")


@pytest.mark.parametrize(
    ("value", "path", "after"),
    [
        (False, "integrations.Vero", False),
        (False, "integrations.Vero.id", False),
        (True, "integrations.Vero.id", {"id": 7}),
        ({}, "integrations.Vero.id", {"id": 7}),
        (None, "integrations.Vero", 7),
        (0, "integrations.Vero", 7),
    ],
)
def test_update_event_never_switches_on_what_is_off(value: Any, path: str, after: Any) -> None:
    """An integration that is exactly false stays so; any other value may be replaced."""
    ctx = context(integrations={"Vero": value})
    ctx.update_event(path, 7)
    assert ctx.event["integrations"] == {"Vero": after}


def test_update_event_may_replace_all_integrations() -> None:
    """The whole object is not an integration, and one that the event does not have can be added."""
    ctx = context()
    ctx.update_event("integrations.New", True)
    assert ctx.event["integrations"] == {"New": True}
    ctx.update_event("integrations", {})
    assert ctx.event["integrations"] == {}


def test_cancel_raises_what_no_broad_handler_catches() -> None:
    """`cancel` always raises, with the reason; and not an Exception."""
    with pytest.raises(DropEvent) as caught:
        context().cancel("why")
    assert caught.value.reason == "why"
    assert not isinstance(caught.value, Exception)


def test_logs_are_kept_in_order() -> None:
    """C41: each note has its level, message and extras, in order; an unknown level is refused."""
    ctx = context()
    for level in ("debug", "info", "warn", "error"):
        ctx.log(level, f"a {level}", {"n": 1})
    assert [(e.level, e.message, e.extras) for e in ctx.logs()] == [
        (level, f"a {level}", {"n": 1}) for level in ("debug", "info", "warn", "error")
    ]
    with pytest.raises(ValueError, match="debug, info, warn, error"):
        ctx.log("fatal", "no")
    ctx.logs().clear()
    assert len(ctx.logs()) == 4


def test_stats_are_kept() -> None:
    """C93-C95: counters and gauges are noted in order, with their tags."""
    ctx = context()
    assert list(ctx.stats) == []
    ctx.stats.increment("seen")
    ctx.stats.increment("bytes", 12, ("in",))
    ctx.stats.gauge("load", 0.5)
    assert list(ctx.stats) == [
        Metric("seen", 1, "counter"),
        Metric("bytes", 12, "counter", ("in",)),
        Metric("load", 0.5, "gauge"),
    ]


def test_to_dict_is_plain() -> None:
    """`to_dict` has everything as values that JSON knows."""
    ctx = context(event="A")
    ctx.log("info", "hello", {"a": 1})
    ctx.stats.gauge("load", 0.5, ("x",))
    ctx._settle(2, Dropped("why"))
    assert json.loads(json.dumps(ctx.to_dict())) == {
        "id": "m1",
        "event": {"type": "track", "messageId": "m1", "event": "A"},
        "attempts": 2,
        "error": "dropped: why",
        "logs": [{"level": "info", "message": "hello", "extras": {"a": 1}}],
        "metrics": [{"metric": "load", "value": 0.5, "type": "gauge", "tags": ["x"]}],
    }


def test_the_outcome_is_known_when_it_is_settled() -> None:
    """No error and no attempts before; then both."""
    ctx = context()
    assert (ctx.attempts, ctx.failed_delivery()) == (0, None)
    error = Dropped("why")
    ctx._settle(3, error)
    assert (ctx.attempts, ctx.failed_delivery()) == (3, error)


def test_sealing_forgets_the_dict() -> None:
    """When the bytes are final, a dict that somebody kept is no way to change the event."""
    ctx = context(event="A")
    kept = ctx.event
    ctx._seal(encode(kept))
    kept["event"] = "B"
    assert ctx.event["event"] == "A"
