"""AWS Lambda: events are delivered before the function is frozen, with the ids and context of an HTTP request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from .._public import Unpack, publish
from ..aio import AsyncAnalytics
from ..client import Analytics
from .request import Capture, CaptureArgs, Head, Visit, quoted, record_page
from .serverless import flush_on_return

__all__ = ["millstream_handler"]

F = TypeVar("F", bound=Callable[..., Any])
Payload = Mapping[str, Any]


def millstream_handler(
    analytics: Analytics | AsyncAnalytics, *, timeout: float = 5.0, margin: float = 0.5, **options: Unpack[CaptureArgs]
) -> Callable[[F], F]:
    """Deliver a Lambda function's events before it returns, and give them the ids and context of its HTTP request.

        @millstream_handler(analytics)
        def handler(event, context): ...

    Requests of API Gateway (REST and HTTP APIs), function URLs and load balancers are known. For other events (a queue,
    a schedule) it does what `flush_on_return` does, and the function's calls name their ids.

    Args:
        analytics: the client that the function records with.
        timeout: seconds that delivery may take, if the platform does not say how much time the function has.
        margin: seconds to leave of the time that the platform says remains.
        options: see `millstream.integrations.request.Capture`. `user_id` is called with the event.

    Raises:
        MillstreamError: what is decorated is no function, or a `def` with an AsyncAnalytics.
        SettingsError: an option is unknown, or a value cannot be used.
    """
    capture = Capture.of(options)
    flushing = flush_on_return(analytics, timeout=timeout, margin=margin)

    def decorate(fn: F) -> F:
        def visit_of(event: object) -> Visit | None:
            head = head_of(cast("Payload", event)) if isinstance(event, Mapping) else None
            find_user = capture.user_id
            return (
                None if head is None else Visit(head, capture, None if find_user is None else lambda: find_user(event))
            )

        def answer(event: Any, context: Any) -> Any:
            visit = visit_of(event)
            if visit is None:
                return fn(event, context)
            with visit.identity:
                return _finish(fn(event, context), visit, event, analytics)

        async def answer_async(event: Any, context: Any) -> Any:
            visit = visit_of(event)
            if visit is None:
                return await fn(event, context)
            with visit.identity:
                return _finish(await fn(event, context), visit, event, analytics)

        wrapped: Any = wraps(fn)(answer_async if inspect.iscoroutinefunction(fn) else answer)
        return cast("F", flushing(wrapped))

    return decorate


def head_of(event: Payload) -> Head | None:
    """Return the head of the HTTP request that this event is; None if it is something else."""
    about: Any = event.get("requestContext")
    if not isinstance(about, Mapping):
        return None
    about = cast("Payload", about)
    http: Payload = about.get("http") or {}  # of an HTTP API or a function URL
    identity: Payload = about.get("identity") or {}  # of a REST API
    method = http.get("method") or event.get("httpMethod")
    if not method:
        return None
    headers = _headers_of(event)

    def header(name: str) -> str:
        return headers.get(name, "")

    peer = http.get("sourceIp") or identity.get("sourceIp") or headers.get("x-forwarded-for", "").rpartition(",")[2]
    query = event.get("rawQueryString")
    if query is None:
        query = urlencode(event.get("queryStringParameters") or {})
    path = event.get("rawPath") or event.get("path") or "/"
    return Head(
        method=str(method),
        scheme=headers.get("x-forwarded-proto", "https"),
        host=headers.get("host") or str(about.get("domainName", "")),
        path=quoted(str(path)),
        query=str(query),
        peer=str(peer).strip(),
        header=header,
    )


def _headers_of(event: Payload) -> dict[str, str]:
    single: dict[str, Any] = event.get("headers") or {}
    several: dict[str, list[Any]] = event.get("multiValueHeaders") or {}
    headers = {name.lower(): str(value) for name, value in single.items()}
    for name, values in several.items():
        headers[name.lower()] = ("; " if name.lower() == "cookie" else ", ").join(map(str, values))
    if event.get("cookies"):
        headers["cookie"] = "; ".join(map(str, event["cookies"]))
    return headers


def _finish(response: Any, visit: Visit, event: Payload, analytics: Analytics | AsyncAnalytics) -> Any:
    """Record the page event, and set the cookie: in the way that the one who has called understands."""
    answer = cast("dict[str, Any]", response)
    if not isinstance(response, dict) or "statusCode" not in answer:
        return answer
    headers: dict[str, Any] = answer.get("headers") or {}
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if visit.is_page(int(answer["statusCode"]), str(kind)):
        record_page(analytics, visit)
    cookie = visit.set_cookie()
    if cookie is None:
        return answer
    if event.get("version") == "2.0":
        return {**answer, "cookies": [*(answer.get("cookies") or ()), cookie]}
    if "multiValueHeaders" in event:
        several = dict(answer.get("multiValueHeaders") or {})
        return {**answer, "multiValueHeaders": {**several, "Set-Cookie": [*several.get("Set-Cookie", ()), cookie]}}
    return answer if "Set-Cookie" in headers else {**answer, "headers": {**headers, "Set-Cookie": cookie}}


publish("millstream.integrations.aws_lambda", millstream_handler)
