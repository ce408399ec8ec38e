"""Registering and deregistering: what is checked at once, what loading does, what `critical` means."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import millstream
from millstream import Abandoned, Analytics, Context, MillstreamError, Plugin, PluginError, SettingsError
from support.api import Api
from support.background import Background, Heard

Make = Callable[..., Analytics]


def made(**attributes: Any) -> Any:
    """An object with a name, a type, and these attributes."""
    return SimpleNamespace(**{"name": "Mine", "type": "enrichment", **attributes})


async def awaiting(ctx: Context) -> None:
    pass


def yielding(ctx: Context) -> Any:
    yield ctx


class AwaitingObject:
    async def __call__(self, ctx: Context) -> None:
        pass


# -- what is checked --------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "a class": (Plugin, ("Plugin()",)),
    "no name": (SimpleNamespace(type="before"), ("name",)),
    "an empty name": (made(name=""), ("name",)),
    "a name that is no text": (made(name=5), ("name",)),
    "the name of the Tracking API": (made(name="Segment.io"), ("Segment.io",)),
    "the name of all": (made(name="All"), ("All",)),
    "no type": (SimpleNamespace(name="Mine"), ("Mine", "None", "before, enrichment, destination, after, utility")),
    "an unknown type": (made(type="enrichement"), ("Mine", "enrichement", "before, enrichment")),
    "a hook that is no function": (made(track="x"), ("Mine", "track", "(ctx)", "str")),
    "a hook without an argument": (made(track=lambda: None), ("Mine", "track", "(ctx)")),
    "a hook with two arguments": (made(page=lambda ctx, more: None), ("Mine", "page", "(ctx)", "more")),
    "a hook with a keyword it needs": (made(group=lambda ctx, *, key: None), ("Mine", "group", "key")),
    "a load with one argument": (made(load=lambda ctx: None), ("Mine", "load", "(ctx, analytics)")),
    "an unload without any": (made(unload=lambda: None), ("Mine", "unload", "(ctx, analytics)")),
    "an is_loaded with one": (made(is_loaded=lambda ctx: True), ("Mine", "is_loaded", "()")),
    "an async hook": (made(track=awaiting), ("Mine", "track", "async def", "plain `def`", "AsyncAnalytics")),
    "an async hook in a partial": (made(track=functools.partial(awaiting)), ("Mine", "track", "async def")),
    "an async hook that is an object": (made(track=AwaitingObject()), ("Mine", "track", "async def")),
    "an async load": (made(load=awaiting), ("Mine", "load", "async def")),
    "a hook that yields": (made(track=yielding), ("Mine", "track", "yield")),
    "other names as one text": (made(alternative_names="Other"), ("Mine", "alternative_names", "list")),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_plugin_is_refused_at_once(client: Make, what: str) -> None:
    """Each mistake raises SettingsError in `register`, which names the plugin, what is wrong, and the remedy."""
    plugin, words = WRONG[what]
    with pytest.raises(SettingsError) as caught:
        client().register(plugin)
    assert [word for word in words if word not in str(caught.value)] == []


def test_one_wrong_plugin_keeps_the_others_out(client: Make) -> None:
    """If any of the plugins is refused, none of them is loaded or registered."""
    loaded: list[str] = []
    analytics = client()
    with pytest.raises(SettingsError):
        analytics.register(made(load=lambda ctx, analytics: loaded.append("Mine")), made(name="Bad", type="x"))
    assert loaded == []
    with pytest.raises(MillstreamError, match="registered: none"):
        analytics.deregister("Mine")


@pytest.mark.parametrize("second", ["later", "in the same call"])
def test_a_name_is_taken_once(client: Make, second: str) -> None:
    """Two plugins of one name cannot be told apart by `deregister` and `integrations`: the second is refused."""
    analytics = client()
    plugins = [made(), made()]
    if second == "later":
        analytics.register(plugins.pop())
    with pytest.raises(SettingsError, match=r"'Mine' is registered already"):
        analytics.register(*plugins)


def test_a_wrong_decorator_argument_is_refused() -> None:
    """A kind of event that there is not would make a function that is never called."""
    with pytest.raises(SettingsError, match="trakc"):
        millstream.enrichment(events=["trakc"])(lambda ctx: ctx)


@pytest.mark.parametrize(
    "plugin", [made(track=lambda ctx, more=1: None), made(track=lambda *args: None), made(track=print)]
)
def test_a_hook_may_take_more_than_it_must(client: Make, plugin: Any) -> None:
    """Defaults, `*args` and built-ins are as good as `(ctx)`."""
    client().register(plugin)


# -- the shapes that a plugin can have -----------------------------------------------------------------


def test_a_class_is_named_after_itself(api: Api, client: Make) -> None:
    """A subclass of Plugin needs a type and a hook; its name is the class's unless it says otherwise."""

    class Lower(Plugin):
        def track(self, ctx: Context) -> Context:
            ctx.update_event("event", ctx.event["event"].lower())
            return ctx

    class Named(Lower):
        name = "Another Name"

    assert (Lower().name, Named().name) == ("Lower", "Another Name")
    analytics = client()
    analytics.register(Lower())
    analytics.track("SIGNED UP", user_id="u").wait(timeout=10)
    assert api.events[0]["event"] == "signed up"


