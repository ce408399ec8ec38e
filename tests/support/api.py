"""A Tracking API for tests: a real HTTP/1.1 server on loopback with full control of the wire.

    api.script(status(503), drop())      what the next requests are answered with; after them `always`, which is a 200
    held = api.hold()                    the next request is answered when the test says `held.release()`
    api.wait_for(2)                      until two requests have come: the list of them, or an AssertionError
    api.events                           all events that have come, in order
    api.refuse() … api.listen()          nobody is there, and then the same address again

Every wait has a deadline and is built on a Condition: a test never sleeps.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PATIENCE = 30.0
"""Seconds that a test waits for what must come: long, because it costs nothing when it comes."""


@dataclass
class Answer:
    """What a request is answered with.

    `sent` says how much of it goes out: the whole, half of the body, or nothing; `then` what becomes of the connection
    afterwards: it is kept, closed, reset, stalls (stays open, and nothing more comes) or is flooded with `flood`, every
    `pace` seconds, for as long as the client reads. With `raw` these bytes go out in place of HTTP; if it `drips`, each
    by itself, at that pace.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"success":true}'
    delay: float = 0.0
    sent: Literal["whole", "half", "nothing"] = "whole"
    then: Literal["keep", "close", "reset", "stall", "flood"] = "keep"
    raw: bytes | None = None
    drips: bool = False
    flood: bytes = b""
    pace: float = 0.0
    gate: threading.Event | None = None

    @property
    def proper(self) -> bool:
        """Whether whoever asked gets to read the whole answer, as HTTP."""
        return self.sent == "whole" and self.then == "keep" and self.raw is None

    def release(self) -> None:
        """Let a held answer go."""
        if self.gate is not None:
            self.gate.set()


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    time: float
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    status: int = 0  # what it was answered with; 0 if it was not

    @property
    def json(self) -> Any:
        """The body as JSON, unpacked first if need be."""
        packed = self.header("content-encoding") == "gzip"
        return json.loads(gzip.decompress(self.body) if packed else self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in the body, that of the Tracking API or of a webhook; none if it is no batch."""
        found = self.json if self.body else []
        return found if isinstance(found, list) else found.get("batch", [found])

    def header(self, name: str) -> str | None:
        """The header of this name, in any case; None if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Scripted = Answer | Callable[[Seen], Answer]


def status(code: int, body: bytes = b"", *, retry_after: object = None, **headers: str) -> Answer:
    """A whole answer with this status."""
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Answer(code, headers, body)


def redirect(code: int, location: str) -> Answer:
    """An answer that points elsewhere."""
    return Answer(code, {"Location": location}, b"")


def drop() -> Answer:
    """The connection is closed without an answer."""
    return Answer(sent="nothing", then="close")


def reset(sent: Literal["half", "nothing"] = "nothing") -> Answer:
    """The connection is reset (RST), without an answer or in the middle of it."""
    return Answer(body=b"x" * 1000, sent=sent, then="reset")


def stall(sent: Literal["half", "nothing"] = "nothing") -> Answer:
    """There is never an answer, or never the rest of it."""
    return Answer(body=b"x" * 1000, sent=sent, then="stall")


def half(code: int = 200) -> Answer:
    """The connection is closed in the middle of the answer's body."""
    return Answer(code, body=b"x" * 1000, sent="half", then="close")


def garbage(data: bytes = b"\x00\x01 this is no HTTP\r\n\r\n") -> Answer:
    """These bytes instead of an answer."""
    return Answer(raw=data, then="close")


def endless(beginning: bytes, flood: bytes, pace: float = 0.0) -> Answer:
    """These bytes instead of an answer, and then the others, again and again."""
    return Answer(raw=beginning, then="flood", flood=flood, pace=pace)


def by_event(**answers: list[Answer]) -> Callable[[Seen], Answer]:
    """Answers for batches of one event, by that event's name, in turn; the last one stays."""
    left = {name: deque(few) for name, few in answers.items()}

    def choose(seen: Seen) -> Answer:
        mine = left[seen.events[0]["event"]]
        return mine.popleft() if len(mine) > 1 else mine[0]

    return choose


class Api:
    """The server.

    `tls` is the path of a PEM file with certificate and key. It may be changed, for connections that come from then on;
    `url` stays what it was.
    """

    def __init__(self, *, tls: str | None = None) -> None:
        self.always: Scripted = Answer()
        self.requests: list[Seen] = []
        self.open_requests = 0
        self.most_at_once = 0
        self.connections = 0
        self._script: deque[Scripted] = deque()
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._held: list[Answer] = []
        self.tls = tls
        self._scheme = "https" if tls else "http"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start_accepting()

    # -- what tests use -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL, for `host=`."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that have come, in order of arrival; those that were refused too."""
        return [event for seen in list(self.requests) for event in seen.events]

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """All events that were answered with a 2xx."""
        return [event for seen in list(self.requests) if 200 <= seen.status < 300 for event in seen.events]

    def script(self, *answers: Scripted) -> None:
        """What the next requests are answered with, in order of their arrival."""
        with self._news:
            self._script.extend(answers)

    def hold(self, code: int = 200) -> Answer:
        """The next request (not scripted yet) is answered when the test calls `release()` on what this returns."""
        answer = Answer(code, gate=threading.Event())
        self._held.append(answer)
        self.script(answer)
        return answer

    def wait_for(self, n_requests: int, timeout: float = PATIENCE) -> list[Seen]:
        """All requests, when so many have come."""
        self._wait(lambda: len(self.requests) >= n_requests, timeout, f"{n_requests} requests")
        return self.requests

    def wait_for_events(self, n: int, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """All events, when so many have come."""
        self._wait(lambda: len(self.events) >= n, timeout, f"{n} events")
        return self.events

    def stays_at(self, n_requests: int, seconds: float) -> bool:
        """Whether no more than so many requests come within the time."""
        with self._news:
            return not self._news.wait_for(lambda: len(self.requests) > n_requests, seconds)

    def refuse(self) -> None:
        """Be gone: connections are refused, and those that are open are cut off. The port stays ours."""
        self._stop_listening()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self.cut_off()

    def listen(self) -> None:
        """Be there again."""
        self._listener.listen(128)
        self._start_accepting()

    def cut_off(self) -> None:
        """Hang up on everybody who is connected."""
        with self._news:
            sockets = list(self._sockets)
        for sock in sockets:
            _hang_up(sock)

    def close(self) -> None:
        """Let go of everything; what still waits for an answer is cut off."""
        self._closing.set()
        for answer in self._held:
            answer.release()
        self._stop_listening()
        self.cut_off()
        for thread in self._threads:  # the one that accepts may add one more
            thread.join(PATIENCE)
            frame = sys._current_frames().get(thread.ident or 0)
            assert frame is None or not thread.is_alive(), "\n".join(
                ["it does not end:", *traceback.format_stack(frame)]
            )

    def _wait(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        with self._news:
            came = self._news.wait_for(predicate, timeout)
        got = f"{len(self.requests)} requests with {len(self.events)} events"
        assert came, f"waited {timeout:g} s for {what}; {got} came"

    # -- the server's side --------------------------------------------------------------------------

    def _start_accepting(self) -> None:
        thread = threading.Thread(target=self._accept, args=(self._listener,), name="test-api", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop_listening(self) -> None:
        _wake(self._listener)
        _hang_up(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(
                target=self._connection, args=(sock, self.connections), name="test-api-connection", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _connection(self, sock: socket.socket, number: int) -> None:
        self._hold_on_to(sock)
        try:
            if self.tls:
                with self._news:
                    self._sockets.discard(sock)
                sock = _server_context(self.tls).wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                self._hold_on_to(sock)
                sock.do_handshake()
            with sock.makefile("rb") as stream:
                while (seen := self._read(sock, stream, number)) is not None and self._serve(sock, seen):
                    pass
        except (OSError, ValueError):  # the client went away, or does not like our certificate
            pass
        finally:
            with self._news:
                self._sockets.discard(sock)
            sock.close()

    def _hold_on_to(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._news:
            self._sockets.add(sock)
        if self._closing.is_set():
            _hang_up(sock)

    def _read(self, sock: socket.socket, stream: Any, number: int) -> Seen | None:
        first = stream.readline().decode("latin-1").split()
        if len(first) != 3:
            return None
        headers = []
        while line := stream.readline().strip():
            key, _, value = line.decode("latin-1").partition(":")
            headers.append((key, value.strip()))
        seen = Seen(time.monotonic(), first[0], first[1], headers, b"", number)
        if seen.header("expect"):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.read(int(seen.header("content-length") or 0))
        return Seen(seen.time, seen.method, seen.path, headers, body, number)

    def _serve(self, sock: socket.socket, seen: Seen) -> bool:
        """Answer one request. Returns whether the connection stays."""
        with self._news:
            scripted = self._script.popleft() if self._script else self.always
            answer = scripted if isinstance(scripted, Answer) else scripted(seen)
            self.requests.append(replace(seen, status=answer.status if answer.proper else 0))
            self.open_requests += 1
            self.most_at_once = max(self.most_at_once, self.open_requests)
            self._news.notify_all()
        try:
            self._pause(answer)
        finally:
            with self._news:
                self.open_requests -= 1
        return self._write(sock, seen, answer)

    def _pause(self, answer: Answer) -> None:
        if answer.delay:
            self._closing.wait(answer.delay)
        if answer.gate is not None:
            answer.gate.wait(60)

    def _write(self, sock: socket.socket, seen: Seen, answer: Answer) -> bool:
        if answer.then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.sent != "nothing":
            data = _http(answer, seen) if answer.raw is None else answer.raw
            for n in range(0, len(data), 1 if answer.drips else len(data) or 1):
                sock.sendall(data[n : n + 1] if answer.drips else data)
                self._closing.wait(answer.pace if answer.drips else 0)
        if answer.then == "stall":
            sock.recv(1)  # until the client gives up, or the test ends
        while answer.then == "flood" and not self._closing.wait(answer.pace):
            sock.sendall(answer.flood)
        return answer.then == "keep"


def _http(answer: Answer, seen: Seen) -> bytes:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(answer.body)), **answer.headers}
    if answer.status in {204, 304}:
        del headers["Content-Length"]
    head = f"HTTP/1.1 {answer.status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    body = answer.body if answer.sent == "whole" else answer.body[: len(answer.body) // 2]
    return head.encode("latin-1") + b"\r\n" + (b"" if seen.method == "HEAD" else body)


def _server_context(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _wake(listener: socket.socket) -> None:
    try:
        socket.create_connection(listener.getsockname(), timeout=1).close()
    except OSError:
        pass


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
