"""Requests on a connection: answered alike by the collector itself and by ASGI, as with another uvicorn."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest
from load import Process, stored

from support.needs import needs

pytestmark = pytest.mark.process

TRACK = json.dumps({"type": "track", "event": "Paid", "userId": "u"}).encode()


@pytest.fixture
def client(server: Process) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        yield client


def request(body: bytes = TRACK, *headers: str, line: str = "POST /v1/track HTTP/1.1", length: bool = True) -> bytes:
    named = ["Host: localhost", *([f"Content-Length: {len(body)}"] if length else []), *headers]
    return "\r\n".join([line, *named, "", ""]).encode() + body


def answers(client: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """So many answers, which have to be all that comes."""
    data = b""
    found: list[tuple[int, dict[str, str], bytes]] = []
    while len(found) < count:
        piece = client.recv(100_000)
        assert piece, "the server hung up"
        data += piece
        while match := re.match(rb"HTTP/1.1 (\d+) [^\r]*\r\n(.*?)\r\n\r\n", data, re.DOTALL):
            headers = dict(line.split(": ", 1) for line in match[2].decode().split("\r\n"))
            end = match.end() + int(headers["content-length"])
            if len(data) < end:
                break
            found.append((int(match[1]), headers, data[match.end() : end]))
            data = data[end:]
    assert not data
    return found


def closed(client: socket.socket) -> bool:
    return client.recv(1) == b""


def test_an_answer_has_what_answers_have(client: socket.socket) -> None:
    """Its date, its length, its type, and those for browsers."""
    client.sendall(request(TRACK, "Origin: https://shop.example"))
    ((status, headers, body),) = answers(client, 1)
    assert (status, json.loads(body)) == (200, {"success": True})
    assert set(headers) == {
        "date",
        "content-type",
        "content-length",
        "access-control-allow-credentials",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "vary",
    }


def test_a_connection_is_kept(client: socket.socket) -> None:
    """One request after the other, whatever became of the one before, also those that go the usual way."""
    for body, status in ((TRACK, 200), (b"{", 400), (TRACK, 200)):
        client.sendall(request(body))
        assert answers(client, 1)[0][0] == status
    client.sendall(request(b"", line="GET /health HTTP/1.1") + request())
    assert [status for status, *_ in answers(client, 2)] == [200, 200]


def test_a_connection_has_no_end_of_requests(client: socket.socket) -> None:
    """Also of those that are answered at once, because nothing of them is to be kept: they are no endless head."""
    for _ in range(200):
        client.sendall(request(b'{"event":"E","note":"%b"}' % (b"x" * 1000)))
        assert answers(client, 1)[0][0] == 200


def test_requests_may_come_before_the_answers(server: Process, client: socket.socket) -> None:
    """They are answered in their order."""
    before = len(stored(server.data))
    bodies = [b'{"event":"E","userId":"u","messageId":"m%d"%b' % (n, b"}" if n % 2 else b"") for n in range(20)]
    client.sendall(b"".join(request(body) for body in bodies))
    assert [status for status, *_ in answers(client, 20)] == [400, 200] * 10
    assert stored(server.data)[before:] == [f"m{n}" for n in range(1, 20, 2)]


def test_a_body_may_come_in_pieces(server: Process, client: socket.socket) -> None:
    """Cut anywhere, in the head, too; with a length or in chunks."""
    before = len(stored(server.data))
    body = json.dumps({"batch": [{**json.loads(TRACK), "x": "y" * 1000, "messageId": str(n)} for n in range(200)]})
    whole = request(body.encode(), line="POST /v1/batch HTTP/1.1")
    for cut in (5, 30, len(whole) - len(body), len(whole) - 1):
        client.sendall(whole[:cut])
        client.sendall(whole[cut:])
        assert answers(client, 1)[0][0] == 200
    client.sendall(request(b"", "Transfer-Encoding: chunked", length=False))
    for piece in (TRACK[:9], TRACK[9:], b""):
        client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    assert answers(client, 1)[0][0] == 200
    assert len(stored(server.data)) == before + 201


def test_who_waits_for_a_word_before_the_body_gets_it(client: socket.socket) -> None:
    """`Expect: 100-continue`, as curl sends it."""
    client.sendall(request(b"", f"Content-Length: {len(TRACK)}", "Expect: 100-continue", length=False))
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(TRACK)
    assert answers(client, 1)[0][0] == 200


@pytest.mark.parametrize(
    ("line", "header"),
    [("POST /v1/track HTTP/1.1", "Connection: close"), ("POST /v1/track HTTP/1.0", "X-Nothing: x")],
)
def test_who_wants_no_more_is_let_go(client: socket.socket, line: str, header: str) -> None:
    """And is told so."""
    client.sendall(request(TRACK, header, line=line))
    ((status, headers, _),) = answers(client, 1)
    assert (status, headers["connection"]) == (200, "close")
    assert closed(client)


def test_after_a_body_too_large_the_connection_ends(client: socket.socket) -> None:
    """What is left of it is no request."""
    client.sendall(request(b" " * (2 << 20)))
    ((status, headers, _),) = answers(client, 1)
    assert (status, headers["connection"]) == (413, "close")
    assert closed(client)


@pytest.mark.parametrize("line", ["POST /v1/%74rack HTTP/1.1", "POST /v1/track?x=1 HTTP/1.1", "POST /v1/t/ HTTP/1.1"])
def test_other_spellings_of_a_route_are_the_same(client: socket.socket, line: str) -> None:
    """Whichever way they go."""
    client.sendall(request(line=line))
    assert answers(client, 1)[0][0] == 200


def test_a_client_that_leaves_is_counted(server: Process, client: socket.socket) -> None:
    """In the middle of its body: nothing is kept of it, and others are served on."""

    def left(client: socket.socket) -> int:
        client.sendall(request(b"", line="GET /stats HTTP/1.1"))
        return json.loads(answers(client, 1)[0][2])["refused_by_reason"].get("disconnected", 0)

    before = left(client)
    client.sendall(request(b"{", "Content-Length: 90", length=False))
    client.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as other:
        while left(other) == before:
            pass


H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("cut", [None, 40, -3, -len(TRACK)])
def test_an_offer_of_another_protocol_is_ignored(
    client: socket.socket, offer: tuple[str, ...], cut: int | None
) -> None:
    """Java's HttpClient makes one with each first request: it is served in HTTP/1.1, and the connection goes on."""
    for headers, body in (
        (offer, TRACK),
        ((*offer, "Transfer-Encoding: chunked"), b"%x\r\n%b\r\n0\r\n\r\n" % (len(TRACK), TRACK)),
    ):
        whole = request(body, *headers, length=headers is offer)
        client.sendall(whole[:cut])
        if cut is not None:
            client.sendall(whole[cut:])
        assert [answer[0] for answer in answers(client, 1)] == [200]
    client.sendall(request(b"", *offer, line="GET /health HTTP/1.1") * 2 + request())
    assert [status for status, *_ in answers(client, 3)] == [200] * 3


@pytest.mark.parametrize(
    "length", [["Content-Length: " + "0" * 5000 + "5"], ["Content-Length: 5", "Transfer-Encoding: chunked"]]
)
def test_a_length_that_is_none_is_refused(client: socket.socket, length: list[str]) -> None:
    """Nothing after it could be told from the next request."""
    client.sendall(request(b"", *length, length=False) + b"hello")
    assert answers(client, 1)[0][0] == 400
    assert closed(client)


def test_a_tunnel_is_refused(client: socket.socket) -> None:
    """CONNECT is for proxies."""
    client.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert answers(client, 1)[0][0] == 400
    assert closed(client)


def test_curl_offers_http_2(server: Process) -> None:
    """With `--http2`: the events are kept, and the answer is one that it understands."""
    before = len(stored(server.data))
    curl = shutil.which("curl")
    needs(curl, "no curl found: apt-get install curl")
    options = ("--http2", "--silent", "--show-error", "--fail", "--data-binary", TRACK.decode())
    done = subprocess.run([str(curl), *options, f"{server.url}/v1/track"], capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"success": true}', b"")
    assert len(stored(server.data)) == before + 1
