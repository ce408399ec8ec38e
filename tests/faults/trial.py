"""A client, the API that it delivers to, and a fault that comes between them and goes."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from millstream import Receipt, Stats
from millstream.http.urllib3 import Urllib3Client
from support.api import Api
from support.driven import DRIVEN, OnALoop
from support.faults import FAULTS, NOWHERE, PEM

MAX_EVENTS = 150
MAX_BYTES = 100_000
PATIENCE = 30.0
"""Seconds that are waited for what must come."""


class Trial:
    """One client under one fault.

    Args:
        name: what to call it.
        fault: the fault's name in FAULTS.
        driver: the driver's name in DRIVEN.
        settings: of the client.
    """

    def __init__(self, name: str, fault: str, driver: str = "thread", **settings: Any) -> None:
        self.name = name
        self._fault = FAULTS[fault]
        self.api = Api(tls=PEM if self._fault.tls else None)
        host = f"http://{NOWHERE}:{self.api.port}" if self._fault.by_name else self.api.url
        if self._fault.tls:
            settings["http_client"] = Urllib3Client(ca_certs=PEM)
        self._driven = DRIVEN[driver](
            host=host,
            flush_at=10,
            flush_interval=0.1,
            http_request_timeout=5.0 if self._fault.tls else 1.0,  # a busy machine is long about a handshake
            max_queue_events=MAX_EVENTS,
            max_queue_bytes=MAX_BYTES,
            **settings,
        )
        self._rng = random.Random(name)
        self._filling = self._rng.choice(
            (50, 2000)
        )  # short events reach the bound of events first, long ones the other
        self._delivered_at: list[float] = []
        self._driven.client.on("track", lambda _: self._delivered_at.append(time.monotonic()))
        self.receipts: list[Receipt] = []
        self.took: list[float] = []  # seconds, each call
        self.samples: list[Stats] = []

    # -- what happens -----------------------------------------------------------------------------------

    def suffer(self) -> None:
        """Record more than the queue holds while the fault lasts, and one event when it is over."""
        with self._fault.at(self.api):
            self._record(2 * MAX_EVENTS)
            self._eventually(lambda: self._felt(self.stats()), "an attempt that fails")
            self._record(MAX_EVENTS)
        self._well_since = time.monotonic()
        self._record(1)

    def recover(self) -> None:
        """See everything through."""
        self._eventually(self._delivers, "a delivery after the fault")
        self._eventually(lambda: self._hurry() and not self.stats().pending, "an outcome for every event")

    def end(self) -> None:
        """Let go of everything."""
        self._driven.end()
        self.api.close()

    # -- what can be seen of it -------------------------------------------------------------------------

    def stats(self) -> Stats:
        return self._driven.client.stats()

    @property
    def recovery(self) -> float | None:
        """Seconds from the end of the fault to the first delivery."""
        return next((at - self._well_since for at in self._delivered_at if at >= self._well_since), None)

    def looked_at(self) -> Counter[str]:
        """What has become of the events, by their receipts."""
        outcomes = [receipt.outcome for receipt in self.receipts]
        return Counter("pending" if outcome is None else outcome.kind for outcome in outcomes)

    def ids(self, kind: str) -> set[str]:
        """The ids of the events that ended so, by their receipts."""
        return {r.message_id for r in self.receipts if r.outcome is not None and r.outcome.kind == kind}

    def row(self) -> str:
        """What was measured, for people."""
        stats, most = self.stats(), max(sample.pending for sample in self.samples)
        return (
            f"{self.name:<54}{max(self.took) * 1000:>9.1f}{most:>9}{max(s.queue_bytes for s in self.samples):>10,}"
            f"{stats.delivered:>11}{stats.failed:>8}{stats.dropped:>9}{stats.retries:>9}{self.recovery or 0:>11.2f}"
        )

    # -- how --------------------------------------------------------------------------------------------

    def _record(self, calls: int) -> None:
        """Call `track` so often, with a look at the numbers at random moments in between."""
        while calls:
            burst = min(calls, self._rng.randint(1, 50))
            calls -= burst
            self._on_its_thread(lambda burst=burst: [self._call() for _ in range(burst)])
            self._sample()

    def _call(self) -> None:
        properties = {"filling": "x" * self._rng.randint(0, self._filling)}
        begun = time.perf_counter()
        receipt = self._driven.client.track("During", user_id="u", properties=properties)
        self.took.append(time.perf_counter() - begun)
        self.receipts.append(receipt)

    def _sample(self) -> None:
        looked = self.looked_at()  # first: what it has seen to end must have been counted
        stats = self.stats()
        self.samples.append(stats)
        assert stats.accepted == len(self.receipts)
        for kind in ("delivered", "failed", "dropped"):
            assert looked[kind] <= getattr(stats, kind)
        assert stats.pending <= looked["pending"]

    def _on_its_thread(self, fn: Callable[[], object]) -> None:
        async def on_the_loop() -> None:
            fn()

        if isinstance(self._driven, OnALoop):
            self._driven.run(on_the_loop())
        else:
            fn()

    def _felt(self, stats: Stats) -> bool:
        return bool(stats.failed or stats.retries or (stats.requests and not stats.in_flight))

    def _delivers(self) -> bool:
        if self.recovery is None and not self.stats().pending:  # all that it had failed during the fault
            self._record(1)
        return self.recovery is not None

    def _hurry(self) -> bool:
        self._driven.flush(timeout=1.0)
        return True

    def _eventually(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not true():
            assert time.monotonic() < deadline, f"{self.name}: waited {PATIENCE:g} s for {what}; {self.stats()}"
            pause.wait(0.01)


HEADINGS = (
    f"{'the host …':<54}{'track ms':>9}{'pending':>9}{'bytes':>10}"
    f"{'delivered':>11}{'failed':>8}{'dropped':>9}{'retries':>9}{'recovery s':>11}"
)
