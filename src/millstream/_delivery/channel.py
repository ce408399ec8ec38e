"""A channel: one destination of a client, with its engine, its transport, its tokens and its rate limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from .._core.delivery.actions import Action, Send
from .._core.delivery.engine import Engine
from .._core.delivery.verdicts import Limited, Retry
from .._core.outcome import Outcome
from .._core.receipt import Receipt
from .._core.routing import allows
from .._logging import Summary, debug, is_debug, plural
from .._remedies import label
from ..auth import bearer, quotes, shown, with_token, without
from ..destinations._masking import secrets_of, without_secrets
from ..destinations.base import Destination, Part
from ..emitter import Emitter
from ..errors import AuthError, DeliveryError, TransportError
from ..types import Clock, Request, Response
from ..urls import hidden, origin
from .copies import Copies
from .tokens import Tokens, bare
from .transport import Transport

__all__ = ["Channel", "transport_error"]

Settled = Callable[[list[Receipt], Outcome], object]


class Channel:
    """Sends the engine's batches, and reports the answers to it. Used only by the worker.

    Args:
        destination: makes requests from events, and verdicts from answers.
        engine: decides when to send what.
        transport: exchanges requests.
        emitter: is told of each request and answer.
        summary: counts requests that fail, for the log.
        tokens: the OAuth tokens that requests need, if any.
        clock: monotonic seconds.
        copies: splits events into parts, and settles the events by their parts. None: events are sent whole, and their
            outcome is the receipt's.
        host: what log lines call the host until a request says where it is.
        masks: take the destination's secrets out of quoted answers, also without copies.
    """

    def __init__(
        self,
        destination: Destination,
        engine: Engine,
        transport: Transport,
        emitter: Emitter,
        summary: Summary,
        tokens: Tokens | None,
        clock: Clock,
        copies: Copies | None = None,
        *,
        host: str,
        masks: bool = False,
    ) -> None:
        self.name = destination.name
        self.engine = engine
        self.clock = clock
        self.copies = copies
        self.open = True
        """Whether later events are sent here."""
        self.notes_deliveries = False
        """Whether an event's context has a separate outcome for this channel: if it is not the only one."""
        self._destination = destination
        self._transport = transport
        self._emitter = emitter
        self._summary = summary
        self.host = host
        self._tokens = tokens
        self._secrets = secrets_of(destination) if masks or copies is not None else ()
        self._closing = False
        self._limit: float | None = None  # the latest end of requests: the process or the client is ending

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        """Return whether an event with these integrations is sent here."""
        return self.open and allows(self._destination, integrations)

    def copy(self, receipt: Receipt, now: float, *, decides: bool, settled: Settled) -> None:
        """Send a copy of an event. `decides`: whether the copy's outcome is the event's."""
        assert self.copies is not None  # noqa: S101 - the first channel has the events themselves
        self.engine.enqueue(self.copies.make(receipt, decides=decides, settled=settled), now)

    def close_by(self, deadline: float) -> None:
        """Send everything, and abandon what is unsettled at `deadline`."""
        self._closing = True
        self._limit = deadline
        self.engine.close(deadline)

    def limit_requests(self, deadline: float) -> None:
        """End all requests by `deadline`: the end of the process."""
        if not self._closing:
            self._limit = deadline

    def close(self) -> None:
        """Release the connections: no more requests follow."""
        self._transport.close(None if self._tokens is None else self._tokens.client)

    def next_action(self, now: float) -> Action:
        """Request a token if one is needed, and ask the engine for the next action."""
        if self._tokens is not None:
            self._request_token(self._tokens)
        return self.engine.next_action(now)

    def due_at(self) -> float | None:
        """When a token request is due."""
        return None if self._tokens is None else self._tokens.due_at(closing=self._closing)

    def settle(self, settled: Settled) -> None:
        """Pass on the events settled here, if their outcome is the receipt's."""
        for items, outcome in self.engine.settled():
            if outcome.error is not None:
                outcome = Outcome(outcome.error, outcome.attempts, self.host, outcome.since)  # noqa: PLW2901 - says where, too
            if self.copies is None:
                receipts = cast("list[Receipt]", items)
                if self.notes_deliveries:
                    for receipt in receipts:
                        receipt._note_delivery(self.name, outcome)
                settled(receipts, outcome)
            else:
                self.copies.settle(items, outcome, settled)

    def send(self, send: Send) -> None:
        """Send a batch, unless it must wait for a token."""
        if self._tokens is not None and not self._tokens.admit(send):
            return
        try:
            request = self._request(send)
        except Exception as exc:  # noqa: BLE001 - a destination may be the application's own
            self._failed(send, transport_error(exc, *self._secrets))
            return
        self.host = origin(request.url)
        if is_debug():
            events = plural(len(send.batch.items), "event")
            debug(f"request to {self.host}: {events}, {len(request.body):,} bytes, attempt {send.attempt}")
        if self._emitter.heard("http_request"):
            self._emitter.emit("http_request", self._shown(request))
        self._transport.exchange(
            request,
            send.deadline,
            lambda answer: self._on_answer(send, request, answer),
            lambda: self.engine.recalled(send, self.clock()),
        )

    def _request(self, send: Send) -> Request:
        request = self._destination.request(cast("Sequence[Part]", send.batch.items), send.attempt, time.time())
        if self._tokens is not None:
            request = with_token(request, self._tokens.token)
        if self._limit is None:
            return request
        # a later answer is useless; and without threads nothing else runs until then
        return replace(request, timeout=max(0.01, min(request.timeout, self._limit - self.clock())))

    def _shown(self, request: Request) -> Request:
        """Return a request as listeners see it: without the token and the destination's secrets."""
        return without_secrets(shown(request), self._secrets)

    def _on_answer(self, send: Send, request: Request, answer: Response | BaseException) -> None:
        if isinstance(answer, BaseException):
            self._failed(send, transport_error(answer, bearer(request), *self._secrets))
            return
        response = without_secrets(without(answer, bearer(request)), self._secrets)
        try:
            verdict = self._destination.judge(response, cast("Sequence[Part]", send.batch.items), time.time())
        except Exception as exc:  # noqa: BLE001 - never delivered: it is tried again, as after no answer
            self._failed(send, transport_error(exc, *self._secrets))
            return
        debug(f"answer of {self.host}: [{response.status}], {type(verdict).__name__}")
        if self._tokens is not None:
            verdict = self._tokens.review(request, verdict, response.status)
        now = self.clock()
        self.engine.responded(send, verdict, now)
        if isinstance(verdict, Retry | Limited) and self.engine.is_retried(send.batch):
            self._summary.request_failed(self.host, verdict.error, now)
        if self._emitter.heard("http_response"):
            self._emitter.emit("http_response", self._shown(request), response)

    def _failed(self, send: Send, error: DeliveryError) -> None:
        """Count an attempt without a usable answer."""
        now = self.clock()
        debug(f"no answer of {self.host}: {label(error)}")
        self.engine.failed(send, error, now)
        if self.engine.is_retried(send.batch):
            self._summary.request_failed(self.host, error, now)

    def _request_token(self, tokens: Tokens) -> None:
        due = tokens.next_request(closing=self._closing)
        if due is None:
            return

        def report(answer: Response | BaseException) -> None:
            if isinstance(answer, Response):
                tokens.responded(due, answer)
            elif isinstance(answer, AuthError):
                tokens.failed(due, bare(answer))
            else:
                tokens.failed(due, bare(AuthError(f"the token request failed: {type(answer).__name__}")))

        self._transport.converse(tokens.steps(due), tokens.sign, tokens.client, due.deadline, report)


def transport_error(exc: BaseException, *secrets: str) -> DeliveryError:
    """Convert an HTTP client's exception to a DeliveryError; without frames, which would keep the whole batch alive.

    Its text is omitted if it quotes a secret.
    """
    if quotes(exc, *secrets):
        return TransportError(f"{type(exc).__name__}, whose text quotes a secret")
    error = exc if isinstance(exc, DeliveryError) else TransportError(hidden(f"{type(exc).__name__}: {exc}"))
    cause = exc.__cause__ if error is exc else exc
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)
