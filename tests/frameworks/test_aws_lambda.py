"""AWS Lambda: the platform's own runtime client calls the example, which is frozen as soon as it has answered."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.api import Api, status
from support.processes import child, environment

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


class Platform:
    """The Runtime API: hands out invocations, and takes what the function answers."""

    def __init__(self) -> None:
        invocations: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.invocations, self.answers = invocations, answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps(invocations.get()).encode()
                self.send_response(200)
                deadline = str(int(time.time() * 1000) + 10_000)
                for name, value in {
                    "Lambda-Runtime-Aws-Request-Id": "id",
                    "Lambda-Runtime-Deadline-Ms": deadline,
                    "Lambda-Runtime-Invoked-Function-Arn": "arn",
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answers.put({"path": self.path, "body": json.loads(body)})
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform()
    yield platform
    platform.close()


def request(item: str, **more: Any) -> dict[str, Any]:
    """An invocation by an HTTP API (payload version 2.0)."""
    http = {"method": "POST", "path": f"/buy/{item}", "sourceIp": "203.0.113.7", "userAgent": "Firefox"}
    return {
        "version": "2.0",
        "rawPath": f"/buy/{item}",
        "rawQueryString": "utm_source=mail",
        "headers": {"host": "shop.example.com", "user-agent": "Firefox", "x-forwarded-proto": "https"},
        "pathParameters": {"item": item},
        "requestContext": {"http": http, **more},
    }


@pytest.mark.parametrize("ill", [False, True], ids=["delivered", "a wrong key"])
def test_a_function_that_is_frozen_when_it_answers(api: Api, platform: Platform, ill: bool) -> None:
    """Its events have arrived when it answers, with the ids and context of its request, and nothing breaks it."""
    if ill:
        api.always = status(401)
    runtime = child(
        subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "examples.frameworks.lambda_handler.handler"],
            cwd=ROOT,
            env={
                **environment(),
                "AWS_LAMBDA_RUNTIME_API": platform.address,
                "LAMBDA_TASK_ROOT": str(ROOT),
                "MILLSTREAM_WRITE_KEY": "key",
                "MILLSTREAM_HOST": api.url,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    user = {"authorizer": {"jwt": {"claims": {"sub": "user-17"}}}}
    cookies: list[list[str]] = []
    for number, more in enumerate(({}, user)):
        platform.invocations.put(request(f"item-{number}", **more))
        answer = platform.answers.get(timeout=PATIENCE)
        os.kill(runtime.pid, signal.SIGSTOP)
        assert answer["path"].endswith("/response"), answer
        assert answer["body"]["statusCode"] == 200
        assert len(api.requests) == number + 1
        cookies.append(answer["body"].get("cookies", []))
        os.kill(runtime.pid, signal.SIGCONT)
    if not ill:
        first, second = api.accepted
        assert [cookie.partition(";")[0] for cookie in cookies[0]] == [f"ajs_anonymous_id={first['anonymousId']}"]
        assert cookies[1] == []
        assert (second["userId"], second["properties"]["item"]) == ("user-17", "item-1")
        context = first["context"]
        assert (context["ip"], context["userAgent"], context["campaign"]) == (
            "203.0.113.7", "Firefox", {"source": "mail"},
        )  # fmt: skip
        assert context["page"] == {"path": "/buy/item-0", "url": "https://shop.example.com/buy/item-0"}
