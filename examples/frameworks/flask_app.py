"""A shop in Flask. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

gunicorn examples.frameworks.flask_app:app
"""

import os
import time

from flask import Flask, Response, request, session

from millstream import Analytics
from millstream.integrations.flask import Millstream

analytics = Analytics()
app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for this example")
Millstream(app, analytics, user_id=lambda _: session.get("user"), page_events=True)


@app.get("/")
def home() -> str:
    return f"<h1>Teapots</h1><p>served by {os.getpid()}</p>"


@app.post("/login/<user>")
def login(user: str) -> str:
    session["user"] = user
    analytics.identify(traits={"plan": "free"})
    return "welcome"


@app.post("/buy/<item>")
def buy(item: str) -> str:
    analytics.track("Checkout Started", properties={"item": item})
    time.sleep(0.02)  # the payment provider
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return "thank you"


@app.post("/buy-async/<item>")
async def buy_async(item: str) -> str:
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return "thank you"


@app.get("/report")
def report() -> Response:
    user = request.args.get("user", "")

    def lines():
        for number in range(3):
            analytics.track("Line Read", properties={"item": user, "number": number})
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")
