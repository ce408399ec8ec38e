"""A shop in Starlette. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

uvicorn examples.frameworks.starlette_app:app
"""

import asyncio
import os
import time

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from millstream import AsyncAnalytics
from millstream.integrations.starlette import MillstreamMiddleware

analytics = AsyncAnalytics()


async def home(request: Request) -> HTMLResponse:
    return HTMLResponse(f"<h1>Teapots</h1><p>served by {os.getpid()}</p>")


async def login(request: Request) -> PlainTextResponse:
    request.session["user"] = request.path_params["user"]
    analytics.identify(traits={"plan": "free"})
    return PlainTextResponse("welcome")


async def buy(request: Request) -> PlainTextResponse:
    item = request.path_params["item"]
    analytics.track("Checkout Started", properties={"item": item})
    await asyncio.sleep(0.02)  # the payment provider
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return PlainTextResponse("thank you")


def buy_in_a_thread(request: Request) -> PlainTextResponse:
    time.sleep(0.02)
    analytics.track("Item Purchased", properties={"item": request.path_params["item"], "revenue": 39.95})
    return PlainTextResponse("thank you")


async def report(request: Request) -> StreamingResponse:
    user = request.query_params["user"]

    async def lines():
        for number in range(3):
            analytics.track("Line Read", properties={"item": user, "number": number})
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login/{user}", login, methods=["POST"]),
        Route("/buy/{item}", buy, methods=["POST"]),
        Route("/buy-sync/{item}", buy_in_a_thread, methods=["POST"]),
        Route("/report", report),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key=os.environ.get("SECRET_KEY", "only for this example")),
        Middleware(
            MillstreamMiddleware,
            analytics=analytics,
            user_id=lambda scope: scope["session"].get("user"),
            page_events=True,
        ),
    ],
)
