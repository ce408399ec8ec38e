"""Plugins, as the reference library's tests pin them; where ours differ on purpose, the docstring says `differs`.

Not ours to have, and why: C42, C96, C97 (printing and clearing a context's log and stats: ours are values that a
program reads); C46-C55, C57-C60, C62, C63-C66, C76, C77 (its queue of single events, with retries by plugin: here the
engine retries batches, and a plugin retries for itself); C84's `ctx` is made for the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from millstream import (
    Analytics,
    Context,
    Dropped,
    Plugin,
    PluginError,
    Rejected,
    after,
    before,
    destination,
    enrichment,
)
from support.api import Api, status
from support.background import Background, Heard

Make = Callable[..., Analytics]


class Loaded(Plugin):
    """Counts how often it is loaded and unloaded."""

    type = "utility"

    def __init__(self) -> None:
        self.loads: list[Any] = []
        self.unloads: list[Any] = []

    def load(self, ctx: Context, analytics: Any) -> None:
        self.loads.append((ctx, analytics))

    def unload(self, ctx: Context, analytics: Any) -> None:
        self.unloads.append((ctx, analytics))


def fails(ctx: Context) -> None:
    raise ValueError("aaay")


def test_registering_loads_once(client: Make) -> None:
    """N58, C84: `register` calls `load` once, with a Context and the client."""
    plugin, analytics = Loaded(), client()
    analytics.register(plugin)
    ((ctx, given),) = plugin.loads
    assert isinstance(ctx, Context)
    assert given is analytics


def test_deregistering_unloads_once(client: Make) -> None:
    """N60, C74, C75: `deregister` calls `unload` once, and the plugin takes no further part."""
    plugin, analytics = Loaded(), client()
    analytics.register(plugin)
    analytics.deregister(plugin.name)
    assert len(plugin.unloads) == 1
    analytics.register(plugin)


def test_registering_comes_before_dispatching(client: Make) -> None:
    """N59: the `register` event is emitted before the plugin's hook sees an event that was waiting for it."""
    order: list[str] = []
    gate, entered = threading.Event(), threading.Event()

    class Critical(Plugin):
        type = "before"
        critical = True

        def load(self, ctx: Context, analytics: Any) -> None:
            entered.set()
            gate.wait(10)

        def identify(self, ctx: Context) -> None:
            order.append("identify")

    analytics = client()
    analytics.on("register", lambda names: order.append(f"register {names}"))
    loading = Background(analytics.register, Critical())
    assert entered.wait(10)
    receipt = analytics.identify("u")
    gate.set()
    loading.result()
    receipt.wait(timeout=10)
    assert order == ["register ['Critical']", "identify"]


def test_the_tracking_api_is_among_the_destinations(client: Make) -> None:
    """N72 (differs): `Segment.io` is there from the start; it is no plugin, so nothing can deregister it."""
    seen: list[list[str]] = []
    analytics = client()
    analytics.register(after(name="after")(lambda ctx: seen.append([*ctx.deliveries])))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert seen == [["Segment.io"]]


def test_a_close_waits_for_events_in_an_after_plugin(api: Api, client: Make) -> None:
    """N19: two events in a slow `after` plugin: two requests, two `track` events, one `drained`."""
    tracked, drained, pause = Heard(), Heard(), threading.Event()
    analytics = client(flush_at=1)
    analytics.on("track", tracked)
    analytics.on("drained", drained)
    analytics.register(after(name="slow")(lambda ctx: pause.wait(0.1) and None))
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    assert analytics.close_and_flush(timeout=10).delivered == 2
    assert (len(api.requests), len(tracked.calls), len(drained.calls)) == (2, 2, 1)


def test_a_close_waits_for_events_in_a_before_plugin(api: Api, client: Make) -> None:
    """N23 (differs): a close waits for events that are with a plugin, and sends at once each that is through."""
    pause, entered = threading.Event(), threading.Event()
    analytics = client(flush_at=100, flush_interval=900)

    def slow(ctx: Context) -> None:
        entered.set()
        pause.wait(0.1)

    analytics.register(enrichment(name="slow")(slow))
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    assert entered.wait(10)
    begin = time.monotonic()
    assert analytics.close_and_flush(timeout=10).delivered == 2
    assert time.monotonic() - begin < 2
    assert [event["event"] for event in api.accepted] == ["A", "B"]


