"""An HTTP server that takes everything and counts it after the run: what it costs while it runs is next to nothing.

It is told what to do on its standard input, a JSON object a line, and answers each with one:

    {"do": "reset"}                 forget what came
    {"do": "report"}                how many events came, how many twice, in how many requests and bytes
    {"do": "behave", "delay": 0.05} answer after so many seconds
    {"do": "behave", "stall": true} read, and never answer; when that ends, hang up
    {"do": "behave", "down": true}  refuse connections
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections import Counter
from typing import Any

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"success":true}'
BODIES: list[tuple[bool, bytes]] = []
BEHAVIOUR: dict[str, Any] = {}
OPEN: set[Connection] = set()


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.data = bytearray()
        OPEN.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        OPEN.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
            if len(self.data) < end + 4 + length:
                return
            BODIES.append((b"content-encoding: gzip" in head, bytes(self.data[end + 4 : end + 4 + length])))
            del self.data[: end + 4 + length]
            if BEHAVIOUR.get("stall"):
                BODIES.pop()
            elif delay := BEHAVIOUR.get("delay"):
                asyncio.get_running_loop().call_later(delay, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


def report() -> dict[str, int]:
    """What came. The ids are looked for under the names that the clients have for them."""
    ids: Counter[str] = Counter()
    size = 0
    for packed, data in BODIES:
        body = gzip.decompress(data) if packed else data
        size += len(body)
        for event in json.loads(body)["batch"]:
            ids[event.get("messageId") or event["uuid"]] += 1
    return {
        "events": len(ids),
        "twice": sum(count > 1 for count in ids.values()),
        "requests": len(BODIES),
        "bytes": size,
    }


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        said: dict[str, Any] = {}
        match order.pop("do"):
            case "reset":
                BODIES.clear()
            case "report":
                said = report()
            case "behave":
                was, now = dict(BEHAVIOUR), order
                BEHAVIOUR.clear()
                BEHAVIOUR.update(now)
                if was.get("stall") or now.get("down"):
                    for connection in list(OPEN):
                        connection.transport.abort()
                if now.get("down"):
                    server.close()
                elif was.get("down"):
                    server = await loop.create_server(Connection, "127.0.0.1", port, reuse_address=True)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
