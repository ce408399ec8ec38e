"""What plugins do to an event: order, failure, dropping, destinations, and what travels in the end."""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from millstream import (
    Analytics,
    Context,
    DropEvent,
    Dropped,
    EventTooLarge,
    Plugin,
    PluginError,
    Rejected,
    destination,
    enrichment,
)
from support.api import Api, status
from support.background import Heard

Make = Callable[..., Analytics]
PAGE = Path(__file__).parents[2] / "docs/reference/plugins.md"
TYPES = ("before", "enrichment", "destination", "after")


class Broken(Exception):
    pass


def raises(ctx: Context) -> None:
    raise Broken("on purpose")


def cancels(ctx: Context) -> None:
    ctx.cancel("not wanted")


# -- the table of the documentation -------------------------------------------------------------------

FAILURES = {
    "the event fails with `PluginError`": "failed",
    "the event is dropped": "dropped",
    "reported, the event goes on": "reported",
    "reported, the others go on": "reported",
    "noted, the others go on": "noted",
    "reported": "reported",
    "the context is kept": "delivered",
    "nothing": "delivered",
}
DOES: dict[str, Callable[[Context], Any]] = {
    "a hook raises": raises,
    "a hook calls `ctx.cancel(reason)`": cancels,
    "a hook returns nothing": lambda ctx: None,
}


