"""The routes, and the end: what was recorded is delivered before the process goes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import account, browse, buy, mobile, visitors
from .report import reported
from .tracking import analytics


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.served = 0
    with reported(app, analytics, os.environ.get("SHOP_REPORT")):
        yield
        # Waiting here holds up nobody: the last request has been answered.
        analytics.close_and_flush(timeout=20)


async def bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=visitors.recognise)],
    exception_handlers={msgspec.DecodeError: bad_request},
    routes=[
        Route("/", browse.home),
        Route("/category/{name}", browse.category),
        Route("/search", browse.search),
        Route("/products/{sku}", browse.product),
        Route("/cart", buy.cart),
        Route("/cart", buy.add, methods=["POST"]),
        Route("/cart/remove", buy.remove, methods=["POST"]),
        Route("/checkout", buy.checkout),
        Route("/orders", buy.order, methods=["POST"]),
        Route("/orders/{id}", buy.thanks),
        Route("/signup", account.sign_up, methods=["GET", "POST"]),
        Route("/login", account.log_in, methods=["GET", "POST"]),
        Route("/company", account.company, methods=["GET", "POST"]),
        Route("/app/products", mobile.products),
        Route("/app/screens", mobile.screens, methods=["POST"]),
    ],
)
