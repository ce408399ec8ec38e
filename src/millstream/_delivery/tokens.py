"""OAuth tokens for a channel: a batch without one is held back, and one request gets a token for all batches."""

from __future__ import annotations

import random
import time
import uuid

from .._core.context import ErrorEvent
from .._core.delivery.actions import Send
from .._core.delivery.engine import Engine
from .._core.delivery.verdicts import Delivered, Refused, Unauthorized, Verdict
from .._core.oauth import TokenRequest, TokenState, TokenSteps, ask
from .._logging import Summary
from ..auth import OAuth, Signer, bearer
from ..emitter import Emitter
from ..errors import AuthError
from ..types import Clock, HTTPClient, Request, Response
from ..urls import origin

__all__ = ["Tokens", "bare"]


class Tokens:
    """Admits batches with a token, between the engine and the transport. Used only by the worker."""

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
        self.token: str | None = None  # of the batch admitted last

    # -- batches ------------------------------------------------------------------------------------

    def admit(self, send: Send) -> bool:
        """Return whether to send this now. If not, the engine holds it back, or has failed it."""
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
        """Return the verdict of an answer, considering the token that was sent: another one may be worth a try."""
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
        """The token request to make now, if any. A closing client makes none that it does not need."""
        now = self._clock()
        self._go_on(self._state.expire(now), now)
        if closing and not self._held:
            return None
        return self._state.next_request(now, waiting=bool(self._held))

    def due_at(self, *, closing: bool) -> float | None:
        """The time at which something is due without a new fact."""
        if closing and not self._held:
            return None
        return self._state.due_at(self._clock(), waiting=bool(self._held))

    def steps(self, request: TokenRequest) -> TokenSteps:
        """Return the generator of a token request."""
        return ask(self._grant, time.time() - request.skew, str(uuid.uuid4()))

    def responded(self, asked: TokenRequest, response: Response) -> None:
        """Handle the server's answer."""
        now = self._clock()
        self._go_on(self._state.responded(asked, response, now, time.time()), now)

    def failed(self, asked: TokenRequest, error: AuthError) -> None:
        """Handle a missing answer."""
        now = self._clock()
        self._go_on(self._state.failed(asked, error, now), now)

    def _go_on(self, error: AuthError | None, now: float) -> None:
        """Send the batches held back, if there is a token; else fail them with `error`, if any."""
        if self._state.token(now) is None and error is None:
            return
        held, self._held = self._held, []
        if self._state.token(now) is not None:
            for send in held:
                self._engine.recalled(send, now)
        if error is None:
            return
        self._summary.request_failed(origin(self._grant.auth_server), error, now)
        if not held:  # in the background: no event fails because of it yet
            self._emitter.report(ErrorEvent("auth", error))
        elif error is self._state.refusal(now):
            for send in held:
                self._engine.responded(send, Refused(error), now)
        else:
            for send in held:
                self._engine.failed(send, error, now)


def bare(error: AuthError) -> AuthError:
    """Return the error without frames: their variables hold the assertion, which error reporters may show."""
    if error.__cause__ is not None:
        cause = error.__cause__.with_traceback(None)
        cause.__context__ = None
        error.__cause__ = cause
    error.__context__ = None
    return error.with_traceback(None)