def cells() -> list[tuple[str, str, str]]:
    """Type, what its hook does, and what comes of it: as the page says."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    (head,) = [row for row in rows if row[0] == "type" and "a hook raises" in row]
    body = {re.sub("`", "", row[0]): row for row in rows if len(row) == len(head) and row[0].strip("`") in TYPES}
    return [(stage, head[n], body[stage][n]) for stage in TYPES for n in range(1, len(head))]


def test_the_page_has_all_cells() -> None:
    """Four types and three things that a hook can do make twelve cells, and each says something that is known."""
    assert [cell for cell in cells() if cell[2] not in FAILURES or cell[1] not in DOES] == []
    assert len(cells()) == 12


@pytest.mark.parametrize(("stage", "does", "says"), cells())
def test_the_failure_table_is_true(api: Api, client: Make, probe: Any, stage: str, does: str, says: str) -> None:
    """Each cell of the table on the page is what happens."""
    errors = Heard()
    analytics = client()
    analytics.on("error", errors)
    others = [probe(each, f"other {each}") for each in TYPES]
    analytics.register(probe(stage, "mine", does=DOES[does]), *others)
    receipt = analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    outcome = receipt.outcome
    assert outcome is not None
    expected = FAILURES[says]
    reasons = [(error.code, type(error.reason)) for (error,) in errors.calls]
    assert reasons == {
        "failed": [("delivery_failure", PluginError)],
        "dropped": [("dropped", Dropped)],
        "reported": [("plugin", PluginError)],
    }.get(expected, [])
    goes_on = expected not in {"failed", "dropped"}
    assert outcome.kind == ("delivered" if goes_on else expected)
    assert len(api.events) == goes_on
    # Who comes later sees it only if it goes on; `after` plugins see what went out, and what became of it.
    later = others[TYPES.index(stage) :] if stage != "before" else others
    assert [len(other.seen) for other in later] == [int(goes_on)] * len(later)
    if expected == "noted":
        assert outcome.kind == "delivered"
        assert isinstance(receipt.context().deliveries["mine"].error, Dropped)
    if expected == "failed":
        assert isinstance(outcome.error, PluginError)
        assert isinstance(outcome.error.__cause__, Broken)
        assert "mine" in str(outcome.error)
        assert "on purpose" in str(outcome.error)


def test_a_utility_has_no_hooks_that_run(client: Make, probe: Any) -> None:
    """A plugin of type `utility` is loaded once, and sees no event."""
    loads = Heard()
    utility = probe("utility", load=loads)
    analytics = client()
    analytics.register(utility)
    analytics.track("A", user_id="u").wait(timeout=10)
    assert len(loads.calls) == 1
    assert utility.seen == []


# -- order ------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_types_and_within_one_that_of_registration(client: Make, probe: Any) -> None:
    """Before, enrichment, destination, after: whatever the order of registration; and then first come, first served."""
    order: list[str] = []

    def plugin(stage: str, name: str) -> Any:
        return probe(stage, name, does=lambda ctx: order.append(name))

    analytics = client()
    analytics.register(plugin("after", "a1"), plugin("destination", "d1"), plugin("enrichment", "e1"))
    analytics.register(plugin("before", "b1"), plugin("enrichment", "e2"), plugin("before", "b2"))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert order == ["b1", "b2", "e1", "e2", "d1", "a1"]


def test_after_sees_the_outcome(api: Api, client: Make) -> None:
    """An `after` hook comes when the delivery has its outcome: attempts, error, and what each destination said."""
    seen: list[tuple[int, Any, dict[str, Any]]] = []

    class After(Plugin):
        type = "after"

        def track(self, ctx: Context) -> None:
            seen.append((ctx.attempts, ctx.failed_delivery(), {k: v.kind for k, v in ctx.deliveries.items()}))

    analytics = client()
    analytics.register(After(), destination(name="Other")(lambda ctx: None))
    analytics.track("Good", user_id="u").wait(timeout=10)
    api.script(status(400))
    with pytest.raises(Rejected):
        analytics.track("Bad", user_id="u").wait(timeout=10)
    assert seen[0] == (1, None, {"Other": "delivered", "Segment.io": "delivered"})
    assert isinstance(seen[1][1], Rejected)
    assert seen[1][2] == {"Other": "delivered", "Segment.io": "failed"}


def test_plugins_see_what_those_before_them_have_changed(api: Api, client: Make, probe: Any) -> None:
    """Changes travel: through `before` and `enrichment` to the destinations and the wire."""
    last = probe("destination")
    analytics = client()
    analytics.register(
        probe("enrichment", "two", does=lambda ctx: ctx.update_event("event", ctx.event["event"] + "2") and None),
        probe("before", "one", does=lambda ctx: ctx.update_event("event", ctx.event["event"] + "1") and None),
        last,
    )
    analytics.track("A", user_id="u").wait(timeout=10)
    assert last.seen[0]["event"] == api.events[0]["event"] == "A12"


def test_each_kind_of_event_has_its_hook(client: Make) -> None:
    """All six kinds of call go through the hook of their name."""
    kinds: list[str] = []
    analytics = client()
    analytics.register(enrichment(name="All kinds")(lambda ctx: kinds.append(ctx.event["type"])))
    analytics.identify("u")
    analytics.track("A", user_id="u")
    analytics.page("Home", user_id="u")
    analytics.screen("Home", user_id="u")
    analytics.group("g", user_id="u")
    analytics.alias("u", previous_id="v")
    analytics.flush(timeout=10)
    assert kinds == ["identify", "track", "page", "screen", "group", "alias"]


# -- what a hook can do to the event -------------------------------------------------------------------


def test_a_change_of_the_dict_itself_counts(api: Api, client: Make) -> None:
    """A plugin may change `ctx.event` in place, or put another dict there."""

    @enrichment(name="in place")
    def in_place(ctx: Context) -> None:
        ctx.event["properties"]["a"] = 1
        del ctx.event["properties"]["secret"]

    @enrichment(name="another")
    def another(ctx: Context) -> None:
        ctx.event = {**ctx.event, "event": "Renamed"}

    analytics = client()
    analytics.register(in_place, another)
    context = analytics.track("A", user_id="u", properties={"secret": 1}).wait(timeout=10)
    assert api.events[0]["properties"] == {"a": 1}
    assert api.events[0]["event"] == context.event["event"] == "Renamed"


def test_another_context_that_is_returned_is_taken_over(api: Api, client: Make) -> None:
    """A hook may return a context of its own: its event goes on, with what was noted there."""

    @enrichment(name="fresh")
    def fresh(ctx: Context) -> Context:
        other = Context(ctx.data, ctx.id)
        other.event["event"] = "Fresh"
        other.log("info", "made anew")
        return other

    analytics = client()
    analytics.register(fresh)
    context = analytics.track("A", user_id="u").wait(timeout=10)
    assert api.events[0]["event"] == "Fresh"
    assert [entry.message for entry in context.logs()] == ["made anew"]


@pytest.mark.parametrize("returned", [{"event": "A"}, True, "ctx"], ids=repr)
def test_a_hook_that_returns_something_else_is_reported(api: Api, client: Make, returned: Any) -> None:
    """What is neither the context nor nothing counts as raised, and the message says what came."""
    errors = Heard()
    analytics = client()
    analytics.on("error", errors)
    analytics.register(enrichment(name="odd")(lambda ctx: returned))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert type(returned).__name__ in str(errors.calls[0][0].reason)


@pytest.mark.parametrize("stage", ["enrichment", "destination"])
def test_a_hook_that_is_async_in_disguise_is_reported(client: Make, probe: Any, stage: str) -> None:
    """A function that returns a coroutine has done nothing: that is said, not passed over."""

    async def hook(ctx: Context) -> None:
        pass

    errors = Heard()
    analytics = client()
    analytics.on("error", errors)
    analytics.register(probe(stage, does=hook))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analytics.track("A", user_id="u").wait(timeout=10)
        gc.collect()
    assert "coroutine" in str(errors.calls[0][0].reason)
    assert "AsyncAnalytics" in str(errors.calls[0][0].reason)


@pytest.mark.parametrize("exc", [SystemExit("bye"), KeyboardInterrupt(), GeneratorExit(), DropEvent("mine")], ids=repr)
def test_nothing_that_a_hook_raises_ends_the_worker(api: Api, client: Make, probe: Any, exc: BaseException) -> None:
    """Not even `sys.exit()` in a hook loses an event or stops the delivery of the next."""

    def hook(ctx: Context) -> None:
        if ctx.event["event"] == "A":
            raise exc

    analytics = client()
    analytics.register(probe("before", does=hook))
    first = analytics.track("A", user_id="u")
    analytics.track("B", user_id="u").wait(timeout=10)
    analytics.flush(timeout=10)
    assert first.done()
    assert [event["event"] for event in api.events] == ["B"]


def test_an_exception_that_cannot_be_printed_loses_no_event(api: Api, client: Make, probe: Any) -> None:
    """An exception whose text raises in turn is reported by its type."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def hook(ctx: Context) -> None:
        raise Mute

    analytics = client()
    analytics.register(probe("before", does=hook))
    with pytest.raises(PluginError, match="Mute"):
        analytics.track("A", user_id="u").wait(timeout=10)


