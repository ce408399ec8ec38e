"""The collector over HTTP, as clients meet it: a real server on loopback."""

from __future__ import annotations

import gzip
import json
import select
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from millstream.collector import Collector, Files, listen, url_of
from millstream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

pytestmark = pytest.mark.process

TRACK = {"type": "track", "event": "Paid", "userId": "u1"}


class Served:
    """An application on a port, and a client for it."""

    def __init__(self, app: ASGIApp) -> None:
        self.listener = listen()
        self.url = url_of(self.listener)
        self.pool = urllib3.PoolManager(retries=False, timeout=10)
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        self._thread = threading.Thread(target=self._server.run, args=([self.listener],))
        self._thread.start()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.pool.request("POST", self.url + path, body=data, headers=headers)
        return answer.status, answer.json()

    def get(self, path: str) -> Any:
        answer = self.pool.request("GET", self.url + path)
        assert answer.status == 200
        return answer

    def stop(self) -> None:
        self.pool.clear()
        self._server.should_exit = True
        self._thread.join()
        self.listener.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Files]:
    store = Files(tmp_path)
    yield store
    store.close()


@pytest.fixture
def served(store: Files) -> Iterator[Served]:
    served = Served(Collector(store))
    yield served
    served.stop()


def send_for_ever(client: socket.socket, piece: bytes) -> None:
    while True:
        client.sendall(piece)


