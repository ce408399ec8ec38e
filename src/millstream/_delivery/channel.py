"""A channel: one destination of a client, with its engine, its transport, its tokens and its rate limit."""

from __future__ import annotations

import time
from dataclasses import replace

from .._core.actions import Action, Send
from .._core.engine import Engine
from .._stamp import sent_at
from ..auth import bearer, quotes, shown, without
from ..destinations.tracking_api import TrackingAPI
from ..emitter import Emitter
from ..errors import AuthError, DeliveryError, TransportError
from ..types import Clock, Request, Response
from .tokens import Tokens, bare
from .transport import Transport

__all__ = ["Channel", "transport_error"]


class Channel:
    """Sends what its engine wants sent, and gives the engine what came of it. Only the worker may be in here.

    Args:
        destination: makes requests of events, and verdicts of answers.
        engine: decides what is sent when.
        transport: exchanges requests.
        emitter: is told of each request and answer.
        tokens: the OAuth tokens that requests need, if any.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        destination: TrackingAPI,
        engine: Engine,
        transport: Transport,
        emitter: Emitter,
        tokens: Tokens | None,
        clock: Clock,
    ) -> None:
        self.name = destination.name
        self.engine = engine
        self._destination = destination
        self._transport = transport
        self._emitter = emitter
        self._tokens = tokens
        self.clock = clock
        self._deadline: float | None = None  # of the close

    def close_by(self, deadline: float) -> None:
        """Send everything, and give up at `deadline` what has no outcome then."""
        self._deadline = deadline
        self.engine.close(deadline)

    def close(self) -> None:
        """Release the connections: nothing more will be sent."""
        self._transport.close(None if self._tokens is None else self._tokens.client)

    def next_action(self, now: float) -> Action:
        """Ask for a token if one is needed, and the engine what to do."""
        if self._tokens is not None:
            self._request_token(self._tokens)
        return self.engine.next_action(now)

    def due_at(self) -> float | None:
        """When time alone makes a token request due."""
        return None if self._tokens is None else self._tokens.due_at(closing=self._deadline is not None)

    def send(self, send: Send) -> None:
        """Send a batch, unless it has to wait for a token."""
        if self._tokens is not None and not self._tokens.admit(send):
            return
        request = self._request(send)
        self._emitter.emit("http_request", shown(request))
        self._transport.exchange(
            request,
            send.deadline,
            lambda answer: self._on_answer(send, request, answer),
            lambda: self.engine.recalled(send, self.clock()),
        )

    def _request(self, send: Send) -> Request:
        token = None if self._tokens is None else self._tokens.token
        request = self._destination.request(send.batch.items, send.attempt, sent_at(), token)
        if self._deadline is None:
            return request
        # An answer that comes later is of no use; and without threads nothing else is done while it is awaited.
        return replace(request, timeout=max(0.01, min(request.timeout, self._deadline - self.clock())))

    def _on_answer(self, send: Send, request: Request, answer: Response | BaseException) -> None:
        if isinstance(answer, BaseException):
            self.engine.failed(send, transport_error(answer, bearer(request)), self.clock())
            return
        response = without(answer, bearer(request))
        verdict = self._destination.judge(response, time.time())
        if self._tokens is not None:
            verdict = self._tokens.review(request, verdict, response.status)
        self.engine.responded(send, verdict, self.clock())
        self._emitter.emit("http_response", shown(request), response)

    def _request_token(self, tokens: Tokens) -> None:
        due = tokens.next_request(closing=self._deadline is not None)
        if due is None:
            return

        def report(answer: Response | BaseException) -> None:
            if isinstance(answer, Response):
                tokens.responded(due, answer)
            elif isinstance(answer, AuthError):
                tokens.failed(due, bare(answer))
            else:
                tokens.failed(due, bare(AuthError(f"the token request failed: {type(answer).__name__}")))

        self._transport.converse(tokens.dialog(due), tokens.sign, tokens.client, due.deadline, report)


def transport_error(exc: BaseException, token: str = "") -> DeliveryError:
    """Return what an HTTP client raised as a DeliveryError; without frames, which would keep the whole batch alive.

    And without the token, if its text quotes it.
    """
    if quotes(exc, token):
        return TransportError(f"{type(exc).__name__}, whose text quotes the token")
    error = exc if isinstance(exc, DeliveryError) else TransportError(f"{type(exc).__name__}: {exc}")
    cause = exc.__cause__ if error is exc else exc
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)
