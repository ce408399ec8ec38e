"""The collector's configuration: what it takes, and what it says of what it does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millstream.errors import SettingsError
from millstream.router import Configuration

OPTIONS = ("port", "data", "max_age")
HOOK = {"type": "webhook", "url": "https://me.example/in", "secret": "very-secret-text"}


def parsed(**tables: Any) -> Configuration:
    return Configuration.parse(tables, OPTIONS)


def test_all_of_it(tmp_path: Path) -> None:
    """A file has options, sources, destinations with filters, and where alerts go."""
    path = tmp_path / "collector.toml"
    path.write_text(
        """
        port = 7071
        max-age = "30d"
        [sources.web]
        key = "web-key"
        destinations = ["hook"]
        rate_limit = 100
        origins = ["https://shop.example"]
        [destinations.hook]
        type = "webhook"
        url = "https://me.example/in"
        in_flight = 2
        lanes = 8
        start = "2026-01-01T00:00Z"
        [[destinations.hook.filters]]
        if = "type = 'page'"
        drop = true
        [destinations.product]
        type = "mixpanel"
        token = "mixpanel-token"
        [alerts]
        url = "https://me.example/alerts"
        """
    )
    found = Configuration.read(path, OPTIONS)
    assert found.options == {"port": 7071, "max_age": "30d"}
    assert found.sources["web"].origins == ("https://shop.example",)
    hook, product = found.routes["hook"], found.routes["product"]
    assert (hook.limits.in_flight, hook.limits.lanes, hook.start) == (2, 8, "2026-01-01T00:00:00.000Z")
    assert (hook.excluded, product.excluded) == (frozenset(), {"web"})
    assert hook.filters is not None
    assert hook.destination.name == "hook"
    assert found.alerts is not None


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"prot": 1}, "there is no option prot; did you mean port?"),
        ({"destination": {}}, "there is no option destination; did you mean destinations?"),
        ({"sources": {"web": {"kee": "k"}}}, "sources.web.kee: there is no such option; did you mean key?"),
        ({"sources": {"web": {}}}, "sources.web: object missing required field `key`"),
        ({"sources": {"web": {"key": "k", "rate_limit": 0}}}, "sources.web.rate_limit: expected `float` > 0.0"),
        ({"sources": {"web": {"key": ""}}}, "sources.web.key is empty"),
        ({"sources": {"a": {"key": "k"}, "b": {"key": "k"}}}, "sources.b.key is that of sources.a, too"),
        ({"sources": {"a b": {"key": "k"}}}, "a name is of letters"),
        (
            {"sources": {"web": {"key": "k", "destinations": ["hok"]}}, "destinations": {"hook": HOOK}},
            "sources.web.destinations: there is no destination 'hok'; did you mean hook?",
        ),
        ({"destinations": {"hook": {**HOOK, "ulr": "x"}}}, "destinations.hook.ulr: there is no such option"),
        ({"destinations": {"hook": {**HOOK, "lane": 3}}}, "or 'lanes'?"),
        ({"destinations": {"hook": {**HOOK, "lanes": 0}}}, "destinations.hook.lanes: expected `int` >= 1"),
        ({"destinations": {"hook": {**HOOK, "start": "soon"}}}, "destinations.hook.start is 'soon'; it must be now"),
        ({"destinations": {"hook": {**HOOK, "filters": ["type ="]}}}, "destinations.hook.filters"),
        ({"destinations": {"hook": {"type": "webhok"}}}, "did you mean 'webhook'?"),
        ({"destinations": {"hook": 3}}, "destinations.hook must be a table"),
        ({"destinations": 3}, "destinations must be a table"),
        ({"alerts": {"url": "u", "lag": -1}}, "alerts.lag: expected `float` > 0.0"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tables: dict[str, Any], message: str) -> None:
    """Unknown names come with a near match, wrong values with what is allowed."""
    with pytest.raises(SettingsError) as error:
        parsed(**tables)
    assert message in str(error.value)


def test_no_secret_is_shown() -> None:
    """Neither the configuration's text nor an error quotes a key, a secret, or what the environment holds."""
    found = parsed(sources={"web": {"key": "the-write-key"}}, destinations={"hook": HOOK}, alerts={"url": "http://s/x"})
    for text in (repr(found), repr(found.sources["web"]), repr(found.routes["hook"]), repr(found.alerts)):
        assert "very-secret-text" not in text
        assert "the-write-key" not in text
        assert "http://s/x" not in text
    with pytest.raises(SettingsError) as error:
        parsed(destinations={"hook": {**HOOK, "timeout": -1}})
    assert "very-secret-text" not in str(error.value)


def test_what_changes_is_seen_by_its_fingerprint() -> None:
    """The same table has the same fingerprint; another argument, option or source another one."""
    one, same = (parsed(destinations={"hook": HOOK}).routes["hook"] for _ in range(2))
    assert one.fingerprint == same.fingerprint
    for more in ({"secret": "another-secret"}, {"lanes": 2}, {"filters": ["type = 'track'"]}):
        assert parsed(destinations={"hook": {**HOOK, **more}}).routes["hook"].fingerprint != one.fingerprint
    source = {"web": {"key": "k", "destinations": []}}
    assert parsed(destinations={"hook": HOOK}, sources=source).routes["hook"].fingerprint != one.fingerprint
