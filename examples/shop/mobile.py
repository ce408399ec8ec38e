"""What the shop's mobile app asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .data import PRODUCTS
from .tracking import analytics
from .visitors import visitor_of


class Screen(msgspec.Struct):
    name: str
    shown_at: datetime
    sku: str | None = None


class Shown(msgspec.Struct):
    device_id: str
    app_version: str
    screens: list[Screen]


async def products(_: Request) -> Response:
    return JSONResponse([{"sku": product.sku, "name": product.name} for product in PRODUCTS.values()])


async def screens(request: Request) -> Response:
    """The app says which screens it showed, also those from before it had a network: each has its own time."""
    shown = msgspec.json.decode(await request.body(), type=Shown)
    # The app has no cookies from a first page: its anonymous id is its own.
    visitor = replace(visitor_of(request), anonymous_id=shown.device_id, user_agent=f"ShopApp/{shown.app_version}")
    for screen in shown.screens:
        analytics.screen(
            screen.name,
            **visitor.who,
            properties={"sku": screen.sku} if screen.sku else None,
            timestamp=screen.shown_at,
        )
    return Response(status_code=204)
