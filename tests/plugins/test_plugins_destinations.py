"""Selecting destinations: what an event's `integrations` decide, and what each destination gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, Context, Dropped, Plugin, PluginError, before, destination, enrichment
from support.api import Api, status
from support.background import Heard

Make = Callable[..., Analytics]

SELECTION: list[tuple[dict[str, Any], bool, bool]] = [
    # integrations, whether Vero gets it, whether the Tracking API does
    ({}, True, True),
    ({"All": True}, True, True),
    ({"All": False}, False, True),
    ({"All": False, "Vero": True}, True, True),
    ({"All": False, "Vero": {"id": 7}}, True, True),
    ({"All": False, "Vero": {}}, True, True),
    ({"Vero": False}, False, True),
    ({"All": True, "Vero": False}, False, True),
    ({"vero": False}, True, True),
    ({"All": False, "vero": True}, False, True),
    ({"all": False}, True, True),
    ({"Google Analytics": False}, True, True),
    ({"Segment.io": False}, True, False),
    ({"segment.io": False}, True, True),
    ({"All": False, "Segment.io": True}, False, True),
    ({"All": False, "Segment.io": False, "Vero": True}, True, False),
    ({"Vero Classic": False}, False, True),
    ({"All": False, "Vero Classic": True}, True, True),
    ({"All": False, "Vero Old": {"id": 7}}, True, True),
    ({"Vero": True, "Vero Classic": False}, True, True),
    ({"Vero": False, "Vero Classic": True}, False, True),
    ({"Vero Classic": False, "Vero Old": True}, True, True),  # of several other names the last one counts
    ({"Vero": None}, True, True),  # only `false` keeps an event away
    ({"Vero": 0}, True, True),
]


@pytest.mark.parametrize(("integrations", "to_vero", "to_segment"), SELECTION, ids=repr)
def test_integrations_decide(
    api: Api, client: Make, probe: Any, integrations: dict[str, Any], to_vero: bool, to_segment: bool
) -> None:
    """Its name, one of its other names, `All`: `false` keeps an event away; the object itself travels unchanged."""
    vero = probe("destination", "Vero", alternative_names=["Vero Classic", "Vero Old"])
    analytics = client()
    analytics.register(vero)
    analytics.track("A", user_id="u", integrations=integrations).wait(timeout=10)
    assert len(vero.seen) == to_vero
    assert len(api.events) == to_segment
    if to_segment:
        assert api.events[0]["integrations"] == integrations


def test_what_the_settings_say_of_integrations_counts_for_every_event(api: Api, client: Make, probe: Any) -> None:
    """The client's own `integrations` decide where an event goes that says nothing of them."""
    one, two = probe("destination", "one"), probe("destination", "two")
    analytics = client(integrations={"one": False, "Segment.io": False})
    analytics.register(one, two)
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.track("B", user_id="u", integrations={"one": True, "Segment.io": True}).wait(timeout=10)
    assert [event["event"] for event in one.seen] == ["B"]
    assert [event["event"] for event in two.seen] == ["A", "B"]
    assert [event["event"] for event in api.events] == ["B"]


def test_only_destinations_are_selected(client: Make, probe: Any) -> None:
    """The other types of plugin run for every event, whatever its integrations say of their names."""
    plugins = [probe(stage) for stage in ("before", "enrichment", "after")]
    analytics = client()
    analytics.register(*plugins)
    integrations = {"All": False, "before": False, "enrichment": False, "after": False}
    analytics.track("A", user_id="u", integrations=integrations).wait(timeout=10)
    assert [len(plugin.seen) for plugin in plugins] == [1, 1, 1]


def test_an_object_is_handed_over_as_options(client: Make) -> None:
    """What the integrations hold for a destination, under any of its names or `All`, is `ctx.options`."""
    options: dict[str, Any] = {}

    def named(name: str, *others: str) -> Plugin:
        plugin = destination(name=name)(lambda ctx: options.update({name: ctx.options}))
        plugin.alternative_names = others
        return plugin

    analytics = client()
    analytics.register(named("A", "B"), named("C"), named("D"))
    given = {"B": {"id": 1}, "C": True, "All": {"for": "all"}}
    analytics.track("X", user_id="u", integrations=given).wait(timeout=10)
    assert options == {"A": {"id": 1}, "C": {}, "D": {"for": "all"}}


def test_before_and_enrichment_may_change_the_selection(api: Api, client: Make, probe: Any) -> None:
    """The integrations count as they are when `before` and `enrichment` are through."""
    one, two = probe("destination", "One"), probe("destination", "Two")
    analytics = client()
    analytics.register(
        one,
        two,
        before(name="not to one")(lambda ctx: ctx.update_event("integrations.One", False) and None),
        enrichment(name="but to two")(lambda ctx: ctx.update_event("integrations.Two", {"x": 1}) and None),
    )
    analytics.track("A", user_id="u", integrations={"All": False}).wait(timeout=10)
    assert (len(one.seen), len(two.seen)) == (0, 1)
    assert api.events[0]["integrations"] == {"All": False, "One": False, "Two": {"x": 1}}


