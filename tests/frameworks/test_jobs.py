"""Job queues under their real workers: tasks record with the ids of those who sent them, and workers deliver."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.needs import needs
from support.ports import reserved_port
from support.processes import child, environment
from support.servers import served

ROOT = Path(__file__).parents[2]
SEND = """
import sys, millstream
from examples.frameworks.{module} import {names}
for number in range(10):
    with millstream.context(user_id=f"user-{{number}}", anonymous_id=f"visitor-{{number}}"):
        {send}
"""


def ids(api: Api) -> Counter[tuple[str, str, int]]:
    assert len({event["messageId"] for event in api.accepted}) == len(api.accepted)
    return Counter((event["userId"], event["anonymousId"], event["properties"]["order"]) for event in api.accepted)


EXPECTED = {(f"user-{number}", f"visitor-{number}", number): 1 for number in range(10)}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_celery(api: Api, tmp_path: Path, pool: str) -> None:
    """In each kind of pool a task's events have the ids of the one who has sent it, and are delivered at the end."""
    broker = tmp_path / "broker"
    (broker / "control").mkdir(parents=True)
    variables = {"MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": api.url, "BROKER": str(broker)}
    command = f"celery -A examples.frameworks.celery_app worker --pool {pool} --concurrency 2 --loglevel INFO"
    command += " --without-gossip --without-mingle --without-heartbeat"
    with served(tmp_path, *command.split(), sources={}, **variables) as server:
        send = SEND.format(module="celery_app", names="ship", send="ship.delay(number)")
        subprocess.run(
            [sys.executable, "-c", send], check=True, cwd=ROOT, env={**environment(), **variables}, timeout=30
        )
        server.wait_for("succeeded", 10)
        assert server.stop().code == 0
    assert ids(api) == EXPECTED


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A Redis server of the test's own; its URL."""
    program = shutil.which("redis-server")
    needs(program, "install redis-server, which RQ keeps its jobs in")
    with reserved_port() as port:
        command = [str(program), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
        process = child(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert process.stdout is not None
        while "Ready to accept connections" not in (line := process.stdout.readline()):
            assert line, "redis-server has ended"
        yield f"redis://127.0.0.1:{port}"
        process.terminate()


def test_rq(api: Api, tmp_path: Path, redis: str) -> None:
    """A job's events have the ids of the one who has enqueued it, and are delivered before its process ends."""
    variables = {"MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": api.url, "REDIS": redis, "PYTHONPATH": str(ROOT)}
    send = SEND.format(module="rq_jobs", names="queue, ship", send="queue.enqueue(ship, number)")
    subprocess.run([sys.executable, "-c", send], check=True, cwd=ROOT, env={**environment(), **variables}, timeout=30)
    worker = "rq.cli worker --burst --job-class millstream.integrations.rq.MillstreamJob --url"
    done = subprocess.run(
        [sys.executable, "-m", *worker.split(), redis],
        check=False, cwd=ROOT, env={**environment(), **variables}, timeout=90, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ids(api) == EXPECTED, done.stderr
