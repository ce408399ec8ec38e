"""A webhook whose process is killed at a chosen step: `type = "killer:Killer"` in a configuration."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from millstream.destinations import Delivered, Event, Limits, Part, Refused, Skip, Verdict, Webhook
from millstream.types import Request, Response


class Killer:
    """Sends what a webhook does, and kills its own process once, when it comes to a step for the `after`th time."""

    def __init__(self, url: str, step: str, mark: str, *, after: int = 1, name: str = "Killer") -> None:
        self.name = name
        self.limits = Limits(max_events=10, overhead=2)
        self._webhook = Webhook(url)
        self._step = step
        self._mark = Path(mark)
        self._left = after

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip | Refused:
        """Read, and not sent yet."""
        self._at("prepare")
        return self._webhook.prepare(event, options)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        """About to be sent."""
        self._at("request")
        return self._webhook.request(parts, attempt, now)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        """Answered, and not settled yet."""
        self._at("judge")
        return Delivered() if response.status == 200 else self._webhook.judge(response, parts, now)

    def _at(self, step: str) -> None:
        if step != self._step or self._mark.exists():
            return
        self._left -= 1
        if not self._left:
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
