"""A transport: exchanges the requests of one channel in threads, and posts what came of each to the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._core.oauth import Dialog, Sign
from .._feedback import exchanging
from ..auth import Signer
from ..emitter import Emitter, reportable
from ..errors import AuthError, TransportError
from ..http import as_response
from ..types import HTTPClient, Request, Response

__all__ = ["Command", "Report", "ThreadTransport", "Transport", "run_token_request"]

NO_SENDER = "every sender is held by an HTTP client that does not return"

Command = Callable[[], object]
"""Something for the worker to do, in its own thread."""

Report = Callable[["Response | BaseException"], object]
"""Is given the response, or why there is none. Called by the worker."""


class Transport(Protocol):
    """How requests are exchanged: with which HTTP client, and where. Used by the worker alone."""

    def exchange(self, request: Request, deadline: float, report: Report, recall: Command) -> None:
        """Exchange a request for a response, and report; or `recall` it, should an event loop end before it does."""
        ...

    def converse(
        self, dialog: Dialog, sign: Signer, client: HTTPClient | None, deadline: float, report: Report
    ) -> None:
        """Run a token request, and report; an exception is an AuthError. `client`: another one for these requests."""
        ...

    def close(self, token_client: HTTPClient | None) -> None:
        """Release the connections, those to the authorization server included."""
        ...


class ThreadTransport:
    """Exchanges requests in blocking calls.

    Args:
        make_client: makes the HTTP client, at the first request.
        run: runs a job on any thread, and has the worker do what it returns. False: no thread is free. After the
            deadline the report is too late, and a thread that is still in the job is abandoned.
        emitter: is told what the client raises when it is closed.
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
        self, dialog: Dialog, sign: Signer, client: HTTPClient | None, deadline: float, report: Report
    ) -> None:
        """Run a token request on a thread."""
        client = client or self._http()

        def job() -> Command:
            with exchanging():
                answer = attempt(lambda: run_token_request(dialog, sign, client))
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
    """Return what `do` returns or raises; what ends a program on its main thread is raised on."""
    try:
        return do()
    except BaseException as exc:
        if not reportable(exc):
            raise
        return exc


def close_client(client: HTTPClient, emitter: Emitter) -> Any:
    """Close an HTTP client, and report what it raises. Returns what it returns, which may have to be awaited."""
    try:
        return client.close()
    except BaseException as exc:
        if not reportable(exc):
            raise
        emitter.fault("http_client", exc)
        return None


def run_token_request(dialog: Dialog, sign: Signer, client: HTTPClient) -> Response:
    """Run a token request to its end.

    Raises:
        AuthError: there was no answer.
    """
    answer: object = None
    raised: Exception | None = None
    while True:
        try:
            step = dialog.send(answer) if raised is None else dialog.throw(raised)
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
    """Return what a generator can be thrown without ending the program."""
    return exc if isinstance(exc, Exception) else TransportError(type(exc).__name__)