def lines(store: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(store.path.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def test_what_is_answered_200_is_in_the_file(served: Served, store: Files) -> None:
    """When the client reads its answer, the events can be read too."""
    assert served.post("/v1/batch", {"batch": [TRACK, TRACK]}) == (200, {"success": True})
    assert [line["event"] for line in lines(store)] == ["Paid", "Paid"]


@pytest.mark.parametrize("route", ["identify", "track", "page", "screen", "group", "alias", "batch", "import"])
def test_every_route_of_the_tracking_api_is_there(served: Served, store: Files, route: str) -> None:
    """Any Segment client finds the path it posts to."""
    body = {"batch": [TRACK]} if route in {"batch", "import"} else {"userId": "u1", "event": "Paid"}
    assert served.post(f"/v1/{route}", body) == (200, {"success": True})
    assert [line["type"] for line in lines(store)] == ["track" if "batch" in body else route]


def test_a_compressed_body_is_understood(served: Served, store: Files) -> None:
    """Clients may compress, with the header that says so."""
    body = gzip.compress(json.dumps({"batch": [TRACK]}).encode())
    assert served.post("/v1/batch", body, **{"Content-Encoding": "gzip"}) == (200, {"success": True})
    assert len(lines(store)) == 1


def test_the_stats_account_for_every_event(served: Served) -> None:
    """`received == stored + rejected + failed`, by reason and by type; refused requests stand beside them."""
    served.post("/v1/batch", {"batch": [TRACK, {**TRACK, "userId": None}, {**TRACK, "type": "page"}, 5]})
    served.post("/v1/batch", b"{")
    assert served.get("/stats").json() == {
        "requests": 2,
        "received": 4,
        "stored": 2,
        "duplicates": 0,
        "failed": 0,
        "rejected": 2,
        "times_unknown": 0,
        "empty_batches": 0,
        "rejected_by_reason": {"no_user_anon_id": 1, "event_not_object": 1},
        "refused_by_reason": {"invalid_json": 1},
        "stored_by_type": {"track": 1, "page": 1},
    }


def test_a_refusal_says_why(served: Served) -> None:
    """A 400 has a code for programs and a message for people."""
    status, answer = served.post("/v1/batch", b"[]")
    assert status == 400
    assert answer == {
        "success": False,
        "code": "invalid_request",
        "message": "Expected `object`, got `array`",
    }


def test_a_store_that_fails_is_answered_503(served: Served, store: Files) -> None:
    """A client that hears 503 tries again; one that heard 200 would forget the event."""
    store.close()
    status, answer = served.post("/v1/batch", {"batch": [TRACK]})
    assert (status, answer["code"]) == (503, "not_stored")
    stats = served.get("/stats").json()
    assert (stats["received"], stats["stored"], stats["failed"]) == (1, 0, 1)


def test_only_known_keys_may_write(tmp_path: Path) -> None:
    """With `keys`, Basic auth as every Segment client sends it opens the door, and nothing else does."""
    collector = Collector(tmp_path, keys=["good"])
    served = Served(collector)
    headers = urllib3.make_headers(basic_auth="good:")
    try:
        assert served.post("/v1/batch", {"batch": [TRACK]}, **headers)[0] == 200
        assert served.post("/v1/batch", {"batch": [TRACK]})[0] == 401
    finally:
        served.stop()
        collector.close()
    assert collector.counts.stored == 1


def test_keys_are_a_collection() -> None:
    """`keys="abc"` would admit the keys a, b and c."""
    with pytest.raises(SettingsError, match=r"keys=\[key\]"):
        Collector("unused", keys="abc")


def test_a_body_too_large_is_answered_413(served: Served, store: Files) -> None:
    """The client hears what was wrong although it had not finished speaking, and nothing is kept."""
    status, answer = served.post("/v1/batch", b" " * (3 << 20))
    assert (status, answer["code"]) == (413, "body_too_large")
    assert lines(store) == []
    assert served.post("/v1/batch", {"batch": [TRACK]})[0] == 200


def test_an_endless_body_is_not_read_for_ever(served: Served) -> None:
    """Who never stops sending is cut off."""
    piece = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
    with socket.create_connection(served.listener.getsockname(), timeout=10) as client:
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(client, piece)
    assert served.get("/stats").json()["refused_by_reason"] == {"body_too_large": 1}


def test_a_client_that_stalls_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """Who began a request and does not go on hears 503, and the operator sees no traceback."""
    program = (
        "import sys; from millstream.collector import Collector, listen, serve, url_of; listener = listen();"
        "serve(Collector(sys.argv[1]), listener, ready=lambda: print(url_of(listener), flush=True), patience=0)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
            client.sendall(b"Expect: 100-continue\r\n\r\n")
            # The server says this when it begins to wait for the body.
            assert client.recv(1000).startswith(b"HTTP/1.1 100")
            process.terminate()
            assert client.recv(1000).startswith(b"HTTP/1.1 503")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err


SERVE = """
import sys
from millstream.collector import Collector, listen, serve, url_of
listener = listen()
collector = Collector.in_memory()

async def asgi(scope, receive, send):
    await collector(scope, receive, send)

serve(
    asgi if sys.argv[1] == "asgi" else collector,
    listener,
    ready=lambda: print(url_of(listener), flush=True),
    stopping=collector.stop,
    request_timeout=0.5,
    keep_alive=1,
)
"""


@pytest.fixture(params=["direct", "asgi"])
def impatient(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The address of a collector that gives requests half a second and the next one a second, and has few files.

    In the end it has said nothing, and stops.
    """
    command = ["sh", "-c", 'ulimit -Sn 64 && exec "$0" "$@"', sys.executable, "-W", "error", "-c", SERVE, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield "127.0.0.1", int(process.stdout.readline().rpartition(":")[2])
            process.terminate()
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")


def rest(client: socket.socket) -> bytes:
    """What still comes, until the other side has ended it."""
    data = b""
    try:
        while more := client.recv(1000):
            data += more
    except ConnectionError:
        pass
    return data


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [b"POST /v1/ba"],
        [b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{"],
        [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /health HT"],
    ],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_who_is_too_slow_is_cut_off(impatient: tuple[str, int], steps: list[bytes]) -> None:
    """A connection that brings its request byte by byte, or never, is not held open for ever; others are served on."""
    with socket.create_connection(impatient, timeout=20) as slow:
        for number, step in enumerate(steps):
            slow.sendall(step)
            if number < len(steps) - 1:
                assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        assert b"HTTP" not in rest(slow)
    pool = urllib3.PoolManager(retries=False, timeout=10)
    host, port = impatient
    assert pool.request("POST", f"http://{host}:{port}/v1/track", json=TRACK).status == 200
    pool.clear()


PAGES = b"GET /debug/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
WATCH = b"GET /debug/events?whole=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
LEAVE = b"GET /debug/app.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("asked", [PAGES, WATCH, PAGES[: len(PAGES) // 2] + LEAVE], ids=["many", "watching", "leaving"])
def test_a_client_that_does_not_read_is_cut_off(impatient: tuple[str, int], asked: bytes) -> None:
    """What was made for it would be kept for as long as it likes."""
    event = {**TRACK, "properties": {"note": "x" * 30_000}}
    with urllib3.PoolManager(retries=False, timeout=10) as pool, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(impatient)
        lazy.sendall(asked)
        ended = select.poll()
        ended.register(lazy, select.POLLHUP)
        host, port = impatient
        for _ in range(500):  # the watcher has something to read; the others have time
            if ended.poll(20):
                break
            assert pool.request("POST", f"http://{host}:{port}/v1/batch", json={"batch": [event] * 10}).status == 200
        else:
            pytest.fail("it was not cut off")


@pytest.mark.parametrize("line", [b"POST /v1/track", b"GET /health"])
def test_a_connection_without_requests_is_not_kept_for_ever(impatient: tuple[str, int], line: bytes) -> None:
    """Whichever way the last one went."""
    body = json.dumps(TRACK).encode()
    with socket.create_connection(impatient, timeout=20) as client:
        client.sendall(b"%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (line, len(body), body))
        assert rest(client).startswith(b"HTTP/1.1 200")


def test_many_connections_are_more_than_a_usual_limit_of_files(impatient: tuple[str, int]) -> None:
    """Browsers keep theirs open: a new one still gets its answer."""
    with ExitStack() as others:
        for _ in range(200):
            others.enter_context(socket.create_connection(impatient, timeout=20))
        with socket.create_connection(impatient, timeout=20) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_headers_without_end_are_refused(impatient: tuple[str, int]) -> None:
    """They would fill the memory, and nobody needs so many."""
    with socket.create_connection(impatient, timeout=20) as client:
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nX-Long: %b\r\n" % (b"x" * 60_000))
        with pytest.raises(ConnectionError):
            send_for_ever(client, b"X-Long: %b\r\n" % (b"x" * 8000))


def test_answers_do_not_wait_for_the_clients_acknowledgement(served: Served) -> None:
    """The sockets are without Nagle's delay, which would cost 40 ms an answer on a connection kept open."""
    assert served.listener.proto == socket.IPPROTO_TCP


def test_it_says_what_it_is_and_that_it_is_up(served: Served) -> None:
    """A browser or a health check that comes by gets a plain answer."""
    assert b"<html" in served.get("/").data
    assert served.get("/health").json() == {"status": "ok"}


def test_it_can_be_mounted_in_another_application(store: Files) -> None:
    """A Collector is an ASGI application like any other."""
    served = Served(Starlette(routes=[Mount("/events", Collector(store))]))
    try:
        assert served.post("/events/v1/track", {"event": "Paid", "userId": "u1"}) == (200, {"success": True})
    finally:
        served.stop()
    assert [line["type"] for line in lines(store)] == ["track"]