def test_what_a_call_switched_off_no_plugin_switches_on(client: Make, probe: Any) -> None:
    """`update_event` never overrides an integration that is false; a setting's default gives way to the call."""
    vero = probe("destination", "Vero")
    analytics = client(integrations={"Vero": True})
    analytics.register(vero, enrichment(name="on")(lambda ctx: ctx.update_event("integrations.Vero", True) and None))
    analytics.track("A", user_id="u", integrations={"Vero": False}).wait(timeout=10)
    assert vero.seen == []


# -- side by side -------------------------------------------------------------------------------------


def test_destinations_cannot_change_what_others_see(api: Api, client: Make) -> None:
    """Neither the event nor the options that one destination changes are another's, the wire's, or the receipt's."""
    seen: list[tuple[str, Any]] = []

    class Meddler(Plugin):
        type = "destination"

        def __init__(self, name: str) -> None:
            self.name = name

        def track(self, ctx: Context) -> None:
            seen.append((ctx.event["event"], dict(ctx.options)))
            ctx.event["event"] = "Meddled"
            ctx.event["integrations"]["All"] = False
            ctx.options["id"] = "Meddled"  # type: ignore[index]

    after = Heard()
    analytics = client()
    analytics.register(Meddler("One"), Meddler("Two"), enrichment(name="looks")(lambda ctx: ctx.event and None))
    analytics.track("A", user_id="u", integrations={"All": {"id": 1}}, callback=after).wait(timeout=10)
    assert seen == [("A", {"id": 1})] * 2
    assert api.events[0]["event"] == "A"
    assert after.wait_for()[0][1].event["integrations"] == {"All": {"id": 1}}


def test_a_destination_that_fails_stops_nobody(api: Api, client: Make, probe: Any) -> None:
    """The others and the Tracking API get the event; the failure is reported and kept in `deliveries`."""

    def fails(ctx: Context) -> None:
        raise OSError("down")

    errors, other = Heard(), probe("destination", "Other")
    analytics = client()
    analytics.on("error", errors)
    analytics.register(probe("destination", "Down", does=fails), other)
    context = analytics.track("A", user_id="u").wait(timeout=10)
    assert len(other.seen) == len(api.events) == 1
    assert {name: outcome.kind for name, outcome in context.deliveries.items()} == {
        "Down": "failed",
        "Other": "delivered",
        "Segment.io": "delivered",
    }
    assert [(error.code, error.reason.plugin) for (error,) in errors.calls] == [("plugin", "Down")]


# -- the outcome --------------------------------------------------------------------------------------

GOOD, FAILS, DROPS = "good", "fails", "drops"
OUTCOMES = [
    ([GOOD], "delivered"),
    ([FAILS], "failed"),
    ([DROPS], "dropped"),
    ([GOOD, FAILS], "failed"),
    ([DROPS, FAILS], "failed"),
    ([GOOD, DROPS], "delivered"),
    ([], "dropped"),
]


@pytest.mark.parametrize(("does", "kind"), OUTCOMES)
def test_without_the_tracking_api_the_destinations_decide(api: Api, client: Make, does: list[str], kind: str) -> None:
    """Away from the Tracking API an event has failed if any destination failed, and is dropped if none took it."""

    def hook(what: str) -> Callable[[Context], None]:
        def run(ctx: Context) -> None:
            if what == FAILS:
                raise OSError("down")
            if what == DROPS:
                ctx.cancel("not mine")

        return run

    analytics = client()
    analytics.register(*(destination(name=f"D{n}")(hook(what)) for n, what in enumerate(does)))
    receipt = analytics.track("A", user_id="u", integrations={"Segment.io": False})
    analytics.flush(timeout=10)
    assert receipt.outcome is not None
    assert receipt.outcome.kind == kind
    assert api.requests == []
    if kind != "delivered":
        with pytest.raises(PluginError if kind == "failed" else Dropped):
            receipt.wait(timeout=10)


def test_an_event_that_may_go_nowhere_is_dropped_without_any_plugin(api: Api, client: Make) -> None:
    """`{"Segment.io": False}` without a destination to go to drops the event, and its receipt says so."""
    analytics = client()
    receipt = analytics.track("A", user_id="u", integrations={"Segment.io": False})
    analytics.flush(timeout=10)
    with pytest.raises(Dropped, match="none of the destinations"):
        receipt.wait(timeout=10)
    assert api.requests == []


def test_the_tracking_api_decides_where_the_event_goes_there(api: Api, client: Make, probe: Any) -> None:
    """What became of the event at the Tracking API is its outcome, whatever plugins said."""
    api.always = status(400)
    vero = probe("destination", "Vero")
    analytics = client()
    analytics.register(vero)
    receipt = analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    assert receipt.outcome is not None
    assert receipt.outcome.kind == "failed"
    assert len(vero.seen) == 1
