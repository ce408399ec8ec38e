"""One event with much in it, as a collector stores it."""

from __future__ import annotations

from typing import Any

import pytest

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@pytest.fixture
def event() -> dict[str, Any]:
    """An order, with a whole context."""
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": "0198c0de-0000-7000-8000-000000000001",
        "timestamp": "2026-03-01T12:00:00.250Z",
        "userId": "u-1001",
        "anonymousId": "a-77",
        "integrations": {},
        "properties": {
            "order_id": "o-5",
            "total": 41.5,
            "revenue": 39.95,
            "currency": "EUR",
            "products": [{"product_id": "p1", "name": "Lamp", "price": 20, "quantity": 1, "position": 1}],
        },
        "context": {
            "ip": "203.0.113.7",
            "locale": "nl-NL",
            "timezone": "Europe/Amsterdam",
            "userAgent": CHROME,
            "groupId": "g-9",
            "library": {"name": "millstream", "version": "1.0"},
            "app": {"name": "Shop", "version": "2.3", "build": "77", "namespace": "example.shop"},
            "campaign": {"name": "spring", "source": "mail", "medium": "email", "term": "lamp", "content": "top"},
            "device": {"id": "d-1", "type": "android", "name": "Px", "model": "P8", "manufacturer": "G"}
            | {"advertisingId": "ad-1", "adTrackingEnabled": False},
            "location": {"city": "Delft", "country": "NL", "region": "ZH", "latitude": 52.01, "longitude": 4.36},
            "network": {"bluetooth": False, "carrier": "KPN", "cellular": True, "wifi": False},
            "os": {"name": "Android", "version": "16"},
            "page": {"url": "https://shop.example/done", "referrer": "https://search.example/", "title": "Done"},
            "screen": {"width": 1080, "height": 2400, "density": 3},
        },
    }
