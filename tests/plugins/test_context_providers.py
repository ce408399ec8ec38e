"""Context providers: what only the calling thread knows, added to an event in the call."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, InvalidEvent
from support.api import Api
from support.background import Background, Heard

Make = Callable[..., Analytics]
trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")


def test_a_provider_runs_at_the_call_site(api: Api, client: Make) -> None:
    """It runs in the calling thread, once for each call, while the call's context variables are set."""
    threads: list[int] = []

    def provider() -> dict[str, Any]:
        threads.append(threading.get_ident())
        return {"trace": trace.get()}

    analytics = client(context_providers=[provider])

    def request(name: str) -> int:
        token = trace.set(name)
        analytics.track("Seen", user_id=name)
        trace.reset(token)
        return threading.get_ident()

    callers = [Background(contextvars.Context().run, request, name).result() for name in ("one", "two")]
    analytics.flush(timeout=10)
    assert {event["userId"]: event["context"]["trace"] for event in api.events} == {"one": "one", "two": "two"}
    assert threads == callers


def test_each_task_has_its_own(api: Api, client: Make) -> None:
    """Under asyncio each task's variables are its own, however the tasks are interleaved."""
    analytics = client(context_providers=[lambda: {"trace": trace.get()}])

    async def request(name: str) -> None:
        trace.set(name)
        await asyncio.sleep(0)
        analytics.track("Seen", user_id=name)

    async def main() -> None:
        await asyncio.gather(*(request(f"r{n}") for n in range(20)))

    asyncio.run(main())
    analytics.flush(timeout=10)
    assert [e for e in api.events if e["context"]["trace"] != e["userId"]] == []
    assert len(api.events) == 20


def test_the_call_wins_over_providers_and_they_over_the_settings(api: Api, client: Make) -> None:
    """Later ones win: the client's `context`, the providers in their order, the call's own `context`."""
    analytics = client(
        context={"a": "settings", "b": "settings", "c": "settings", "d": "settings"},
        context_providers=[
            lambda: {"b": "first", "c": "first", "d": "first"},
            lambda: {"c": "second", "d": "second", "library": {"name": "mine"}},
        ],
    )
    analytics.track("A", user_id="u", context={"d": "call"}).wait(timeout=10)
    context = api.events[0]["context"]
    assert {key: context[key] for key in "abcd"} == {"a": "settings", "b": "first", "c": "second", "d": "call"}
    assert context["library"]["name"] == "millstream"


def test_what_is_provided_is_a_snapshot(api: Api, client: Make) -> None:
    """A provider may return the same object every time, and change it in between."""
    shared = {"n": 0}
    analytics = client(context_providers=[lambda: {"request": shared}])
    for n in range(3):
        shared["n"] = n
        analytics.track("A", user_id="u")
    analytics.flush(timeout=10)
    assert [event["context"]["request"]["n"] for event in api.events] == [0, 1, 2]
    assert shared == {"n": 2}


@pytest.mark.parametrize("bad", [lambda: 1 / 0, lambda: None, lambda: "text"], ids=["raises", "nothing", "text"])
def test_a_provider_that_fails_costs_no_event(api: Api, client: Make, bad: Callable[[], Any]) -> None:
    """What it raises, or returns amiss, is an `error` event with a code of its own; the others still count."""
    errors = Heard()
    analytics = client(context_providers=[bad, lambda: {"ip": "192.0.2.1"}])
    analytics.on("error", errors)
    analytics.track("A", user_id="u").wait(timeout=10)
    assert [error.code for (error,) in errors.calls] == ["context_provider"]
    assert api.events[0]["context"]["ip"] == "192.0.2.1"


def test_a_value_that_cannot_be_sent_is_refused_by_its_path(client: Make) -> None:
    """What a provider returns is part of the call: it is refused where it can be seen, with its path."""
    analytics = client(context_providers=[lambda: {"request": object()}])
    with pytest.raises(InvalidEvent, match=r"context\.request"):
        analytics.track("A", user_id="u")


def test_plugins_see_what_was_provided(client: Make, probe: Any) -> None:
    """Hooks run on the worker, and find what the providers have said in the event's context."""
    plugin = probe("enrichment")
    analytics = client(context_providers=[lambda: {"ip": "192.0.2.1"}])
    analytics.register(plugin)
    analytics.track("A", user_id="u").wait(timeout=10)
    assert plugin.seen[0]["context"]["ip"] == "192.0.2.1"


def test_a_whole_event_is_left_alone(api: Api, client: Make) -> None:
    """`send` repeats what happened elsewhere or before: this request's context is not its own."""
    analytics = client(context_providers=[lambda: {"ip": "192.0.2.1"}])
    analytics.send({"type": "track", "event": "A", "userId": "u", "context": {"ip": "198.51.100.7"}}).wait(timeout=10)
    analytics.send({"type": "track", "event": "A", "userId": "u"}).wait(timeout=10)
    assert [event["context"].get("ip") for event in api.events] == ["198.51.100.7", None]
