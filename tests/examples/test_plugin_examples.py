"""The two plugins of the documentation, run as programs and as parts, against real servers on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examples.identity_stitching import IdentityStitching
from examples.lowercase_events import LowercaseEvents

from millstream import Analytics
from support.api import Answer, Api, Seen, status
from support.background import Heard

Make = Callable[..., Analytics]
EXAMPLES = Path(__file__).parents[2] / "examples"
KNOWN = {"id": 1, "name": "User One", "address": {"city": "Anywhere"}}


@pytest.fixture
def users() -> Iterator[Api]:
    """A web API with one user, under `/users/1`."""

    def answer(seen: Seen) -> Answer:
        found = seen.path == "/users/1"
        return Answer(200 if found else 404, {}, json.dumps(KNOWN).encode() if found else b"")

    server = Api()
    server.always = answer
    yield server
    server.close()


def run(name: str, api: Api, **environment: str) -> str:
    """What an example prints, run as it stands, with its events going to `api`."""
    env = {
        **os.environ,
        "MILLSTREAM_HOST": api.url,
        "MILLSTREAM_WRITE_KEY": "key",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.process
def test_lowercase_events_runs(api: Api) -> None:
    """The program delivers its event under a lower-case name."""
    assert run("lowercase_events.py", api) == "delivered: item purchased\n"
    assert [event["event"] for event in api.accepted] == ["item purchased"]


@pytest.mark.process
def test_identity_stitching_runs(api: Api, users: Api) -> None:
    """The program asks the web API, and delivers what it said as `traits.custom`."""
    printed = run("identity_stitching.py", api, USERS_API=users.url)
    assert api.accepted[0]["traits"] == {"plan": "pro", "custom": KNOWN}
    assert json.loads(printed.removeprefix("delivered: ")) == api.accepted[0]["traits"]


def test_lowercase_events_leaves_the_rest_alone(api: Api, client: Make) -> None:
    """Only `track` has a name to change; every other kind goes through as it is."""
    analytics = client()
    analytics.register(LowercaseEvents())
    analytics.track("Signed UP", user_id="u", properties={"Plan": "Pro"})
    analytics.page("Home", user_id="u")
    analytics.flush(timeout=10)
    assert [(e.get("event"), e.get("name"), e["properties"]) for e in api.events] == [
        ("signed up", None, {"Plan": "Pro"}),
        (None, "Home", {}),
    ]


def test_identity_stitching_asks_for_the_user_and_nobody_else(api: Api, client: Make, users: Api) -> None:
    """One question per identify call, with the id quoted; whoever is not known, or has no id, goes on as they are."""
    told = Heard()
    analytics = client()
    analytics.register(IdentityStitching(users.url, told))
    analytics.identify("1")
    analytics.identify("a/../1")
    analytics.identify(anonymous_id="1")
    analytics.track("Paid", user_id="1")
    analytics.flush(timeout=10)
    assert [seen.path for seen in users.requests] == ["/users/1", "/users/a%2F..%2F1"]
    assert [event.get("traits") for event in api.events] == [{"custom": KNOWN}, {}, {}, None]
    assert told.calls == [(KNOWN,)]


def test_identity_stitching_costs_no_event_when_the_api_is_down(api: Api, client: Make, users: Api) -> None:
    """If the web API fails, that is reported, and the event goes on without its answer."""
    errors = Heard()
    users.always = status(503)
    analytics = client()
    analytics.on("error", errors)
    analytics.register(IdentityStitching(users.url))
    analytics.identify("1", traits={"plan": "pro"}).wait(timeout=10)
    assert api.events[0]["traits"] == {"plan": "pro"}
    assert "503" in str(errors.calls[0][0].reason)


def test_identity_stitching_can_be_taken_out(api: Api, client: Make, users: Api) -> None:
    """After `deregister` nobody is asked any more."""
    analytics = client()
    analytics.register(IdentityStitching(users.url))
    analytics.deregister("Identity Stitching")
    analytics.identify("1").wait(timeout=10)
    assert users.requests == []
    assert len(api.events) == 1
