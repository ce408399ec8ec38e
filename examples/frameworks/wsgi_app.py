"""A shop as a plain WSGI application. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

gunicorn examples.frameworks.wsgi_app:app
"""

import os
import time
from http.cookies import SimpleCookie

from millstream import Analytics
from millstream.integrations.wsgi import MillstreamMiddleware

analytics = Analytics()


def shop(environ, start_response):
    _, action, *rest = environ["PATH_INFO"].split("/")
    headers = [("Content-Type", "text/html")]
    if action == "login":
        environ["millstream"].user_id = rest[0]
        headers.append(("Set-Cookie", f"user={rest[0]}; Path=/"))
        analytics.identify(traits={"plan": "free"})
    elif action == "buy":
        analytics.track("Checkout Started", properties={"item": rest[0]})
        time.sleep(0.02)  # the payment provider
        analytics.track("Item Purchased", properties={"item": rest[0], "revenue": 39.95})
    start_response("200 OK", headers)
    if action == "report":
        return report(environ["QUERY_STRING"].removeprefix("user="))
    return [f"<h1>Teapots</h1><p>served by {os.getpid()}</p>".encode()]


def report(user):
    for number in range(3):
        analytics.track("Line Read", properties={"item": user, "number": number})
        yield f"line {number}\n".encode()


def user_of(environ):
    """The user's id. A real application signs its cookies, and keeps the user in a session."""
    cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    return cookies["user"].value if "user" in cookies else None


app = MillstreamMiddleware(shop, analytics, user_id=user_of, page_events=True)