def test_a_close_is_forced_by_its_timeout(client: Make) -> None:
    """N16: with a plugin that takes longer than the timeout, the close ends at the timeout (and 0.5 s)."""
    gate = threading.Event()
    analytics = client()
    analytics.register(before(name="slow")(lambda ctx: gate.wait(60) and None))
    analytics.track("A", user_id="u")
    begin = time.monotonic()
    result = analytics.close_and_flush(timeout=0.3)
    assert 0.3 <= time.monotonic() - begin < 5.0
    gate.set()
    assert len(result.unsent) == 1


@pytest.mark.parametrize("kind", ["alias", "group", "identify", "page", "screen", "track"])
def test_an_event_is_the_same_through_a_plugin(api: Api, client: Make, kind: str) -> None:
    """M1-M6: what a hook sees is what arrives, for each kind, if it changes nothing; also if it looked."""
    seen: list[dict[str, Any]] = []
    calls: dict[str, Callable[[Analytics], Any]] = {
        "alias": lambda a: a.alias("to", previous_id="from"),
        "group": lambda a: a.group("g", user_id="u", traits={"name": "Initech"}),
        "identify": lambda a: a.identify("u", traits={"friends": 42}),
        "page": lambda a: a.page("Home", category="Docs", user_id="u", properties={"url": "/"}),
        "screen": lambda a: a.screen("Inbox", category="Mail", anonymous_id="a"),
        "track": lambda a: a.track("Paid", user_id="u", properties={"revenue": 39.95}, integrations={"All": False}),
    }
    analytics = client()
    analytics.register(enrichment(name="looks")(lambda ctx: seen.append({**ctx.event})))
    calls[kind](analytics).wait(timeout=10)
    assert seen == api.events
    assert api.events[0]["type"] == kind


def test_nothing_is_delivered_while_a_critical_task_runs(api: Api, client: Make) -> None:
    """C61 (differs): only a critical plugin's loading holds events up, and then all of them are delivered."""
    gate, entered = threading.Event(), threading.Event()

    class Slow(Plugin):
        critical = True

        def load(self, ctx: Context, analytics: Any) -> None:
            entered.set()
            gate.wait(10)

    analytics = client(flush_at=1)
    loading = Background(analytics.register, Slow())
    assert entered.wait(10)
    for n in range(3):
        analytics.track(f"E{n}", user_id="u")
    assert api.stays_at(0, seconds=0.1)
    gate.set()
    loading.result()
    api.wait_for_events(3)


def test_an_event_that_is_delivered_gives_back_its_context(client: Make) -> None:
    """C56: the receipt's Context is the one that plugins had in hand."""
    seen: list[Context] = []
    analytics = client()
    analytics.register(enrichment(name="keeps")(seen.append))
    assert analytics.track("A", user_id="u").wait(timeout=10) is seen[0]


DENY: list[tuple[str, dict[str, Any], bool, bool]] = [
    ("C67", {"Mixpanel": False}, False, True),
    ("C68", {"All": False}, False, True),
    ("C69", {"Segment.io": False}, True, False),
    ("C70", {"All": False, "Mixpanel": True}, True, True),
    ("C71", {"All": False, "Mixpanel": True, "Other": False}, True, True),
    ("C72", {"All": False, "Mixpanel": {"distinct_id": 1}}, True, True),
]


@pytest.mark.parametrize(("_id", "integrations", "to_mixpanel", "to_segment"), DENY, ids=[row[0] for row in DENY])
def test_the_deny_list(
    api: Api, client: Make, _id: str, integrations: dict[str, Any], to_mixpanel: bool, to_segment: bool
) -> None:
    """C67-C72: which destinations an event's integrations let it go to."""
    seen = Heard()
    analytics = client()
    analytics.register(destination(name="Mixpanel")(seen))
    analytics.track("A", user_id="u", integrations=integrations).wait(timeout=10)
    assert (len(seen.calls), len(api.events)) == (to_mixpanel, to_segment)


