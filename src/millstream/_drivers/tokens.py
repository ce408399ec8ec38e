"""The worker's way to tokens: a batch without one is held back, and one request gets a token for all of them."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from .._core.actions import Send
from .._core.engine import Engine
from .._core.oauth import Ask, Dialog, Keeper, Sign, ask
from .._core.verdicts import Delivered, Refused, Unauthorized, Verdict
from ..auth import OAuth, Signer, bearer
from ..emitter import Emitter, reportable
from ..errors import AuthError, TransportError
from ..http import as_response
from ..types import Clock, ErrorEvent, HTTPClient, Request, Response

__all__ = ["Tokens", "bare", "converse", "talk"]


class Tokens:
    """Stands between the engine and the sending of its batches. Only the worker may be in here."""

    def __init__(self, oauth: OAuth, engine: Engine, emitter: Emitter, clock: Clock) -> None:
        self.client: HTTPClient | None = oauth.client
        self.sign: Signer = oauth.sign
        self._grant = oauth.grant
        self._keeper = Keeper(oauth.grant, max_retries=oauth.max_retries, random=random.random)
        self._engine = engine
        self._emitter = emitter
        self._clock = clock
        self._held: list[Send] = []
        self.token: str | None = None  # of the batch that was admitted last

    # -- batches ------------------------------------------------------------------------------------

    def admit(self, send: Send) -> bool:
        """Whether this may be sent now. If not, it is held back, or has failed: the engine knows."""
        now = self._clock()
        self.token = self._keeper.use(now)
        if self.token is not None:
            return True
        refusal = self._keeper.refusal(now)
        if refusal is None:
            self._held.append(self._engine.hold_back(send))
        else:
            self._engine.responded(send, Refused(refusal), now)
        return False

    def review(self, request: Request, verdict: Verdict, status: int) -> Verdict:
        """What an answer of the API means for the token that was sent; and whether another is worth a try."""
        token = bearer(request)
        if isinstance(verdict, Delivered):
            self._keeper.accepted(token)
        elif status in {401, 511}:
            another = self._keeper.rejected(token, self._clock())
            if isinstance(verdict, Unauthorized) and not another:
                return Refused(verdict.error)
        return verdict

    # -- token requests -----------------------------------------------------------------------------

    def next_ask(self, *, closing: bool) -> Ask | None:
        """The token request that is to be made now, if any. A client that closes asks for no more than it needs."""
        now = self._clock()
        self._go_on(self._keeper.expire(now), now)
        if closing and not self._held:
            return None
        return self._keeper.next_ask(now, waiting=bool(self._held))

    def due_at(self, *, closing: bool) -> float | None:
        """When time alone brings something to do."""
        if closing and not self._held:
            return None
        return self._keeper.due_at(self._clock(), waiting=bool(self._held))

    def dialog(self, to_ask: Ask) -> Dialog:
        """How to ask."""
        return ask(self._grant, time.time() - to_ask.skew, str(uuid.uuid4()))

    def responded(self, asked: Ask, response: Response) -> None:
        """The server answered."""
        now = self._clock()
        self._go_on(self._keeper.responded(asked, response, now, time.time()), now)

    def failed(self, asked: Ask, error: AuthError) -> None:
        """There was no answer."""
        now = self._clock()
        self._go_on(self._keeper.failed(asked, error, now), now)

    def _go_on(self, error: AuthError | None, now: float) -> None:
        """Those who were held back go, if there is a token; else `error`, if there is one, is theirs."""
        if self._keeper.token(now) is None and error is None:
            return
        held, self._held = self._held, []
        if self._keeper.token(now) is not None:
            for send in held:
                self._engine.recalled(send, now)
        if error is None:
            return
        if not held:  # in the background: no event fails of it, not yet
            self._emitter.report(ErrorEvent("auth", error))
        elif error is self._keeper.refusal(now):
            for send in held:
                self._engine.responded(send, Refused(error), now)
        else:
            for send in held:
                self._engine.failed(send, error, now)


def talk(dialog: Dialog, sign: Signer, client: HTTPClient) -> Response:
    """Run a dialog with the authorization server, in any thread.

    Raises:
        AuthError: there was no answer.
    """

    async def sign_here(data: bytes) -> Any:
        return sign(data)

    async def send_here(request: Request) -> Any:
        return client.send(request)

    try:
        converse(dialog, sign_here, send_here).send(None)
    except StopIteration as stop:
        response: Response = stop.value
        return response
    raise AssertionError("nothing in it waits")


async def converse(
    dialog: Dialog, sign: Callable[[bytes], Awaitable[Any]], send: Callable[[Request], Awaitable[Any]]
) -> Response:
    """The same with a `sign` and a `send` that are awaited.

    Raises:
        AuthError: there was no answer.
    """
    answer: object = None
    raised: Exception | None = None
    try:
        while True:
            step = dialog.send(answer) if raised is None else dialog.throw(raised)
            answer = raised = None
            try:
                answer = await sign(step.data) if isinstance(step, Sign) else as_response(await send(step))
            except BaseException as exc:
                if not reportable(exc) or _cancelled(exc):
                    raise
                raised = exc if isinstance(exc, Exception) else TransportError(type(exc).__name__)
    except StopIteration as stop:
        response: Response = stop.value
        return response


def _cancelled(exc: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")  # where it is not loaded, nothing has been cancelled
    return asyncio is not None and isinstance(exc, asyncio.CancelledError)


def bare(error: AuthError) -> AuthError:
    """The error without frames: their variables hold the assertion, and who reports errors may show them."""
    if error.__cause__ is not None:
        cause = error.__cause__.with_traceback(None)
        cause.__context__ = None
        error.__cause__ = cause
    error.__context__ = None
    return error.with_traceback(None)
