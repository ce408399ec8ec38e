"""Collectors' directories as the tests write them, and questions about them."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

from millstream.warehouse import query

NOON = "2026-01-02T12:00:00.000Z"
STANDARD_COLUMNS = {
    "id", "timestamp", "user_id", "anonymous_id", "original_timestamp", "sent_at", "received_at", "source_id",
    "event", "event_text", "name", "category", "group_id", "previous_id",
}  # fmt: skip
_numbers = count(1)


def event(kind: str = "track", **fields: Any) -> dict[str, Any]:
    """An event as a collector stores it."""
    number = next(_numbers)
    return {
        "type": kind,
        "messageId": f"m{number}",
        "userId": "u1",
        "timestamp": NOON,
        "originalTimestamp": NOON,
        "sentAt": NOON,
        "receivedAt": NOON,
        "sourceId": "s1",
        **fields,
    }


def track(name: str, /, **properties: Any) -> dict[str, Any]:
    return event(event=name, properties=properties)


def identify(user: str, /, **traits: Any) -> dict[str, Any]:
    return event("identify", userId=user, traits=traits)


class Directory:
    """A collector's data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self._position = 0

    def add(self, *events: Any) -> Path:
        """One more file; an event may also be a line as it stands."""
        file = self.path / f"events-{self._position:020}.jsonl"
        lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        self._position += max(1, file.stat().st_size)
        return file

    def ask(self, sql: str, **options: Any) -> list[tuple[Any, ...]]:
        """The rows of the answer."""
        with query(self.path, sql, **options) as result:
            return list(result)

    def columns(self, view: str) -> dict[str, str]:
        """The columns of a view, with their types."""
        return {name: kind for name, kind, *_ in self.ask(f'describe "{view}"')}

    def own_columns(self, view: str) -> dict[str, str]:
        """Those that come from properties, traits and context."""
        return {name: kind for name, kind in self.columns(view).items() if name not in STANDARD_COLUMNS}
