"""What stands between the soak's clients and its collector: a gateway that passes requests on, and bad weather."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from support.api import Answer, Api, Seen
from support.faults import FAULTS, PEM, Fault, answering

SLOW = 0.4
"""Seconds after which nobody can know whether an answer was still waited for: clients wait for a second at least."""
WEATHER = {name: fault for name, fault in FAULTS.items() if not fault.by_name} | {
    "answers late": answering(Answer(delay=0.3))
}


class Gateway(Api):
    """An Api whose good answers are the collector's own.

    `stored` counts how often the collector has taken each event. `unread` has those of which the client perhaps never
    read the answer: they may come again, or may have failed for all that the client knows.
    """

    def __init__(self, collector: str, rng: random.Random, *, tls: str | None = None) -> None:
        self.stored: Counter[str] = Counter()
        self.unread: set[str] = set()
        self.suffered: Counter[str] = Counter()
        self.relayed = 0
        self._collector = urlsplit(collector)
        self._rng = rng
        self._cuts = 0
        self._books = threading.Lock()
        super().__init__(tls=tls)

    def suffer(self, over: threading.Event) -> None:
        """Have good and bad weather in turns, until it is over."""
        names = [name for name, fault in WEATHER.items() if self.tls or not fault.tls]
        while not over.wait(self._rng.uniform(0.1, 1.0)):
            name = self._rng.choice(names)
            self.suffered[name] += 1
            fault: Fault = WEATHER[name]
            with fault.at(self):
                over.wait(self._rng.uniform(0.1, 1.5))

    def cut_off(self) -> None:
        self._cuts += 1
        super().cut_off()

    def _serve(self, sock: Any, seen: Seen) -> bool:
        begun, cuts = time.monotonic(), self._cuts
        answer = self.always if isinstance(self.always, Answer) else self.always(seen)
        well = answer.proper and answer.status == 200
        lost_on_the_way_back = not answer.proper and self._rng.random() < 0.5
        taken, read = False, False
        try:
            if well or lost_on_the_way_back:
                status, body = self._relay(seen)
                taken = status == 200
                if well:
                    answer = Answer(status, body=body, delay=answer.delay)
            self._pause(answer)
            stays = self._write(sock, seen, answer)
            read = well and time.monotonic() - begun < SLOW and cuts == self._cuts
        finally:
            if taken:
                self._note([event["messageId"] for event in seen.events], read=read)
        return stays

    def _relay(self, seen: Seen) -> tuple[int, bytes]:
        onward = http.client.HTTPConnection(self._collector.hostname or "", self._collector.port, timeout=30)
        try:
            onward.request(seen.method, seen.path, seen.body, dict(seen.headers))
            answer = onward.getresponse()
            return answer.status, answer.read()
        finally:
            onward.close()

    def _note(self, ids: list[str], *, read: bool) -> None:
        with self._books:
            self.relayed += 1
            self.stored.update(ids)
            if not read:
                self.unread.update(ids)


def gateways(collector: str, rng: random.Random) -> list[Gateway]:
    """One that speaks HTTP, and one that speaks HTTPS."""
    return [Gateway(collector, random.Random(rng.random()), tls=tls) for tls in (None, PEM)]