def test_only_the_destination_that_failed_to_load_is_left_out(api: Api, client: Make) -> None:
    """C73, C85, C86: a destination whose `load` raises is reported and left out; `register` returns, others run."""
    errors, good, bad = Heard(), Heard(), Heard()

    class Bad(Plugin):
        type = "destination"
        track = staticmethod(bad)

        def load(self, ctx: Context, analytics: Any) -> None:
            raise ConnectionError("aaay")

    analytics = client()
    analytics.on("error", errors)
    analytics.register(Bad(), destination(name="Good")(good))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert (len(good.calls), len(bad.calls)) == (1, 0)
    assert [(e.code, e.reason.plugin) for (e,) in errors.calls] == [("plugin", "Bad")]


def test_a_failed_delivery_is_known_to_all(api: Api, client: Make) -> None:
    """C78-C83: the context carries the failure, an `error` event is emitted, and `after` sees it; success has none."""
    errors, seen = Heard(), []
    analytics = client()
    analytics.on("error", errors)
    analytics.register(after(name="after")(lambda ctx: seen.append(ctx.failed_delivery())))
    analytics.track("Good", user_id="u").wait(timeout=10)
    api.script(status(400))
    with pytest.raises(Rejected):
        analytics.track("Bad", user_id="u").wait(timeout=10)
    assert seen[0] is None
    assert isinstance(seen[1], Rejected)
    assert [error.code for (error,) in errors.wait_for(1)] == ["delivery_failure"]
    assert errors.calls[0][0].context.failed_delivery() is seen[1]


def test_a_faulty_before_stops_the_event(api: Api, client: Make) -> None:
    """C87: an event whose `before` plugin raises is not delivered."""
    analytics = client()
    analytics.register(before(name="faulty")(fails))
    with pytest.raises(PluginError, match="aaay"):
        analytics.track("A", user_id="u").wait(timeout=10)
    assert api.requests == []


@pytest.mark.parametrize("stage", [enrichment, destination, after], ids=["C88", "C89", "C90"])
def test_a_faulty_plugin_of_another_type_does_not(api: Api, client: Make, stage: Any) -> None:
    """C88, C89, C90: it is reported, the event is delivered, and the others run."""
    errors, other = Heard(), Heard()
    analytics = client()
    analytics.on("error", errors)
    analytics.register(stage(name="faulty")(fails), stage(name="other")(other))
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.flush(timeout=10)
    assert (len(api.events), len(other.calls)) == (1, 1)
    assert [(e.code, e.reason.plugin) for (e,) in errors.calls] == [("plugin", "faulty")]


def test_later_plugins_see_earlier_changes(api: Api, client: Make) -> None:
    """C91: what `before` and `enrichment` change, those after them see."""
    analytics = client()
    analytics.register(
        enrichment(name="b")(lambda ctx: ctx.update_event("traits.b", ctx.event["traits"]["a"] + 1) and None),
        before(name="a")(lambda ctx: ctx.update_event("traits.a", 1) and None),
    )
    analytics.identify("u").wait(timeout=10)
    assert api.events[0]["traits"] == {"a": 1, "b": 2}


def test_order_is_by_type(client: Make) -> None:
    """C92: before, enrichment, destination, whatever the order of registration."""
    order: list[str] = []
    analytics = client()
    for stage in (after, destination, enrichment, before):
        name = stage.__name__
        analytics.register(stage(name=name)(lambda ctx, name=name: order.append(name)))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert order == ["before", "enrichment", "destination", "after"]


@pytest.mark.parametrize("stage", [before, enrichment], ids=["before", "enrichment"])
def test_a_cancellation_is_final(api: Api, client: Make, stage: Any) -> None:
    """C63, C64 (differs): `ctx.cancel` drops the event, in `enrichment` too; nothing tries it again."""
    calls = Heard()

    def cancel(ctx: Context) -> None:
        calls(ctx)
        ctx.cancel("no consent")

    analytics = client(max_retries=3)
    analytics.register(stage(name="consent")(cancel))
    receipt = analytics.track("A", user_id="u")
    with pytest.raises(Dropped, match="no consent"):
        receipt.wait(timeout=10)
    assert len(calls.calls) == 1
    assert receipt.context().attempts == 0
    assert api.requests == []
