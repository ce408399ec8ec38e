"""The courier: sends what the engine wants sent, asks for the tokens that it takes, and reports what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from .._clock import monotonic
from .._core.actions import Send
from .._core.engine import Engine
from .._core.oauth import Ask
from .._stamp import sent_at
from ..auth import OAuth, bearer, quotes, shown, without
from ..destinations.tracking_api import TrackingAPI
from ..emitter import Emitter, reportable
from ..errors import AuthError, DeliveryError, TransportError
from ..http import as_response
from ..types import HTTPClient, Request, Response
from .tokens import Tokens, bare, talk

__all__ = ["Command", "Courier", "transport_error"]

NO_SENDER = "every sender is held by an HTTP client that does not return"

Command = Callable[[], object]
"""What the worker is to do, in its own thread: a report, for one."""


class Courier:
    """The part of a worker that has to do with HTTP. Requests may be exchanged in any thread, the rest is the worker's.

    Args:
        destination: makes requests of events, and verdicts of answers.
        engine: whose batches they are.
        make_client: makes what sends.
        emitter: tells who listens of each request and answer.
        oauth: how tokens are had, if they are needed.
    """

    def __init__(
        self,
        destination: TrackingAPI,
        engine: Engine,
        make_client: Callable[[], HTTPClient],
        emitter: Emitter,
        oauth: OAuth | None,
    ) -> None:
        self._destination = destination
        self._engine = engine
        self._make_client = make_client
        self._client: HTTPClient | None = None
        self._emitter = emitter
        self._clock = monotonic
        self._tokens = None if oauth is None else Tokens(oauth, engine, emitter, self._clock)
        self._closing = False
        self._deadline = 0.0  # of the close
        self._finished = False

    def _send(self, send: Send) -> None:
        """Send a batch, and report."""
        request, client = self._request(send), self._http()
        if not self._dispatch(lambda: self._exchange(send, request, client), send.deadline):
            self._engine.failed(send, TransportError(NO_SENDER), self._clock())

    def _admit(self, send: Send) -> None:
        """Send a batch, if nothing but its turn was missing."""
        if self._tokens is None or self._tokens.admit(send):
            self._send(send)

    def _see_to_token(self) -> None:
        """Have a token asked for, if one is missing or old."""
        if self._tokens is None or self._finished:
            return
        ask = self._tokens.next_ask(closing=self._closing)
        if ask is not None:
            self._ask(self._tokens, ask)

    def _token_due_at(self) -> float | None:
        return None if self._tokens is None else self._tokens.due_at(closing=self._closing)

    def _ask(self, tokens: Tokens, ask: Ask) -> None:
        """Ask for a token, and report."""
        client = tokens.client or self._http()
        if not self._dispatch(lambda: self._obtain(tokens, ask, client), ask.deadline):
            tokens.failed(ask, AuthError(NO_SENDER))

    def _dispatch(self, job: Callable[[], Command], deadline: float) -> bool:  # noqa: ARG002 - where there are threads
        """Have a job done, and do what it reports. False: there is no thread to do it.

        After `deadline` its report is too late: a thread that is still at it is abandoned.
        """
        job()()
        return True

    def _request(self, send: Send) -> Request:
        token = None if self._tokens is None else self._tokens.token
        request = self._destination.request(send.batch.items, send.attempt, sent_at(), token)
        if self._closing:  # an answer that comes later is of no use; and without threads nothing else is done meanwhile
            request = replace(request, timeout=max(0.01, min(request.timeout, self._deadline - self._clock())))
        self._emitter.emit("http_request", shown(request))
        return request

    def _exchange(self, send: Send, request: Request, client: HTTPClient) -> Command:
        """Exchange a request for an answer, in any thread, and make of it a report for the worker."""
        try:
            response = as_response(client.send(request))
        except BaseException as exc:
            if not reportable(exc):
                raise
            return self._no_answer(send, request, exc)
        return lambda: self._on_response(send, request, response)

    def _no_answer(self, send: Send, request: Request, exc: BaseException) -> Command:
        error = transport_error(exc, bearer(request))
        return lambda: self._engine.failed(send, error, self._clock())

    def _on_response(self, send: Send, request: Request, response: Response) -> None:
        response = without(response, bearer(request))
        verdict = self._destination.judge(response, time.time())
        if self._tokens is not None:
            verdict = self._tokens.review(request, verdict, response.status)
        self._engine.responded(send, verdict, self._clock())
        self._emitter.emit("http_response", shown(request), response)

    def _obtain(self, tokens: Tokens, ask: Ask, client: HTTPClient) -> Command:
        """Ask for a token, in any thread, and make of the answer a report for the worker."""
        try:
            response = talk(tokens.dialog(ask), tokens.sign, client)
        except AuthError as exc:
            error = bare(exc)
            return lambda: tokens.failed(ask, error)
        return lambda: tokens.responded(ask, response)

    def _http(self) -> HTTPClient:
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _hang_up(self) -> None:
        """Nothing more will be sent."""
        for client in (self._client, None if self._tokens is None else self._tokens.client):
            try:
                if client is not None:
                    client.close()
            except BaseException as exc:
                if not reportable(exc):
                    raise
                self._emitter.fault("http_client", exc)


def transport_error(exc: BaseException, token: str = "") -> DeliveryError:
    """What an HTTP client raised, as one of ours; without frames, which would keep the whole batch alive.

    And without the token, if it quotes it.
    """
    if quotes(exc, token):
        return TransportError(f"{type(exc).__name__}, whose text quotes the token")
    error = exc if isinstance(exc, DeliveryError) else TransportError(f"{type(exc).__name__}: {exc}")
    cause = exc.__cause__ if error is exc else exc
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)