def test_a_plugin_can_record_events_of_its_own(api: Api, client: Make) -> None:
    """A hook may call the client: what it records goes the same way, and does not wait for the hook."""
    analytics = client()

    @enrichment(events=["identify"])
    def also(ctx: Context) -> None:
        analytics.track("Identified", user_id=ctx.event["userId"])

    analytics.register(also)
    analytics.identify("u").wait(timeout=10)
    analytics.flush(timeout=10)
    assert [event["type"] for event in api.events] == ["identify", "track"]


# -- dropping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["before", "enrichment"])
@pytest.mark.parametrize("how", ["cancel", "DropEvent"])
def test_dropping_is_explicit(api: Api, client: Make, probe: Any, stage: str, how: str) -> None:
    """`ctx.cancel` and `DropEvent` drop the event: its receipt says why, the counters know, and nothing is sent."""

    def drop(ctx: Context) -> None:
        try:
            if how == "cancel":
                ctx.cancel("a test account")
            raise DropEvent("a test account")  # noqa: TRY301
        except Exception:  # the decision is no Exception, which somebody's broad handler would swallow
            pytest.fail("swallowed")

    analytics = client()
    analytics.register(probe(stage, does=drop))
    receipt = analytics.track("A", user_id="u")
    with pytest.raises(Dropped, match="a test account"):
        receipt.wait(timeout=10)
    stats = analytics.stats()
    assert (stats.dropped, stats.pending, stats.failed) == (1, 0, 0)
    assert api.requests == []
    assert [entry.message for entry in receipt.context().logs()][-1] == f"dropped by {stage}: a test account"


# -- what travels in the end ---------------------------------------------------------------------------


def test_what_nobody_looks_at_is_not_decoded(api: Api, client: Make, probe: Any) -> None:
    """An event that plugins only pass on keeps its bytes: no plugin that does not look costs a decoding."""
    looked: list[bool] = []
    seen: list[bool] = []
    analytics = client()
    for stage in TYPES:
        plugin = enrichment(name=stage)(lambda ctx: looked.append(ctx._looked_at))
        plugin.type = stage
        analytics.register(plugin)
    analytics.track("A", user_id="u", integrations={"destination": {"a": 1}}).wait(timeout=10)
    assert looked == [False] * 4
    assert seen == []


