"""The worker's way to tokens: a batch without one is held back, and one request gets a token for all of them."""

from __future__ import annotations

import random
import time
import uuid

from .._core.context import ErrorEvent
from .._core.delivery.actions import Send
from .._core.delivery.engine import Engine
from .._core.delivery.verdicts import Delivered, Refused, Unauthorized, Verdict
from .._core.oauth import Dialog, TokenRequest, TokenState, ask
from .._logging import Summary
from ..auth import OAuth, Signer, bearer
from ..emitter import Emitter
from ..errors import AuthError
from ..types import Clock, HTTPClient, Request, Response
from ..urls import origin

__all__ = ["Tokens", "bare"]


class Tokens:
    """Stands between the engine and the sending of its batches. Only the worker may be in here."""

    def __init__(self, oauth: OAuth, engine: Engine, emitter: Emitter, summary: Summary, clock: Clock) -> None:
        self.client: HTTPClient | None = oauth.client
        self.sign: Signer = oauth.sign
        self._grant = oauth.grant
        self._state = TokenState(oauth.grant, max_retries=oauth.max_retries, random=random.random)
        self._engine = engine
        self._emitter = emitter
        self._summary = summary
        self._clock = clock
        self._held: list[Send] = []
        self.token: str | None = None  # of the batch that was admitted last

    # -- batches ------------------------------------------------------------------------------------

    def admit(self, send: Send) -> bool:
        """Whether this may be sent now. If not, it is held back, or has failed: the engine knows."""
        now = self._clock()
        self.token = self._state.use(now)
        if self.token is not None:
            return True
        refusal = self._state.refusal(now)
        if refusal is None:
            self._held.append(self._engine.hold_back(send))
        else:
            self._engine.responded(send, Refused(refusal), now)
        return False

    def review(self, request: Request, verdict: Verdict, status: int) -> Verdict:
        """What an answer of the API means for the token that was sent; and whether another is worth a try."""
        token = bearer(request)
        if isinstance(verdict, Delivered):
            self._state.accepted(token)
        elif status in {401, 511}:
            another = self._state.rejected(token, self._clock())
            if isinstance(verdict, Unauthorized) and not another:
                return Refused(verdict.error)
        return verdict

    # -- token requests -----------------------------------------------------------------------------

    def next_request(self, *, closing: bool) -> TokenRequest | None:
        """The token request that is to be made now, if any. A client that closes asks for no more than it needs."""
        now = self._clock()
        self._go_on(self._state.expire(now), now)
        if closing and not self._held:
            return None
        return self._state.next_request(now, waiting=bool(self._held))

    def due_at(self, *, closing: bool) -> float | None:
        """When time alone brings something to do."""
        if closing and not self._held:
            return None
        return self._state.due_at(self._clock(), waiting=bool(self._held))

    def dialog(self, request: TokenRequest) -> Dialog:
        """How to ask."""
        return ask(self._grant, time.time() - request.skew, str(uuid.uuid4()))

    def responded(self, asked: TokenRequest, response: Response) -> None:
        """The server answered."""
        now = self._clock()
        self._go_on(self._state.responded(asked, response, now, time.time()), now)

    def failed(self, asked: TokenRequest, error: AuthError) -> None:
        """There was no answer."""
        now = self._clock()
        self._go_on(self._state.failed(asked, error, now), now)

    def _go_on(self, error: AuthError | None, now: float) -> None:
        """Those who were held back go, if there is a token; else `error`, if there is one, is theirs."""
        if self._state.token(now) is None and error is None:
            return
        held, self._held = self._held, []
        if self._state.token(now) is not None:
            for send in held:
                self._engine.recalled(send, now)
        if error is None:
            return
        self._summary.request_failed(origin(self._grant.auth_server), error, now)
        if not held:  # in the background: no event fails of it, not yet
            self._emitter.report(ErrorEvent("auth", error))
        elif error is self._state.refusal(now):
            for send in held:
                self._engine.responded(send, Refused(error), now)
        else:
            for send in held:
                self._engine.failed(send, error, now)


def bare(error: AuthError) -> AuthError:
    """The error without frames: their variables hold the assertion, and who reports errors may show them."""
    if error.__cause__ is not None:
        cause = error.__cause__.with_traceback(None)
        cause.__context__ = None
        error.__cause__ = cause
    error.__context__ = None
    return error.with_traceback(None)
