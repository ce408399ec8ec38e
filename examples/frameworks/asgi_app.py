"""A shop as a plain ASGI application. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

uvicorn examples.frameworks.asgi_app:app
"""

import asyncio
import os
from http.cookies import SimpleCookie

from millstream import AsyncAnalytics
from millstream.integrations.asgi import MillstreamMiddleware

analytics = AsyncAnalytics()


async def shop(scope, receive, send):
    assert scope["type"] == "http"
    _, action, *rest = scope["path"].split("/")
    headers = [(b"content-type", b"text/html")]
    if action == "login":
        scope["millstream"].user_id = rest[0]
        headers.append((b"set-cookie", f"user={rest[0]}; Path=/".encode()))
        analytics.identify(traits={"plan": "free"})
    elif action == "buy":
        analytics.track("Checkout Started", properties={"item": rest[0]})
        await asyncio.sleep(0.02)  # the payment provider
        analytics.track("Item Purchased", properties={"item": rest[0], "revenue": 39.95})
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if action == "report":
        user = scope["query_string"].decode().removeprefix("user=")
        for number in range(3):
            analytics.track("Line Read", properties={"item": user, "number": number})
            await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
    body = f"<h1>Teapots</h1><p>served by {os.getpid()}</p>".encode()
    await send({"type": "http.response.body", "body": body})


def user_of(scope):
    """The user's id. A real application signs its cookies, and keeps the user in a session."""
    cookies = SimpleCookie(dict(scope["headers"]).get(b"cookie", b"").decode())
    return cookies["user"].value if "user" in cookies else None


app = MillstreamMiddleware(shop, analytics, user_id=user_of, page_events=True)
