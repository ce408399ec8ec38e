"""The examples under their servers, and visitors."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

from support.processes import environment
from support.servers import Server, served

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


class Visitor:
    """A browser: it keeps cookies, and asks without a proxy."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    @property
    def cookies(self) -> dict[str, str | None]:
        return {cookie.name: cookie.value for cookie in self.jar}

    def get(self, path: str, **headers: str) -> str:
        return self._ask("GET", path, headers)

    def post(self, path: str, **headers: str) -> str:
        return self._ask("POST", path, headers)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        """Ask; any answer but a 200 raises."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self._base}{path}", method=method, headers=named)
        with self._opener.open(request, timeout=PATIENCE) as answer:
            assert answer.status == 200
            return answer.read().decode()


@dataclass(frozen=True)
class RunningShop:
    """An example under its server."""

    server: Server

    def visitor(self) -> Visitor:
        return Visitor(self.server.port)


@dataclass(frozen=True)
class Shop:
    """How to start an example: `reload` is how to have its server start it again."""

    name: str
    command: str
    buy: tuple[str, ...] = ("/buy",)
    login: tuple[str, ...] = ("/login",)
    forks: str = ""

    @contextmanager
    def started(self, folder: Path, host: str, *options: str, **settings: str) -> Iterator[RunningShop]:
        variables = {
            "MILLSTREAM_WRITE_KEY": "k3y-of-the-shop",
            "MILLSTREAM_HOST": host,
            "DATABASE": str(folder / "shop.sqlite3"),
            **settings,
        }
        if "django" in self.command:
            subprocess.run(
                [sys.executable, "-m", "examples.frameworks.django_app", "migrate", "-v0"],
                check=True, cwd=ROOT, env={**environment(), **variables}, timeout=60,
            )  # fmt: skip
        with served(folder, *self.command.split(), *options, sources={}, **variables) as server:
            server.ask(least=1)
            yield RunningShop(server)


GUNICORN = "gunicorn --no-control-socket --bind fd://{fd} "
TWO = "--workers 2"
PRELOADED = "--workers 2 --preload"
SHOPS = [
    Shop("wsgi-gunicorn", GUNICORN + "--threads 8 examples.frameworks.wsgi_app:app", forks=PRELOADED),
    Shop("wsgi-gevent", GUNICORN + "--worker-class gevent examples.frameworks.wsgi_app:app", forks=TWO),
    Shop(
        "flask-gunicorn",
        GUNICORN + "--threads 8 examples.frameworks.flask_app:app",
        buy=("/buy", "/buy-async"),
        forks=PRELOADED,
    ),
    Shop(
        "django-gunicorn",
        GUNICORN + "--threads 8 examples.frameworks.django_app:application",
        buy=("/buy", "/buy-async"),
        login=("/login", "/login-async"),
        forks=PRELOADED,
    ),
    Shop(
        "django-uvicorn",
        "uvicorn --fd {fd} examples.frameworks.django_app:asgi_application",
        buy=("/buy", "/buy-async"),
        login=("/login", "/login-async"),
        forks=TWO,
    ),
    Shop("asgi-uvicorn", "uvicorn --fd {fd} examples.frameworks.asgi_app:app", forks=TWO),
    Shop("asgi-hypercorn", "hypercorn --bind fd://{fd} examples.frameworks.asgi_app:app", forks=TWO),
    Shop(
        "starlette-uvicorn",
        "uvicorn --fd {fd} examples.frameworks.starlette_app:app",
        buy=("/buy", "/buy-sync"),
        forks=TWO,
    ),
    Shop(
        "fastapi-uvicorn",
        "uvicorn --fd {fd} examples.frameworks.fastapi_app:app",
        buy=("/buy", "/buy-sync"),
        forks=TWO,
    ),
    Shop(
        "fastapi-gunicorn",
        GUNICORN + "--worker-class uvicorn_worker.UvicornWorker examples.frameworks.fastapi_app:app",
        buy=("/buy", "/buy-sync"),
        forks=TWO,
    ),
]