def test_an_object_without_a_base_class_is_a_plugin(api: Api, client: Make) -> None:
    """A name, a type and a hook are enough: `load`, `unload`, `is_loaded` and `critical` may be absent."""
    seen = Heard()
    analytics = client()
    analytics.register(made(track=seen))
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.deregister("Mine")
    assert len(seen.calls) == 1
    assert len(api.events) == 1


def test_a_function_is_a_plugin(api: Api, client: Make) -> None:
    """Each decorator makes a plugin of its type, which is the hook for all six kinds and still can be called."""
    for stage in ("before", "enrichment", "destination", "after"):

        @getattr(millstream, stage)
        def fn(ctx: Context) -> None:
            """Does nothing."""

        assert (fn.name, fn.type) == ("fn", stage)
        assert [
            kind for kind in ("track", "identify", "page", "screen", "group", "alias") if not hasattr(fn, kind)
        ] == []
        assert fn(Context(b"{}", "")) is None


def test_a_function_can_be_for_some_events_only(client: Make) -> None:
    """`events=` says for which kinds of event it is called, and `name=` what it is called itself."""
    seen = Heard()
    plugin = millstream.enrichment(name="Pages", events=["page", "screen"])(seen)
    analytics = client()
    analytics.register(plugin)
    analytics.track("A", user_id="u")
    analytics.page("Home", user_id="u")
    analytics.flush(timeout=10)
    assert plugin.name == "Pages"
    assert [ctx.event["type"] for (ctx,) in seen.calls] == ["page"]


def test_a_utility_function_runs_once(client: Make) -> None:
    """Under `@utility` a function is called by `register`, once, with the client; it sees no event."""
    calls: list[Any] = []

    @millstream.utility
    def augment(ctx: Context, analytics: Analytics) -> None:
        calls.append(analytics)

    analytics = client()
    analytics.register(augment)
    analytics.track("A", user_id="u").wait(timeout=10)
    assert calls == [analytics]


# -- loading ----------------------------------------------------------------------------------------


def test_register_waits_for_loading(client: Make) -> None:
    """`register` returns when all have been loaded, in order, each with a Context and the client."""
    loaded: list[Any] = []
    load = lambda ctx, analytics: loaded.append((type(ctx), analytics))  # noqa: E731
    analytics = client()
    analytics.register(made(name="A", load=load), made(name="B", load=load))
    assert loaded == [(Context, analytics)] * 2


def test_events_come_and_go_while_a_plugin_loads(api: Api, client: Make) -> None:
    """A plugin that is not critical holds up nothing: what is recorded while it loads goes out without it."""
    gate, seen = threading.Event(), Heard()
    analytics = client(flush_at=1)
    loading = Background(analytics.register, made(load=lambda ctx, a: gate.wait(10), track=seen))
    analytics.track("Meanwhile", user_id="u").wait(timeout=10)
    gate.set()
    loading.result()
    analytics.track("Later", user_id="u").wait(timeout=10)
    assert [ctx.event["event"] for (ctx,) in seen.calls] == ["Later"]


def broken(ctx: Any, analytics: Any) -> None:
    raise ConnectionError("no licence")


FAILING = {
    "load raises": {"load": broken},
    "load cancels": {"load": lambda ctx, analytics: ctx.cancel("no")},
    "is_loaded says no": {"is_loaded": lambda: False},
}


@pytest.mark.parametrize("how", FAILING)
def test_a_plugin_that_cannot_be_loaded_is_left_out(api: Api, client: Make, how: str) -> None:
    """Its failure is an `error` event; the others are registered, `register` returns, and delivery goes on."""
    errors, names, seen = Heard(), Heard(), Heard()
    analytics = client()
    analytics.on("error", errors)
    analytics.on("register", names)
    analytics.register(made(name="Bad", track=seen, **FAILING[how]), made(name="Good"))
    analytics.track("A", user_id="u").wait(timeout=10)
    ((error,),) = errors.calls
    assert (error.code, error.reason.plugin) == ("plugin", "Bad")
    assert names.calls == [(["Good"],)]
    assert seen.calls == []
    with pytest.raises(MillstreamError, match="registered: Good"):
        analytics.deregister("Bad")


