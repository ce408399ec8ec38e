"""Destinations from a configuration: what is refused, in which words, and what the tables say."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.destinations import Mixpanel, Webhook
from millstream.destinations.configuration import TYPES, class_of, destination_of, options_of
from millstream.errors import SettingsError


def test_a_table_makes_a_destination() -> None:
    """Its arguments are those of the constructor; it is called as its table is, unless it says otherwise."""
    made = destination_of("product", {"type": "mixpanel", "token": "tok", "host": "https://api-eu.mixpanel.com"})
    assert isinstance(made, Mixpanel)
    assert made.name == "product"
    headers = {"Authorization": "Bearer x"}
    hook = destination_of(
        "hook", {"type": "webhook", "url": "https://a", "headers": headers, "name": "CRM", "timeout": 3}
    )
    assert isinstance(hook, Webhook)
    assert (hook.name, hook.limits.timeout) == ("CRM", 3.0)


def test_a_class_of_ones_own_is_named_by_its_module() -> None:
    """`package.module:Class` stands for it."""
    made = destination_of("x", {"type": "millstream.destinations.mixpanel:Mixpanel", "token": "tok"})
    assert isinstance(made, Mixpanel)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, r"destinations\.x\.type is missing; it must be one of amplitude"),
        ({"type": 5}, r"destinations\.x\.type is 5"),
        ({"type": "mixpanl"}, "did you mean 'mixpanel'"),
        ({"type": "nowhere.module:A"}, "cannot be loaded: No module named 'nowhere'"),
        ({"type": "json:nothing"}, "cannot be loaded"),
        ({"type": "millstream.types:Response", "status": 200}, "which is no destination"),
        ({"type": "mixpanel"}, r"destinations\.x\.token is missing: The project's token"),
        ({"type": "mixpanel", "tokn": "a"}, r"destinations\.x\.tokn: there is no such option; did you mean 'token'"),
        ({"type": "mixpanel", "token": 5}, r"destinations\.x\.token: .*must be a str, got a int"),
        ({"type": "mixpanel", "token": " "}, r"destinations\.x: token is empty"),
        ({"type": "webhook", "url": "https://a", "batch": "no"}, r"destinations\.x\.batch: expected `bool`, got `str`"),
        ({"type": "webhook", "url": "https://a", "max_events": 0}, r"destinations\.x\.max_events: expected `int` >= 1"),
        ({"type": "webhook", "url": "https://a", "headers": {"A": 5}}, r"destinations\.x\.headers"),
        ({"type": "webhook", "url": "ftp://a"}, r"destinations\.x: url is 'ftp://a'"),
    ],
    ids=range(14),
)
def test_what_cannot_be_used_is_named(table: dict[str, Any], says: str) -> None:
    """With its place, what is wrong, and the nearest name there is."""
    with pytest.raises(SettingsError, match=says):
        destination_of("x", table)


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_is_described(kind: str) -> None:
    """Each has a description with a full stop; what is required has an example; each type knows its own name."""
    made_by = class_of(kind)
    assert made_by.type == kind
    for option in options_of(made_by):
        assert option.description.endswith("."), option.name
        assert option.examples or not option.required, option.name
    secret = {
        "mixpanel": "token",
        "ga4": "api_secret",
        "slack": "url",
        "webhook": "secret",
        "tracking_api": "write_key",
    }
    assert secret.get(kind, "api_key") in {option.name for option in options_of(made_by) if option.secret}


def test_no_message_shows_a_secret() -> None:
    """A wrong option beside it does not bring it to light."""
    with pytest.raises(SettingsError) as raised:
        destination_of("x", {"type": "mixpanel", "token": "sk-never-shown\n\nx", "host": 5})
    assert "never-shown" not in str(raised.value)
