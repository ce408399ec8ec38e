"""Transformations: functions `(event) -> event | None | list`, which a router runs for a destination.

    millstream transform transformations:browser --data events

Each is a plain function of a dict, so that a test calls it like any other.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any

Event = dict[str, Any]

BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/([\d.]+)"),
    ("Opera", r"OPR/([\d.]+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/([\d.]+)"),
    ("Chrome", r"(?:Chrome|CriOS)/([\d.]+)"),
    ("Safari", r"Version/([\d.]+).* Safari/"),
)
"""The first that matches: most browsers name others, too."""
SYSTEMS = (
    ("iOS", r"iPhone|iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows NT"),
    ("macOS", r"Macintosh"),
    ("Linux", r"Linux"),
)
BOT = re.compile(r"bot\b|crawl|spider|slurp|headless|preview|monitor|curl/|python-requests|^$", re.IGNORECASE)
EURO = {"EUR": Decimal(1), "USD": Decimal("0.92"), "GBP": Decimal("1.17"), "CHF": Decimal("1.06")}
"""Euro for one unit of a currency. Real rates are read when the module is imported, or looked up."""


def browser(event: Event) -> Event:
    """Add the browser and the system that `context.userAgent` names."""
    agent = (event.get("context") or {}).get("userAgent") or ""
    for name, pattern in BROWSERS:
        if found := re.search(pattern, agent):
            event["context"]["browser"] = {"name": name, "version": found[1]}
            break
    system = next((name for name, pattern in SYSTEMS if re.search(pattern, agent)), None)
    if system:
        event["context"].setdefault("os", {"name": system})
    return event


def flag_bots(event: Event) -> Event:
    """Set `context.bot`, so that a query or a filter (`context.bot = true`) can leave bots out."""
    context = event.setdefault("context", {})
    context["bot"] = BOT.search(context.get("userAgent") or "") is not None
    return event


def truncate_ip(event: Event) -> Event:
    """Set the last 8 bits of an IPv4 address to zero, and all but the first 48 bits of an IPv6 address."""
    context = event.get("context") or {}
    if text := context.get("ip"):
        try:
            address = ip_address(text)
        except ValueError:
            del context["ip"]
        else:
            network = ip_network((address, 24 if address.version == 4 else 48), strict=False)
            context["ip"] = str(network.network_address)
    return event


def in_euro(event: Event) -> Event:
    """Add `revenue_eur` where an event has a revenue in a currency that is known; exact, as money is."""
    properties = event.get("properties") or {}
    rate = EURO.get(str(properties.get("currency")))
    if rate is not None and isinstance(properties.get("revenue"), int | float | Decimal):
        properties["revenue_eur"] = (Decimal(str(properties["revenue"])) * rate).quantize(Decimal("0.01"))
    return event


def one_event_for_each_product(event: Event) -> list[Event] | Event:
    """Make an order an event for each of its products: a list of events, whose ids are numbered."""
    products = (event.get("properties") or {}).get("products")
    if event.get("event") != "Order Completed" or not isinstance(products, list):
        return event
    return [{**event, "event": "Product Ordered", "properties": product} for product in products]


def no_staff(event: Event) -> Event | None:
    """Drop what people of the house do: a function that returns None drops the event."""
    email = str((event.get("traits") or {}).get("email", ""))
    return None if email.endswith("@shop.example") else event
