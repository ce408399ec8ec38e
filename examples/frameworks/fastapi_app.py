"""A shop in FastAPI. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

uvicorn examples.frameworks.fastapi_app:app
"""

import asyncio
import os
import time
from typing import Annotated

from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from millstream import AsyncAnalytics
from millstream.integrations.fastapi import MillstreamMiddleware, Visitor

analytics = AsyncAnalytics()
app = FastAPI()
app.add_middleware(MillstreamMiddleware, analytics=analytics, page_events=True)


def current_user(visitor: Visitor, user: Annotated[str | None, Cookie()] = None) -> str | None:
    """The user's id. A real application verifies a token here, and looks the user up."""
    if user is not None:
        visitor.user_id = user
    return user


User = Annotated[str | None, Depends(current_user)]


@app.get("/")
async def home(user: User) -> HTMLResponse:
    return HTMLResponse(f"<h1>Teapots</h1><p>served by {os.getpid()}</p>")


@app.post("/login/{user}")
async def login(user: str, visitor: Visitor, response: Response) -> str:
    response.set_cookie("user", user)
    visitor.user_id = user
    analytics.identify(traits={"plan": "free"})
    return "welcome"


@app.post("/buy/{item}")
async def buy(item: str, user: User, background: BackgroundTasks) -> str:
    analytics.track("Checkout Started", properties={"item": item})
    await asyncio.sleep(0.02)  # the payment provider
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    background.add_task(analytics.track, "Mail Sent", properties={"item": item})
    return "thank you"


@app.post("/buy-sync/{item}")
def buy_in_a_thread(item: str, user: User) -> str:
    time.sleep(0.02)
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return "thank you"


@app.get("/report")
async def report(visitor: Visitor, current: User, user: str) -> StreamingResponse:
    async def lines():
        for number in range(3):
            analytics.track("Line Read", properties={"item": user, "number": number})
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")
