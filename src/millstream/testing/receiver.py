"""What clients deliver to in a test: a record of what came, and clients for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .record import Record

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from millstream.client import Analytics
    from millstream.settings import SettingsArgs

__all__ = ["Receiver"]

_CLOSING = 1.0
"""Seconds for a client of ours to deliver what is left when the test is over."""


class Receiver(Record, ABC):
    """A record, and what fills it. Use it in a `with` statement, or call `close` at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._clients: list[Analytics] = []

    def client(self, write_key: str = "test", **settings: Unpack[SettingsArgs]) -> Analytics:
        """A client that delivers here: each event at once, and in the order of the calls. It is closed with this.

        Args:
            write_key: of the source.
            settings: as those of Analytics; they go before `flush_at=1` and `max_in_flight=1`.
        """
        from millstream.client import Analytics  # noqa: PLC0415 - who has clients of their own needs none from here

        merged: SettingsArgs = {"flush_at": 1, "max_in_flight": 1, **self._reached_by(), **settings}
        client = Analytics(write_key, **merged)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the clients that were made here, and let go of everything."""
        while self._clients:
            self._clients.pop().close_and_flush(timeout=_CLOSING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _reached_by(self) -> SettingsArgs:
        """The settings with which a client finds it."""
