"""The cart and the checkout."""

from __future__ import annotations

from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages
from .data import CURRENCY, PRODUCTS, Line, db
from .tracking import analytics
from .visitors import form_of, visitor_of


async def cart(request: Request) -> Response:
    visitor = visitor_of(request)
    lines = db.cart(visitor.anonymous_id)
    analytics.track("Cart Viewed", **visitor.who, properties={"products": [line.properties() for line in lines]})
    return pages.show(request, "Your cart", pages.cart(lines), category="Checkout")


async def add(request: Request) -> Response:
    visitor = visitor_of(request)
    [sku] = await form_of(request, "sku")
    if sku not in PRODUCTS:
        raise HTTPException(400, "there is no such product")
    db.add_to_cart(visitor.anonymous_id, sku)
    analytics.track("Product Added", **visitor.who, properties=Line(PRODUCTS[sku], 1).properties())
    return RedirectResponse("/cart", status_code=303)


async def remove(request: Request) -> Response:
    visitor = visitor_of(request)
    [sku] = await form_of(request, "sku")
    if line := db.remove_from_cart(visitor.anonymous_id, sku):
        analytics.track("Product Removed", **visitor.who, properties=line.properties())
    return RedirectResponse("/cart", status_code=303)


async def checkout(request: Request) -> Response:
    visitor = visitor_of(request)
    lines = db.cart(visitor.anonymous_id)
    analytics.track(
        "Checkout Started",
        **visitor.who,
        properties={
            "value": sum(line.total for line in lines),
            "currency": CURRENCY,
            "products": [line.properties() for line in lines],
        },
    )
    return pages.show(request, "Checkout", pages.button("/orders", "Buy"), category="Checkout")


async def order(request: Request) -> Response:
    visitor = visitor_of(request)
    if not db.cart(visitor.anonymous_id):
        raise HTTPException(400, "the cart is empty")
    placed = db.add_order(visitor.anonymous_id)
    analytics.track(
        "Order Completed",
        **visitor.who,
        properties={
            "order_id": placed.id,
            "revenue": placed.revenue,
            "shipping": placed.shipping,
            "tax": placed.tax,
            "total": placed.total,
            "currency": CURRENCY,
            "products": [line.properties() for line in placed.lines],
            "ordered_at": placed.ordered_at,
            "delivery_by": (placed.ordered_at + timedelta(days=3)).date(),
        },
    )
    return RedirectResponse(f"/orders/{placed.id}", status_code=303)


async def thanks(request: Request) -> Response:
    placed = db.orders.get(request.path_params["id"])
    if placed is None or placed.anonymous_id != visitor_of(request).anonymous_id:
        raise HTTPException(404)
    body = f"<p>{placed.id}: {pages.money(placed.total)}</p>"
    return pages.show(request, "Thank you", body, category="Checkout")
