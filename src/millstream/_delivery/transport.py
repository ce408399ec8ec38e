"""The transport of threads: sends the requests of a channel in threads, and posts the results to the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._core.oauth import Sign, TokenSteps
from .._feedback import exchanging
from ..auth import Signer
from ..emitter import Emitter, reportable
from ..errors import AuthError, TransportError
from ..http import as_response
from ..types import HTTPClient, Request, Response

__all__ = ["Command", "Report", "ThreadTransport", "Transport", "run_token_request"]

NO_SENDER = "every sender thread is in an HTTP client that does not return"

Command = Callable[[], object]
"""A function that the worker runs, in its own thread."""

Report = Callable[["Response | BaseException"], object]
"""Called by the worker with the response, or the exception."""


class Transport(Protocol):
    """Sends requests: with an HTTP client, in threads or tasks. Used only by the worker."""

    def exchange(self, request: Request, deadline: float, report: Report, recall: Command) -> None:
        """Send a request, and report its response; or `recall` it, if an event loop ends first."""
        ...

    def converse(
        self, steps: TokenSteps, sign: Signer, client: HTTPClient | None, deadline: float, report: Report
    ) -> None:
        """Run a token request, and report; an exception is an AuthError. `client`: one for these requests."""
        ...

    def close(self, token_client: HTTPClient | None) -> None:
        """Release the connections, also those to the authorization server."""
        ...


class ThreadTransport:
    """Sends requests in blocking calls.

    Args:
        make_client: makes the HTTP client, at the first request.
        run: runs a job on any thread, and then its command on the worker. False: no thread is free. After the deadline
            the report is ignored, and a thread that is still in the job is abandoned.
        emitter: reports what the client raises when closed.
    """

    def __init__(
        self,
        make_client: Callable[[], HTTPClient],
        run: Callable[[Callable[[], Command], float], bool],
        emitter: Emitter,
    ) -> None:
        self._make_client = make_client
        self._client: HTTPClient | None = None
        self._run = run
        self._emitter = emitter

    def exchange(self, request: Request, deadline: float, report: Report, recall: Command) -> None:  # noqa: ARG002
        """Send a request on a thread."""
        client = self._http()

        def job() -> Command:
            answer = attempt(lambda: _sent(client, request))
            return lambda: report(answer)

        if not self._run(job, deadline):
            report(TransportError(NO_SENDER))

    def converse(
        self, steps: TokenSteps, sign: Signer, client: HTTPClient | None, deadline: float, report: Report
    ) -> None:
        """Run a token request on a thread."""
        client = client or self._http()

        def job() -> Command:
            with exchanging():
                answer = attempt(lambda: run_token_request(steps, sign, client))
            return lambda: report(answer)

        if not self._run(job, deadline):
            report(AuthError(NO_SENDER))

    def close(self, token_client: HTTPClient | None) -> None:
        """Release the connections."""
        for client in (self._client, token_client):
            if client is not None:
                close_client(client, self._emitter)

    def _http(self) -> HTTPClient:
        if self._client is None:
            self._client = self._make_client()
        return self._client


def _sent(client: HTTPClient, request: Request) -> Response:
    with exchanging():
        answer = client.send(request)
    return as_response(answer)


def attempt(do: Callable[[], Response]) -> Response | BaseException:
    """Return what `do` returns or raises; raise what ends a program on its main thread."""
    try:
        return do()
    except BaseException as exc:
        if not reportable(exc):
            raise
        return exc


def close_client(client: HTTPClient, emitter: Emitter) -> Any:
    """Close an HTTP client, and report exceptions. Return its result, which may be awaitable."""
    try:
        return client.close()
    except BaseException as exc:
        if not reportable(exc):
            raise
        emitter.fault("http_client", exc)
        return None


def run_token_request(steps: TokenSteps, sign: Signer, client: HTTPClient) -> Response:
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
        try:
            answer, raised = sign(step.data) if isinstance(step, Sign) else as_response(client.send(step)), None
        except BaseException as exc:
            if not reportable(exc):
                raise
            raised = as_exception(exc)


def as_exception(exc: BaseException) -> Exception:
    """Convert to an exception that can be thrown into a generator without ending the program."""
    return exc if isinstance(exc, Exception) else TransportError(type(exc).__name__)
