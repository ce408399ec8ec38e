"""Server-sent events: parses a stream of bytes into messages (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Message", "messages"]


@dataclass(frozen=True)
class Message:
    """A message. `id` is the one to resume from after a broken connection; empty if this message has none."""

    name: str
    data: bytes
    id: str = ""


def messages(chunks: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages of a stream. An incomplete last message is dropped."""
    fields: dict[bytes, bytes] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            fields[name] = fields[name] + b"\n" + value if name == b"data" and b"data" in fields else value
        else:
            if b"data" in fields:
                event = fields.get(b"event", b"message").decode("utf-8", "replace")
                yield Message(event, fields[b"data"], fields.get(b"id", b"").decode("utf-8", "replace"))
            fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines without their ends."""
    parts: list[bytes] = []  # of the incomplete line: a message may be megabytes, in many chunks
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts).removesuffix(b"\r")
            parts = [other]
