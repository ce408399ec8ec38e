"""A shop in Django, in one file. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where its events go.

python -m examples.frameworks.django_app migrate
gunicorn examples.frameworks.django_app:application
uvicorn examples.frameworks.django_app:asgi_application
"""

import asyncio
import os
import sys
import time

from django.conf import settings


def traits_of(user):
    """What is told of a user who logs in."""
    return {"name": user.get_username()}


settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", "shop.sqlite3"),
            "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "millstream.integrations.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "millstream.integrations.django.MillstreamMiddleware",
    ],
    MILLSTREAM={"page_events": True, "traits": traits_of},
)

from django.contrib.auth import alogin, get_user_model, login  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from millstream.integrations.asgi import FlushOnShutdown  # noqa: E402

application = get_wsgi_application()

from millstream.integrations.django import analytics  # noqa: E402

asgi_application = FlushOnShutdown(get_asgi_application(), analytics)


def home(request):
    return HttpResponse(f"<h1>Teapots</h1><p>served by {os.getpid()}</p>")


def log_in(request, user):
    found, _ = get_user_model().objects.get_or_create(username=user)
    login(request, found)
    return HttpResponse("welcome", content_type="text/plain")


async def log_in_async(request, user):
    found, _ = await get_user_model().objects.aget_or_create(username=user)
    await alogin(request, found)
    return HttpResponse("welcome", content_type="text/plain")


def buy(request, item):
    analytics.track("Checkout Started", properties={"item": item})
    time.sleep(0.02)  # the payment provider
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return HttpResponse("thank you", content_type="text/plain")


async def buy_async(request, item):
    analytics.track("Checkout Started", properties={"item": item})
    await asyncio.sleep(0.02)
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return HttpResponse("thank you", content_type="text/plain")


def report(request):
    user = request.GET["user"]

    def lines():
        for number in range(3):
            analytics.track("Line Read", properties={"item": user, "number": number})
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


urlpatterns = [
    path("", home),
    path("login/<user>", log_in),
    path("login-async/<user>", log_in_async),
    path("buy/<item>", buy),
    path("buy-async/<item>", buy_async),
    path("report", report),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