def test_a_plugin_can_register_others_while_it_loads(client: Make) -> None:
    """A utility may augment the client, with more plugins among other things."""
    seen = Heard()
    analytics = client()
    analytics.register(made(type="utility", load=lambda ctx, a: a.register(made(name="Inner", track=seen))))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert len(seen.calls) == 1


# -- deregistering ----------------------------------------------------------------------------------


def test_deregister_unloads(client: Make) -> None:
    """`deregister` calls `unload` once, emits the names, and the hooks run no more; the name is free again."""
    unloaded, seen, names = Heard(), Heard(), Heard()
    analytics = client()
    analytics.on("deregister", names)
    analytics.register(made(unload=unloaded, track=seen))
    analytics.track("Before", user_id="u")
    analytics.deregister("Mine")
    analytics.track("After", user_id="u").wait(timeout=10)
    assert len(unloaded.calls) == 1
    assert [ctx.event["event"] for (ctx,) in seen.calls] == ["Before"]
    assert names.calls == [(["Mine"],)]
    analytics.register(made())


def test_no_hook_runs_after_unload(client: Make, hang: Any) -> None:
    """`deregister` waits for the hook that runs, and for the events that were recorded before it."""
    told: list[str] = []
    analytics = client()

    def track(ctx: Context) -> None:
        hang(ctx)
        told.append(ctx.event["event"])

    analytics.register(made(track=track, unload=lambda ctx, a: told.append("unload")))
    analytics.track("First", user_id="u")
    assert hang.entered.wait(10)
    analytics.track("Second", user_id="u")
    leaving = Background(analytics.deregister, "Mine")
    assert leaving.running()
    hang.release()
    leaving.result()
    assert told == ["First", "Second", "unload"]


def test_an_after_hook_does_not_outlive_its_plugin(api: Api, client: Make) -> None:
    """An event that is still under way when an `after` plugin is deregistered is not shown to it any more."""
    seen = Heard()
    analytics = client(flush_at=1)
    analytics.register(made(type="after", track=seen))
    held = api.hold()
    receipt = analytics.track("A", user_id="u")
    api.wait_for(1)
    analytics.deregister("Mine")
    held.release()
    receipt.wait(timeout=10)
    assert seen.calls == []


def test_a_plugin_can_be_deregistered_by_its_own_hook(client: Make) -> None:
    """On the worker `deregister` waits for nothing: the plugin has seen its last event."""
    analytics = client()
    seen: list[str] = []

    def track(ctx: Context) -> None:
        seen.append(ctx.event["event"])
        analytics.deregister("Mine")

    analytics.register(made(track=track))
    analytics.track("First", user_id="u")
    analytics.track("Second", user_id="u")
    analytics.flush(timeout=10)
    assert seen == ["First"]


def test_an_unload_that_raises_is_reported(client: Make) -> None:
    """The plugin is gone all the same, and so are those named after it."""
    errors = Heard()
    analytics = client()
    analytics.on("error", errors)
    analytics.register(made(name="A", unload=broken), made(name="B"))
    analytics.deregister("A", "B")
    ((error,),) = errors.calls
    assert (error.code, str(error.reason)) == ("plugin", "no licence")
    analytics.register(made(name="A"), made(name="B"))


def test_deregistering_an_unknown_name_changes_nothing(client: Make) -> None:
    """A name that is not registered raises an error that lists those that are, and none is unloaded."""
    unloaded = Heard()
    analytics = client()
    analytics.register(made(unload=unloaded))
    with pytest.raises(MillstreamError, match="'Mien'; registered: Mine"):
        analytics.deregister("Mine", "Mien")
    assert unloaded.calls == []


# -- critical plugins -------------------------------------------------------------------------------


def test_nothing_is_delivered_before_a_critical_plugin_is_loaded(api: Api, client: Make) -> None:
    """While it loads, events wait, and then go through it; those of before `register` wait too."""
    gate, entered, seen = threading.Event(), threading.Event(), Heard()
    analytics = client()

    def load(ctx: Any, analytics: Any) -> None:
        entered.set()
        assert gate.wait(10)

    analytics.track("Before", user_id="u")
    loading = Background(analytics.register, made(critical=True, load=load, track=seen))
    assert entered.wait(10)
    receipt = analytics.track("Meanwhile", user_id="u")
    flushing = Background(analytics.flush, 10)
    assert api.stays_at(0, seconds=0.2)
    gate.set()
    loading.result()
    assert flushing.result().delivered == 2
    assert receipt.done()
    assert [ctx.event["event"] for (ctx,) in seen.calls] == ["Meanwhile"]