@pytest.mark.parametrize("kind", ["too large", "unencodable", "no user", "no dict", "integrations"])
def test_what_a_plugin_has_spoilt_fails_with_the_reason(api: Api, client: Make, probe: Any, kind: str) -> None:
    """An event that a plugin made too large, unencodable or unsendable fails by name and path; the others go out."""

    def spoil(ctx: Context) -> None:
        if ctx.event["event"] != "Spoilt":
            return
        match kind:
            case "too large":
                ctx.update_event("properties.html", "x" * 33_000)
            case "unencodable":
                ctx.update_event("properties.connection", object())
            case "no user":
                del ctx.event["userId"]
            case "no dict":
                ctx.event = ["A"]  # type: ignore[assignment]
            case "integrations":
                ctx.event["integrations"] = "none"

    errors = {
        "too large": (EventTooLarge, "properties.html"),
        "unencodable": (PluginError, "properties.connection"),
        "no user": (PluginError, "user"),
        "no dict": (PluginError, "list"),
        "integrations": (PluginError, "integrations"),
    }
    analytics = client()
    analytics.register(probe("enrichment", "Spoiler", does=spoil))
    receipts = [analytics.track(name, user_id="u") for name in ("Good", "Spoilt", "Also Good")]
    analytics.flush(timeout=10)
    error, words = errors[kind]
    with pytest.raises(error, match=words) as caught:
        receipts[1].wait(timeout=10)
    if error is PluginError:
        assert caught.value.plugin == "Spoiler"
    assert [event["event"] for event in api.events] == ["Good", "Also Good"]


def test_an_event_that_a_plugin_made_smaller_is_measured_anew(client: Make, probe: Any) -> None:
    """The queue's bytes follow what plugins make of an event, up and down, to zero in the end."""
    analytics = client()
    analytics.register(probe("enrichment", does=lambda ctx: ctx.update_event("properties", {}) and None))
    for n in range(5):
        analytics.track(f"E{n}", user_id="u", properties={"x": "y" * 1000})
    analytics.flush(timeout=10)
    assert analytics.stats().queue_bytes == 0


def test_the_id_and_the_time_of_an_event_come_back(api: Api, client: Make) -> None:
    """If a plugin takes away `messageId` or `timestamp`, the event still has those of its call."""

    @enrichment(name="careless")
    def careless(ctx: Context) -> None:
        del ctx.event["messageId"], ctx.event["timestamp"]

    analytics = client()
    analytics.register(careless)
    receipt = analytics.track("A", user_id="u", timestamp="2024-02-16T10:00:00.000Z")
    receipt.wait(timeout=10)
    assert api.events[0]["messageId"] == receipt.message_id
    assert api.events[0]["timestamp"] == "2024-02-16T10:00:00.000Z"


def test_a_number_that_no_float_holds_survives_plugins(api: Api, client: Make, probe: Any) -> None:
    """Money stays exact, also where a plugin has looked at the event."""
    analytics = client()
    analytics.register(probe("enrichment", does=lambda ctx: ctx.update_event("properties.seen", True) and None))
    analytics.track("A", user_id="u", properties={"total": Decimal("12345678901234567.89"), "n": 2**63 + 1})
    analytics.flush(timeout=10)
    body = api.requests[0].body
    assert b"12345678901234567.89" in body
    assert str(2**63 + 1).encode() in body


def test_what_a_plugin_keeps_of_an_event_changes_nothing_later(api: Api, client: Make) -> None:
    """A plugin that holds on to `ctx.event` and changes it after its hook reaches neither the wire nor anybody."""
    kept: list[dict[str, Any]] = []
    analytics = client()
    analytics.register(
        enrichment(name="keeps")(lambda ctx: kept.append(ctx.event)),
        destination(name="meddles")(lambda ctx: kept[0].update(event="Meddled")),
    )
    context = analytics.track("A", user_id="u").wait(timeout=10)
    assert api.events[0]["event"] == context.event["event"] == "A"


# -- fork -------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_plugins_run_on_both_sides_of_a_fork(api: Api, client: Make, probe: Any) -> None:
    """A child has the plugins of its parent, in their order, and needs not register them again."""
    analytics = client(flush_at=1)
    analytics.register(
        probe("before", "one", does=lambda ctx: ctx.update_event("properties.order", "1") and None),
        probe("enrichment", "two", does=lambda ctx: ctx.update_event("properties.order", "12") and None),
        probe("utility"),
    )
    analytics.track("Parent", user_id="u").wait(timeout=10)
    child = os.fork()
    if child == 0:
        try:
            analytics.track("Child", user_id="u").wait(timeout=10)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [(e["event"], e["properties"]) for e in api.events] == [
        ("Parent", {"order": "12"}),
        ("Child", {"order": "12"}),
    ]


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_halted_parent_is_halted(api: Api, client: Make, probe: Any) -> None:
    """What could not be loaded in the parent is not loaded in the child: nothing is delivered there either."""

    def load(ctx: Any, analytics: Any) -> None:
        raise Broken

    analytics = client(flush_at=1)
    with pytest.raises(PluginError):
        analytics.register(probe("before", critical=True, load=load))
    child = os.fork()
    if child == 0:
        try:
            analytics.track("Child", user_id="u")
            os._exit(0 if len(analytics.close_and_flush(timeout=5).unsent) == 1 else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert api.requests == []
