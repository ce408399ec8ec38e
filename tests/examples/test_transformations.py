"""The examples of transformations do what they say, as functions and in a router's process."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from examples import transformations
from millstream.router.transform import Transformation, Transformed

EXAMPLES = Path(transformations.__file__).parent
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML) Chrome/131.0.0.0 Safari/537.36"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1) AppleWebKit/605 (KHTML) Version/18.1 Mobile Safari/604.1"


def event(**more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": "u", "messageId": "m", "context": {}, **more}


@pytest.mark.parametrize(
    ("agent", "browser", "system"),
    [
        (CHROME, {"name": "Chrome", "version": "131.0.0.0"}, {"name": "Windows"}),
        (CHROME + " Edg/131.0", {"name": "Edge", "version": "131.0"}, {"name": "Windows"}),
        (SAFARI, {"name": "Safari", "version": "18.1"}, {"name": "iOS"}),
        ("", None, None),
    ],
)
def test_the_browser_of_an_event(agent: str, browser: Any, system: Any):
    """Name, version and system; nothing where nothing is known."""
    changed = transformations.browser(event(context={"userAgent": agent}))
    assert (changed["context"].get("browser"), changed["context"].get("os")) == (browser, system)


def test_bots_are_flagged():
    """By their user agent, or because they have none."""
    agents = {"Googlebot/2.1": True, "curl/8.5.0": True, CHROME: False, SAFARI: False, "": True}
    for agent, bot in agents.items():
        assert transformations.flag_bots(event(context={"userAgent": agent}))["context"]["bot"] is bot


def test_an_ip_address_is_truncated():
    """To a network that many share; what is no address goes."""
    addresses = {"203.0.113.77": "203.0.113.0", "2001:db8:1:2:3::4": "2001:db8:1::", "unknown": None}
    for address, left in addresses.items():
        assert transformations.truncate_ip(event(context={"ip": address}))["context"].get("ip") == left
    assert transformations.truncate_ip(event()) == event()


def test_revenue_in_euro():
    """Exact to the cent, and only where the currency is known."""
    changed = transformations.in_euro(event(properties={"revenue": 19.99, "currency": "USD"}))
    assert changed["properties"]["revenue_eur"] == Decimal("18.39")
    unknown = event(properties={"revenue": 19.99, "currency": "XAU"})
    assert transformations.in_euro(unknown) == unknown


@pytest.mark.process
def test_the_examples_run_in_a_routers_process():
    """Each takes the same event, and what it makes of it can be sent."""
    order = event(
        context={"ip": "203.0.113.77", "userAgent": CHROME},
        properties={"revenue": 10, "currency": "EUR", "products": [{"sku": "a"}, {"sku": "b"}]},
    )
    made: dict[str, list[Any]] = {}
    for name in ("browser", "flag_bots", "truncate_ip", "in_euro", "one_event_for_each_product", "no_staff"):
        with Transformation(f"transformations:{name}", folder=EXAMPLES) as transformation:
            (outcome,) = transformation.run([json.dumps(order).encode()])
        assert isinstance(outcome, Transformed)
        made[name] = [json.loads(each) for each in outcome.events]
    assert made["in_euro"][0]["properties"]["revenue_eur"] == 10
    assert [(each["messageId"], each["properties"]) for each in made["one_event_for_each_product"]] == [
        ("m:0", {"sku": "a"}),
        ("m:1", {"sku": "b"}),
    ]
    with Transformation("transformations:no_staff", folder=EXAMPLES) as transformation:
        staff = event(type="identify", traits={"email": "ann@shop.example"})
        assert transformation.run([json.dumps(staff).encode()]) == [Transformed(())]
