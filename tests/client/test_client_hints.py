"""Hints: who comes from another library is told what its words are called here; and clients show what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, AsyncAnalytics, Context, Plugin, SettingsError, enrichment
from millstream._elsewhere import CALLS, METHODS, SETTINGS
from millstream.emitter import EVENTS
from support.api import Api

Make = Callable[..., Analytics]
CLIENTS = pytest.mark.parametrize("client_class", [Analytics, AsyncAnalytics])


@pytest.fixture
def analytics() -> Analytics:
    return Analytics(disable=True)


# -- other libraries' words ----------------------------------------------------------------------------


@CLIENTS
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_another_library_is_translated(client_class: Callable[..., Any], name: str) -> None:
    """The error says what does the same here."""
    with pytest.raises(SettingsError) as caught:
        client_class("key", **{name: 1})
    assert str(caught.value) == f"no setting {name!r}; {SETTINGS[name]}"


def test_the_spelling_of_the_node_library_is_understood() -> None:
    """`flushInterval` is `flush_interval`; `maxEventsInBatch`, which has another name here, is translated."""
    with pytest.raises(SettingsError, match="did you mean flush_interval"):
        Analytics("key", flushInterval=10)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="`flush_at` starts a flush"):
        Analytics("key", maxEventsInBatch=10)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [SETTINGS, METHODS])
def test_no_word_of_ours_is_taken_for_one_of_others(words: dict[str, str], analytics: Analytics) -> None:
    """A table says nothing of what there is."""
    with pytest.raises(SettingsError) as caught:
        Analytics("key", nothing_like_it=1)  # type: ignore[arg-type]
    assert not set(words) & set(str(caught.value).rpartition("known are ")[2].split(", "))
    assert not {name for name in words if name in vars(analytics)}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_another_library_is_translated(analytics: Analytics, name: str) -> None:
    """Reading it is an AttributeError, as for any method that is not there, and says what does the same here."""
    with pytest.raises(AttributeError) as caught:
        getattr(analytics, name)
    assert str(caught.value) == f"Analytics has no {name}: {METHODS[name]}"
    assert not hasattr(analytics, name)


@CLIENTS
@pytest.mark.parametrize("call", CALLS)
def test_the_order_of_other_libraries_is_refused(client_class: Callable[..., Any], call: str) -> None:
    """`track("u", "E", {...})` is wrong Python here: the error shows the right call."""
    analytics = client_class(disable=True)
    with pytest.raises(TypeError) as caught:
        getattr(analytics, call)("user-17", "Item Purchased", {"secret": 1})
    assert f"{client_class.__name__}.{call} takes one argument without a name; write {CALLS[call]}" == str(caught.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_call_that_is_shown_is_right(analytics: Analytics, call: str) -> None:
    """What an error tells users to write can be written."""
    receipt = eval(f"analytics.{call.replace('…', '')}", {"analytics": analytics})
    assert receipt.done()
    assert receipt.outcome.error is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a: a.track("A", user="u"),
        lambda a: a.track(),
        lambda a: a.send({}, {}),
        lambda a: a.alias("old", "new"),
        lambda _: Analytics("key", 20),  # type: ignore[misc]
    ],
)
def test_wrong_python_names_the_public_class(analytics: Analytics, wrong: Callable[[Any], object]) -> None:
    """An unknown or missing argument is a TypeError, about the class that users know."""
    with pytest.raises(TypeError, match=r"^Analytics\."):
        wrong(analytics)


# -- listeners -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["on", "once", "off", "emit"])
@pytest.mark.parametrize(
    ("name", "hint"), [("eror", "'error'"), ("http_respones", "'http_response'"), ("failed", "error, ")]
)
def test_an_unknown_name_is_refused(analytics: Analytics, method: str, name: str, hint: str) -> None:
    """Nothing would ever be emitted under it: the error has the nearest name, or all."""
    with pytest.raises(SettingsError, match=f"nothing is emitted as {name!r}") as caught:
        getattr(analytics, method)(name, lambda *_: None)
    assert hint in str(caught.value)


def test_a_decorator_is_refused_before_it_decorates(analytics: Analytics) -> None:
    with pytest.raises(SettingsError, match="eror"):
        analytics.on("eror")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", EVENTS)
def test_a_listener_that_cannot_be_called_is_refused(analytics: Analytics, name: str) -> None:
    """It would fail with each event, and nobody would see it in a test: the error says what a listener is given."""
    given = EVENTS[name]
    takes: Any = {0: lambda: None, 1: lambda _: None, 2: lambda _, __: None}
    assert analytics.on(name, takes[len(given)]) is takes[len(given)]  # type: ignore[call-overload]
    for number in {0, 1, 2} - {len(given)}:
        for subscribe in (analytics.on, analytics.once):
            with pytest.raises(SettingsError) as caught:
                subscribe(name, takes[number])  # type: ignore[call-overload]
            assert f"a listener of {name!r} must take ({', '.join(given)})" in str(caught.value)


def test_a_listener_that_must_be_awaited_is_refused(analytics: Analytics) -> None:
    """Nothing would await it."""

    async def listen(error: object) -> None: ...

    with pytest.raises(SettingsError, match="`async def`"):
        analytics.on("error", listen)


def test_listeners_may_be_anything_that_can_be_called(analytics: Analytics) -> None:
    """Built-ins, methods, and functions with other arguments that have defaults."""
    heard: list[object] = []
    analytics.on("error", heard.append)
    analytics.on("error", print)
    analytics.on("drained", lambda n=3: n)
    analytics.on("shop:restocked", lambda a, b: heard.append((a, b)))  # type: ignore[call-overload]
    analytics.emit("shop:restocked", 1, 2)
    assert heard == [(1, 2)]


# -- hooks ---------------------------------------------------------------------------------------------


def plugin(*methods: str) -> Plugin:
    def hook(self: object, ctx: Context) -> Context:
        return ctx

    return type("Mine", (Plugin,), dict.fromkeys(methods, hook))()


@pytest.mark.parametrize(
    ("methods", "near"),
    [(("trak",), "track"), (("tarck",), "track"), (("identfy", "track"), "identify"), (("pages",), "page")],
)
def test_a_hook_that_is_none_is_refused(analytics: Analytics, methods: tuple[str, ...], near: str) -> None:
    """Nothing would call it: the error names the hook that was meant, and nothing is registered."""
    with pytest.raises(SettingsError, match=f"nothing calls {methods[0]}; did you mean the hook {near}"):
        analytics.register(plugin(*methods))
    assert analytics.plugins == {}


@pytest.mark.parametrize("methods", [("track", "tracks"), ("track", "helper"), ("track", "_trak"), ("track", "mask")])
def test_other_methods_are_a_plugins_own(analytics: Analytics, methods: tuple[str, ...]) -> None:
    """What is no hook and does not look like one that is missing is the plugin's business."""
    analytics.register(plugin(*methods))
    assert [*analytics.plugins] == ["Mine"]


# -- what a client shows -------------------------------------------------------------------------------


def test_a_client_shows_host_state_and_counters(api: Api, client: Make) -> None:
    """And never its key, or a password in the host's URL."""
    analytics = client("very-secret-key", host=f"http://user:pass@127.0.0.1:{api.port}")
    analytics.track("A", user_id="u").wait(timeout=10)
    told = repr(analytics)
    assert told == f"<Analytics {api.url} open: 1 accepted, 1 delivered, 0 failed, 0 dropped, 0 pending>"
    analytics.close_and_flush(timeout=10)
    assert " closed: " in repr(analytics)
    assert repr(AsyncAnalytics("k", disable=True)).startswith("<AsyncAnalytics https://api.segment.io disabled: 0 acc")


def test_the_plugins_of_a_client_are_listed(analytics: Analytics) -> None:
    """By name, those that were loaded, in order; what is done to the list changes nothing."""

    @enrichment
    def scrub(ctx: Context) -> None: ...

    other = plugin("track")
    analytics.register(scrub, other)
    assert analytics.plugins == {"scrub": scrub, "Mine": other}
    analytics.plugins.clear()
    analytics.deregister("scrub")
    assert analytics.plugins == {"Mine": other}
