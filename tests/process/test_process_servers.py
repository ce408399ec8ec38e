"""Real servers: with what docs/how-to/run-under-a-server.md says, all of them deliver everything, once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.api import Api
from support.processes import environment
from support.servers import served

pytestmark = pytest.mark.process

WSGI = """
    import os
    from millstream import Analytics
    analytics = Analytics("key", host=os.environ["API"], flush_interval=300, flush_at=1000)
    if "QUIET" not in os.environ:
        analytics.track("Loaded", user_id="u")

    def app(environ, start_response):
        analytics.track("Asked", user_id="u")
        start_response("200 OK", [])
        return [b"%d" % os.getpid()]
"""
ASGI = """
    import os
    from contextlib import asynccontextmanager
    from millstream import Analytics, AsyncAnalytics
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    if "ASYNC" in os.environ:
        analytics = AsyncAnalytics("key", host=os.environ["API"], flush_interval=300, flush_at=1000)
    else:
        analytics = Analytics("key", host=os.environ["API"], flush_interval=300, flush_at=1000)

    @asynccontextmanager
    async def lifespan(app):
        yield
        if "ASYNC" in os.environ:
            await analytics.close_and_flush(timeout=10)
        else:
            analytics.close_and_flush(timeout=10)

    async def ask(request):
        analytics.track("Asked", user_id="u")
        return PlainTextResponse(str(os.getpid()))

    app = Starlette(routes=[Route("/", ask)], lifespan=lifespan)
"""
TASKS = """
    import os
    from celery import Celery
    from millstream import Analytics
    analytics = Analytics("key", host=os.environ["API"], flush_interval=300, flush_at=1000)
    folder = os.environ["BROKER"]
    app = Celery("tasks", broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control"
    }

    @app.task
    def work(n):
        analytics.track("Worked", user_id="u", properties={"n": n, "pid": os.getpid()})
"""


def counted(api: Api) -> Counter[str]:
    """What has arrived, by name; and each event once."""
    assert len({event["messageId"] for event in api.accepted}) == len(api.accepted)
    return Counter(event["event"] for event in api.accepted)


@pytest.mark.parametrize("options", ["sync", "sync --preload", "gthread", "gthread --preload", "gevent"])
def test_gunicorn(api: Api, tmp_path: Path, options: str) -> None:
    """Under gunicorn nothing has to be done: its workers, and with `--preload` its master, end in good order."""
    command = [
        "gunicorn",
        "shop:app",
        "--no-control-socket",
        "--workers",
        "2",
        "--bind",
        "fd://{fd}",
        "--worker-class",
        *options.split(),
    ]
    with served(tmp_path, *command, sources={"shop": WSGI}, API=api.url) as server:
        asked = server.ask(workers=2)
        assert server.stop().code == 0
    assert counted(api) == {"Asked": asked, "Loaded": 1 if "preload" in options else 2}


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("colour", [{}, {"ASYNC": "1"}], ids=["Analytics", "AsyncAnalytics"])
def test_uvicorn(api: Api, tmp_path: Path, colour: dict[str, str], workers: list[str]) -> None:
    """Under uvicorn the lifespan closes the client."""
    command = ["uvicorn", "shop:app", "--fd", "{fd}", *workers]
    with served(tmp_path, *command, sources={"shop": ASGI}, API=api.url, **colour) as server:
        asked = server.ask(workers=2 if workers else 1)
        assert server.stop().code in {0, -signal.SIGTERM}
    assert counted(api) == {"Asked": asked}


def test_celery(api: Api, tmp_path: Path) -> None:
    """Celery's pool of processes skips exit hooks and finalizers; its children deliver all the same."""
    broker = tmp_path / "broker"
    (broker / "control").mkdir(parents=True)
    sources = {"tasks": TASKS}
    command = ["celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with served(tmp_path, *command, sources=sources, API=api.url, BROKER=str(broker)) as server:
        subprocess.run(
            [sys.executable, "-c", "from tasks import work; [work.delay(n) for n in range(10)]"],
            check=True,
            cwd=tmp_path,
            env={**environment(), "API": "http://127.0.0.1:1", "BROKER": str(broker)},
            timeout=30,
        )
        server.wait_for("succeeded", 10)
        assert server.stop().code == 0
    assert counted(api) == {"Worked": 10}


@pytest.mark.parametrize("lazy", [[], ["--lazy-apps"]], ids=["prefork", "lazy"])
def test_uwsgi(api: Api, tmp_path: Path, lazy: list[str]) -> None:
    """Under uWSGI its workers deliver, with a fork that Python is not told of, and with `lazy-apps`."""
    run = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
    options = ["--master", "--processes", "2", "--need-app", "--http-socket", "127.0.0.1:0", "--module", "shop:app"]
    options += ["--enable-threads", "--hook-master-start", "unix_signal:15 gracefully_kill_them_all", *lazy]
    quiet = {} if lazy else {"QUIET": "1"}  # the master would record, and has no end that we could see
    with served(tmp_path, "run", *options, sources={"shop": WSGI, "run": run}, API=api.url, **quiet) as server:
        server.wait_for("spawned uWSGI worker 2")
        server.find_port("127.0.0.1:")
        asked = server.ask(workers=2)
        assert server.stop().code == 0
    assert counted(api) == ({"Asked": asked, "Loaded": 2} if lazy else {"Asked": asked})
