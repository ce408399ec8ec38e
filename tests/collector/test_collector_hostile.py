"""Clients that mean harm, and need no key for it: the collector stays small, and others are served meanwhile."""

from __future__ import annotations

import gzip
import os
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import urllib3
from load import WAYS, Process

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]

MB = 1 << 20
MOST = 300 * MB
"""Bytes of memory that the collector may take, whatever comes."""
KEPT = 50 * MB
"""Bytes by which it may be larger afterwards."""
LONGEST = 2.0
"""Seconds that others may have to wait, by the collector's own processor time: this machine may be busy."""
PATIENCE = 20.0


def memory(server: Process, name: str = "VmRSS") -> int:
    """Bytes that it has now; with VmHWM the most that it has had."""
    (line,) = (line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def worked(server: Process) -> float:
    """Seconds of the processor that it has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def others_are_served(server: Process, most: int = MOST, kept: int = KEPT) -> Iterator[None]:
    """Another client asks again and again meanwhile, and never waits for long.

    The memory stays under `most` bytes, and all but `kept` of what was taken is given back.
    """
    over, waits = threading.Event(), [0.0]

    def ask() -> None:
        with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
            while not over.wait(0.02):
                began = worked(server)
                assert pool.request("GET", f"{server.url}/health").status == 200
                waits.append(worked(server) - began)

    before = memory(server)
    other = threading.Thread(target=ask)
    other.start()
    try:
        yield
    finally:
        over.set()
        other.join()
    assert max(waits) < LONGEST
    assert memory(server, "VmHWM") < most
    deadline = time.monotonic() + PATIENCE
    with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
        while memory(server) > before + kept:
            assert time.monotonic() < deadline, "it keeps what it took"
            pool.request("GET", f"{server.url}/health")


def connect(server: Process) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def flood(client: socket.socket, piece: bytes, most: int, patience: float = 1.0) -> int:
    """Send the same again and again, and read nothing, until the server takes no more. How many bytes it took."""
    client.settimeout(patience)
    sent = 0
    try:
        while sent < most:
            sent += client.send(piece)
    except OSError:
        pass
    return sent


def in_threads(many: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=each) for each in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CHUNKED = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 10_000),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"y" * 60_000),
        (CHUNKED + b"2;x=", b"y" * 60_000),
        (b"GET /health HTTP/1.1\r\n", b"X: y\r\n" * 10_000),
        (b"GET /health HTTP/1.1\r\nX: ", b"y" * 60_000),
        (b"GET /", b"y" * 60_000),
        (b"", b"\r\n" * 30_000),
    ],
    ids=["trailers", "a trailer", "a chunk's extension", "headers", "a header", "a path", "empty lines"],
)
def test_a_head_and_trailers_have_an_end(server: Process, head: bytes, piece: bytes) -> None:
    """64 KiB, and a hundred lines: then the client is told, and hears no more."""
    with others_are_served(server), connect(server) as client:
        client.sendall(head)
        assert flood(client, piece, 200 * MB) < 20 * MB


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
        b"POST /v1/t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
        b"POST /v1/t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
        b'POST /v1/t HTTP/1.1\r\nHost: x\r\nContent-Length: 25\r\n\r\n{"event":"E","userId":"u"}'[:-1],
    ],
    ids=["health", "page", "nothing", "bad", "chunked", "broken"],
)
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
def test_requests_sent_ahead_wait_on_the_client_s_side(server: Process, request_: bytes, reading: bool) -> None:
    """16 MB of requests at once are read as they are answered, not before."""
    with others_are_served(server), connect(server) as client:
        reader = threading.Thread(target=read_all, args=(client,))
        if reading:
            reader.start()
        flood(client, request_ * 1000, 16 * MB)
        client.shutdown(socket.SHUT_RDWR)
        if reading:
            reader.join()


def read_all(client: socket.socket) -> None:
    try:
        while client.recv(1 << 16):
            pass
    except OSError:
        pass


def test_heads_that_never_end_take_little(server: Process) -> None:
    """Four hundred clients with 60 KB each, in lines that are as short as can be."""
    with others_are_served(server), ExitStack() as clients:
        for _ in range(400):
            client = clients.enter_context(connect(server))
            client.sendall(b"GET / HTTP/1.1\r\n")
            flood(client, b"a:b\r\n" * 12_000, 60_000)


def test_answers_that_no_client_reads_take_little(server: Process) -> None:
    """Ten clients ask for long answers, one after the other, and leave them where they are."""
    body = b'{"batch":[%b]}' % b",".join([b"1"] * 500)
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nX-Strict-Mode: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with others_are_served(server), ExitStack() as clients:
        many = [clients.enter_context(connect(server)) for _ in range(10)]
        in_threads([partial(flood, client, (head + body) * 50, 4 * MB) for client in many])


def test_gzip_without_content_costs_little(server: Process) -> None:
    """What has to be unpacked before the write key is known: a megabyte of nothing, from eight clients at once."""
    for body in (gzip.compress(b"") * (MB // 20), blocks_of_nothing()):
        head = b"POST /v1/t HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        with others_are_served(server), ExitStack() as clients:
            many = [clients.enter_context(connect(server)) for _ in range(8)]
            in_threads([partial(client.sendall, head + body) for client in many])
            assert [client.recv(100)[:12] for client in many] == [b"HTTP/1.1 400"] * 8


def blocks_of_nothing() -> bytes:
    """A gzip body of a megabyte, in one member, of deflate blocks that hold no byte but have tables of their own."""
    pack = zlib.compressobj(wbits=-15)
    block = pack.compress(b"") + pack.flush(zlib.Z_SYNC_FLUSH)
    return gzip.compress(b"")[:10] + block * (MB // len(block) - 10)


HANG_UPS = [
    b'POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n\r\n{"type":"track","event":"E","userId":"u"}  ',
    b"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /debug/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /debug/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


@pytest.mark.parametrize("way", WAYS)
def test_clients_that_hang_up_leave_no_traceback(tmp_path: Path, way: str) -> None:
    """At any point of their requests, however many they have sent ahead, with a reset or without."""
    chance = random.Random(1)
    with Process(tmp_path, program=WAYS[way]) as server:
        for _ in range(500):
            with connect(server) as client:
                asked = chance.choice(HANG_UPS) * chance.randint(1, 4)
                client.sendall(asked[: chance.choice([len(asked), chance.randint(1, len(asked))])])
                if chance.random() < 0.5:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code, out, err = server.end()
    assert (code, out.count("stopped")) == (0, 1)
    assert [line for line in err.splitlines() if "RequestResponseCycle(more=)" not in line] == []


def test_bodies_that_never_end_take_what_there_is_for_them(server: Process) -> None:
    """Two hundred clients send all but the last byte of a megabyte; those for which there is no room hear 503."""
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    # The allocator keeps it for the next ones: it came in many pieces, with others between them.
    with others_are_served(server, kept=150 * MB), ExitStack() as clients:
        many = [clients.enter_context(connect(server)) for _ in range(200)]
        for client in many:
            flood(client, head + b" " * 999_999, 1)
