"""The catalogue."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from . import pages
from .data import CATEGORIES, PRODUCTS
from .tracking import analytics
from .visitors import visitor_of


async def home(request: Request) -> Response:
    return pages.show(request, "The Shop", pages.categories(), category="Home")


async def category(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in CATEGORIES:
        raise HTTPException(404)
    found = [product for product in PRODUCTS.values() if product.category == name]
    analytics.track(
        "Product List Viewed",
        **visitor_of(request).who,
        properties={"list_id": name, "category": name, "products": [product.properties() for product in found]},
    )
    return pages.show(request, name.title(), pages.products(found), category="Catalogue")


async def search(request: Request) -> Response:
    query = request.query_params.get("q", "")
    found = [product for product in PRODUCTS.values() if query.lower() in product.name.lower()]
    analytics.track(
        "Products Searched",
        **visitor_of(request).who,
        properties={"query": query, "results": len(found)},
    )
    return pages.show(request, "Search", pages.products(found), category="Catalogue")


async def product(request: Request) -> Response:
    shown = PRODUCTS.get(request.path_params["sku"])
    if shown is None:
        raise HTTPException(404)
    analytics.track("Product Viewed", **visitor_of(request).who, properties=shown.properties())
    return pages.show(request, shown.name, pages.product(shown), category="Product")
