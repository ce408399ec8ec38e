"""Google Analytics 4: events by the Measurement Protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, cast
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Raw

from .._core.delivery.retry import judge
from .._core.delivery.verdicts import Verdict
from .._public import publish
from .._version import __version__
from ..secret import Secret
from ..types import Request, Response
from ._arguments import base_url, secret_of
from ._fields import NO_FIELDS, Fields, encode, epoch_ms, fields_of, objects_in, renamed, section, value_of
from .base import Event, Limits, Part, Skip

__all__ = ["GA4"]

MONEY = {"currency": "currency", "value": "value"}
ORDER = {
    "affiliation": "affiliation",
    "currency": "currency",
    "order_id": "transaction_id",
    "shipping": "shipping",
    "total": "value",
}
PROMOTION = {"creative": "creative_slot", "promotion_id": "promotion_id", "name": "promotion_name"}
ECOMMERCE: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "Order Completed": ("purchase", ORDER | {"coupon": "coupon", "tax": "tax"}, "products"),
    "Order Refunded": ("refund", ORDER, "products"),
    "Product Added": ("add_to_cart", MONEY, "product"),
    "Product Removed": ("remove_from_cart", MONEY, "product"),
    "Cart Viewed": ("view_cart", MONEY, "products"),
    "Checkout Started": ("begin_checkout", {"coupon": "coupon"} | MONEY, "products"),
    "Payment Info Entered": (
        "add_payment_info",
        {"coupon": "coupon", "payment_method": "payment_type"} | MONEY,
        "products",
    ),
    "Product Viewed": ("view_item", MONEY, "product"),
    "Product List Viewed": ("view_item_list", {"list_id": "item_list_id", "category": "item_list_name"}, "products"),
    "Product Clicked": ("select_item", {"list_id": "item_list_id", "list_name": "item_list_name"}, "product"),
    "Product Added to Wishlist": ("add_to_wishlist", MONEY, "product"),
    "Promotion Viewed": ("view_promotion", PROMOTION | {"position": "location_id"}, "promotion"),
    "Promotion Clicked": ("select_promotion", PROMOTION, "promotion"),
    "Products Searched": ("search", {"query": "search_term"}, ""),
    "Signed Up": ("sign_up", {"type": "method"}, ""),
    "Signed In": ("login", {"method": "method"}, ""),
    "Lead Generated": ("generate_lead", MONEY, ""),
}
"""Names of Segment's specification: GA4's name, the names of its params, and where its items are."""
PRODUCT = {
    "product_id": "item_id",
    "name": "item_name",
    "coupon": "coupon",
    "brand": "item_brand",
    "category": "item_category",
    "variant": "item_variant",
    "price": "price",
    "quantity": "quantity",
}
ITEM = PRODUCT | {"position": "index"}
"""A product in a list has its position in it."""
MAX_PARAMS, MAX_NAME, MAX_VALUE = 25, 40, 100
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")


class GA4:
    """Sends events to a data stream of Google Analytics 4.

    Args:
        measurement_id: the stream's id, which begins with `G-`.
        api_secret: an API secret of the stream (Admin, Data streams, Measurement Protocol API secrets).
        host: base URL; `https://region1.google-analytics.com` keeps the data in the EU.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "ga4"
    alternative_names: ClassVar[Sequence[str]] = (
        "GA4",
        "Google Analytics 4",
        "Actions Google Analytics 4",
        "Google Analytics 4 Cloud",
    )
    deduplicates: ClassVar[str] = "purchases by `transaction_id`; other events not at all"
    limits = Limits(max_events=25, max_bytes=130_000, overhead=300, max_age=72 * 3600.0)

    def __init__(
        self,
        measurement_id: Annotated[str, Meta(description="The stream's id.", examples=["G-XXXXXXXXXX"])],
        api_secret: Annotated[
            Secret | str, Meta(description="An API secret of the stream.", examples=["${GA4_API_SECRET}"])
        ],
        *,
        host: Annotated[
            str, Meta(description="Base URL of the API.", examples=["https://region1.google-analytics.com"])
        ] = "https://www.google-analytics.com",
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "Google Analytics 4",
    ) -> None:
        self.name = name
        self._secret = secret_of("api_secret", api_secret)
        self._id = measurement_id
        self._host = base_url("host", host)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip:
        """Return an event, with the client that it belongs to as its key."""
        fields = fields_of(event)
        match fields.type:
            case "track":
                name, params = _tracked(fields)
            case "page":
                page = section(fields.context or NO_FIELDS, "page")
                name, params = "page_view", renamed(page, PAGE)
            case "screen":
                name, params = (
                    "screen_view",
                    cast("dict[str, Any]", {"screen_name": fields.name} if fields.name else {}),
                )
            case "group":
                name, params = "join_group", {"group_id": fields.group_id}
            case kind:
                return Skip(f"Google Analytics has no {kind}")
        params["engagement_time_msec"] = 1
        if session := options.get("sessionId"):
            params["session_id"] = session
        user = fields.user
        client = {"client_id": options.get("clientId") or user or fields.anonymous}
        if user:
            client["user_id"] = user
        made = {"name": name, "params": params, "timestamp_micros": epoch_ms(fields.timestamp) * 1000}
        return (Part(encode(made), encode(client).decode()),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:  # noqa: ARG002
        """Build a request for events of one client."""
        query = urlencode({"api_secret": self._secret.reveal(), "measurement_id": self._id})
        body = parts[0].key[:-1].encode() + b',"events":[' + b",".join([part.data for part in parts]) + b"]}"
        headers = {"Content-Type": "application/json", "User-Agent": f"millstream/{__version__}"}
        return Request("POST", f"{self._host}/mp/collect?{query}", headers, body, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:  # noqa: ARG002
        """Return what the status means. It is 2xx, too, for events that Google Analytics then throws away."""
        return judge(response, now, credentials="`api_secret`", address="`host`")


PAGE = {"url": "page_location", "referrer": "page_referrer", "title": "page_title"}


def _tracked(fields: Fields) -> tuple[str, dict[str, Any]]:
    """Return GA4's name of an event, and its params."""
    properties, title = fields.properties or NO_FIELDS, fields.event or ""
    known = ECOMMERCE.get(title)
    if known is None:
        return _name(title), _params(properties)
    name, names, items = known
    params = renamed(properties, names)
    match items:
        case "products":
            params["items"] = [renamed(product, ITEM) for product in objects_in(value_of(properties, "products"))]
        case "product":
            params["items"] = [renamed(properties, PRODUCT)]
        case "promotion" if "name" in properties:
            params["items"] = [{"item_name": properties["name"]}]
        case _:
            pass
    return name, params


def _params(properties: Mapping[str, Raw]) -> dict[str, Any]:
    """Return those properties that may be params: texts, numbers and booleans, as many as there may be."""
    params: dict[str, Any] = {}
    for name, raw in properties.items():
        written = bytes(raw)
        if written[0] in b"{[n":  # an object, a list, null
            continue
        long = len(written) > MAX_VALUE and written[0] == 34  # a text
        params[_name(name)] = msgspec.json.decode(written)[:MAX_VALUE] if long else raw
        if len(params) == MAX_PARAMS - 2:
            break
    return params


def _name(text: str) -> str:
    """Return a name as GA4 takes it: letters, digits and underscores, a letter first, at most 40."""
    name = text if text.isidentifier() and text.isascii() else _NO_NAME.sub("_", text)
    return name[:MAX_NAME] if name[:1].isalpha() else f"x{name}"[:MAX_NAME]


publish("millstream.destinations", GA4)