def test_two_critical_plugins_hold_until_both_are_loaded(api: Api, client: Make) -> None:
    """Delivery starts when the last critical plugin is loaded, whichever thread registers it."""
    gates = [threading.Event(), threading.Event()]
    entered = [threading.Event(), threading.Event()]
    analytics = client(flush_at=1)

    def load(n: int) -> Callable[..., None]:
        return lambda ctx, a: (entered[n].set(), gates[n].wait(10))

    loading = [Background(analytics.register, made(name=f"P{n}", critical=True, load=load(n))) for n in (0, 1)]
    assert all(each.wait(10) for each in entered)
    receipt = analytics.track("A", user_id="u")
    gates[0].set()
    loading[0].result()
    assert api.stays_at(0, seconds=0.1)
    gates[1].set()
    loading[1].result()
    receipt.wait(timeout=10)


@pytest.mark.parametrize("how", FAILING)
def test_a_critical_plugin_that_cannot_be_loaded_halts_delivery(api: Api, client: Make, how: str) -> None:
    """`register` raises PluginError, nothing is delivered any more, and the close hands every event back at once."""
    errors = Heard()
    analytics = client(flush_at=1)
    analytics.on("error", errors)
    with pytest.raises(PluginError) as caught:
        analytics.register(made(name="Consent", critical=True, **FAILING[how]))
    assert caught.value.plugin == "Consent"
    assert caught.value.__cause__ is not None
    receipts = [analytics.track(f"E{n}", user_id="u") for n in range(3)]
    assert analytics.flush(timeout=10).pending == 3
    assert analytics.stats().pending == 3
    result = analytics.close_and_flush()
    assert [event["event"] for event in result.unsent] == ["E0", "E1", "E2"]
    assert api.requests == []
    with pytest.raises(Abandoned) as gone:
        receipts[0].wait()
    assert isinstance(gone.value.__cause__, PluginError)
    codes = [error.code for (error,) in errors.calls]
    assert codes == ["plugin", *["delivery_failure"] * 3]


def test_events_of_before_the_halt_are_handed_back_too(api: Api, client: Make) -> None:
    """What waited to be sent when loading began is kept and handed back, with the plugin's error as the cause."""
    analytics = client(flush_at=100, flush_interval=900)
    receipt = analytics.track("Before", user_id="u")
    with pytest.raises(PluginError):
        analytics.register(made(critical=True, load=broken))
    assert [event["event"] for event in analytics.close_and_flush().unsent] == ["Before"]
    with pytest.raises(Abandoned) as gone:
        receipt.wait()
    assert isinstance(gone.value.__cause__, PluginError)


@pytest.mark.parametrize("waiter", ["flush", "close_and_flush"])
def test_who_waits_when_delivery_halts_is_told(client: Make, waiter: str) -> None:
    """A flush or close that began while the plugin was loading does not sit out its timeout when that fails."""
    gate, entered = threading.Event(), threading.Event()
    analytics = client()

    def load(ctx: Any, analytics: Any) -> None:
        entered.set()
        assert gate.wait(10)
        raise ConnectionError("no licence")

    loading = Background(analytics.register, made(critical=True, load=load))
    assert entered.wait(10)
    analytics.track("A", user_id="u")
    waiting = Background(getattr(analytics, waiter), 60)
    gate.set()
    with pytest.raises(PluginError):
        loading.result()
    result = waiting.result(timeout=5)
    assert (result.pending, len(result.unsent)) == ((1, 0) if waiter == "flush" else (0, 1))


def test_a_close_while_a_critical_plugin_loads_keeps_its_deadline(client: Make) -> None:
    """A plugin that does not come to an end with loading cannot keep a close from handing back what waits for it."""
    gate, entered = threading.Event(), threading.Event()
    analytics = client()
    load = lambda ctx, a: (entered.set(), gate.wait(10))  # noqa: E731
    loading = Background(analytics.register, made(critical=True, load=load))
    assert entered.wait(10)
    analytics.track("A", user_id="u")
    result = analytics.close_and_flush(timeout=0.2)
    gate.set()
    loading.result()
    assert len(result.unsent) == 1


def test_an_interrupted_load_of_a_critical_plugin_halts_too(api: Api, client: Make) -> None:
    """After Ctrl-C in `load` the plugin is not loaded: KeyboardInterrupt goes on, and delivery does not."""

    def load(ctx: Any, analytics: Any) -> None:
        raise KeyboardInterrupt

    analytics = client(flush_at=1)
    with pytest.raises(KeyboardInterrupt):
        analytics.register(made(critical=True, load=load))
    analytics.track("A", user_id="u")
    assert len(analytics.close_and_flush().unsent) == 1
    assert api.requests == []
