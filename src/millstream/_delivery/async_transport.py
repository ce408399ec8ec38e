"""The transport of an event loop: awaits requests in tasks; without a loop, sends in blocking calls."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .._core.oauth import Sign, TokenSteps
from .._feedback import exchanging
from ..auth import Signer
from ..emitter import Emitter, reportable
from ..errors import AuthError
from ..http import as_response, is_async
from ..types import HTTPClient, Request, Response
from .event_loop import LoopRuntime
from .transport import Command, Report, ThreadTransport, as_exception, close_client

__all__ = ["LoopTransport"]

PATIENCE = 1.0
"""Seconds after the engine's deadline at which a task is cancelled."""


class LoopTransport:
    """Awaits requests on the event loop of the runtime.

    Without a loop, as at the end of the process, a client of its own sends them.

    Args:
        runtime: has the loop.
        make_client: makes the HTTP client for the loop, at the first request.
        make_exit_client: makes the HTTP client for use without a loop.
        emitter: reports what a client raises when closed.
    """

    def __init__(
        self,
        runtime: LoopRuntime,
        make_client: Callable[[], HTTPClient],
        make_exit_client: Callable[[], HTTPClient],
        emitter: Emitter,
    ) -> None:
        self._runtime = runtime
        self._make_client = make_client
        self._client: HTTPClient | None = None
        self._without_loop = ThreadTransport(lambda: _Blocking(make_exit_client(), runtime), runtime.run, emitter)
        self._emitter = emitter
        self._answers_late: list[HTTPClient] = []  # whose `send` is not `async def`, but returns awaitables

    def exchange(self, request: Request, deadline: float, report: Report, recall: Command) -> None:
        """Send a request in a task."""
        if self._runtime.loop_here() is None:
            self._without_loop.exchange(request, deadline, report, recall)
            return
        self._spawn(self._send(request, self._http()), deadline, report, recall)

    def converse(
        self, steps: TokenSteps, sign: Signer, client: HTTPClient | None, deadline: float, report: Report
    ) -> None:
        """Run a token request in a task."""
        if self._runtime.loop_here() is None:
            blocking = None if client is None else _Blocking(client, self._runtime)
            self._without_loop.converse(steps, sign, blocking, deadline, report)
            return
        self._spawn(
            self._converse(steps, sign, client or self._http()),
            deadline,
            report,
            lambda: report(AuthError("the event loop ended before the authorization server answered")),
        )

    def close(self, token_client: HTTPClient | None) -> None:
        """Release the connections."""
        self._without_loop.close(None)
        for client in (self._client, token_client):
            if client is not None:
                closing = close_client(client, self._emitter)
                if inspect.isawaitable(closing):
                    self._runtime.wait_for_awaitable(closing, "http_client")

    def _http(self) -> HTTPClient:
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _spawn(self, response: Awaitable[Response], deadline: float, report: Report, recall: Command) -> None:
        runtime = self._runtime

        def done(answer: Any, exc: BaseException | None) -> None:
            runtime.post(lambda: report(answer if exc is None else exc))

        runtime.spawn(response, done, recall, timeout=deadline - runtime.worker.clock() + PATIENCE)

    async def _send(self, request: Request, client: HTTPClient) -> Response:
        with exchanging():
            if is_async(client) or client in self._answers_late:
                answer: Any = client.send(request)
            else:  # in this task's context, for loggers there
                context = contextvars.copy_context()
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(None, lambda: context.run(client.send, request))
                if inspect.isawaitable(answer):
                    self._answers_late.append(client)
            return as_response(await answer if inspect.isawaitable(answer) else answer)

    async def _converse(self, steps: TokenSteps, sign: Signer, client: HTTPClient) -> Response:
        """Run a token request to its end.

        Raises:
            AuthError: no answer.
        """
        answer: object = None
        raised: Exception | None = None
        while True:
            try:
                step = steps.send(answer) if raised is None else steps.throw(raised)
            except StopIteration as stop:
                response: Response = stop.value
                return response
            answer = raised = None
            try:
                if isinstance(step, Sign):  # a key service takes time
                    answer = await asyncio.get_running_loop().run_in_executor(None, sign, step.data)
                else:
                    answer = await self._send(step, client)
            except BaseException as exc:
                if not reportable(exc) or isinstance(exc, asyncio.CancelledError):
                    raise
                raised = as_exception(exc)


class _Blocking:
    """Makes an `async` HTTP client a blocking one."""

    def __init__(self, client: HTTPClient, runtime: LoopRuntime) -> None:
        self._client = client
        self._runtime = runtime

    def send(self, request: Request) -> Any:
        return self._wait(self._client.send(request), request.timeout + PATIENCE)

    def close(self) -> None:
        self._wait(self._client.close(), PATIENCE)

    def _wait(self, answer: Any, timeout: float) -> Any:
        return self._runtime.private_loop.run(answer, timeout) if inspect.isawaitable(answer) else answer
