"""Tracing agents patch HTTP libraries in the whole process: events are delivered, and requests are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from delivered import Run, assert_delivered, batches

from support.api import Api

CLIENTS = ["Analytics", "AsyncAnalytics"]


def trace_of(header: str) -> Callable[[str], str]:
    """How the trace id is read from a header of this name."""
    return {
        "traceparent": lambda value: value.split("-")[1],
        "sentry-trace": lambda value: value.split("-")[0],
    }[header]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("tool", "header"),
    [
        ("ddtrace_", "traceparent"),
        ("opentelemetry_", "traceparent"),
        ("logfire_", "traceparent"),
        ("sentry", "sentry-trace"),
        ("elastic", "traceparent"),
    ],
)
def test_each_request_is_a_span(api: Api, run: Run, tool: str, header: str, client: str) -> None:
    """The tool records each request, as it records other people's, and puts the span's own trace into its header.

    None belongs to the trace in which its events were recorded: that one is over when they are sent.
    """
    said = run(tool, client)
    assert_delivered(api, said)
    assert Counter(each["path"] for each in said["seen"]) == {"/plain": 1, "/v1/batch": len(batches(api))}
    assert all(each["status"] == 200 and not each["error"] for each in said["seen"])
    sent = [trace_of(header)(seen.header(header) or "") for seen in api.requests]
    assert sorted(sent) == sorted(each["trace"] for each in said["seen"])
    assert len({*sent, said["visit"]}) == len(sent) + 1


@pytest.mark.parametrize("client", CLIENTS)
def test_sentry_carries_no_trace_into_our_threads(api: Api, run: Run, client: str) -> None:
    """Outside of a transaction Sentry adds no header: that of the transaction in which events were recorded least."""
    said = run("sentry_threads", client)
    assert_delivered(api, said)
    assert [seen.path for seen in api.requests if seen.header("sentry-trace")] == ["/plain"]


def test_ddtrace_patches_two_libraries_at_once(api: Api, run: Run) -> None:
    """With `http.client` and urllib3 patched, a request has a span of each."""
    said = run("ddtrace_")
    assert_delivered(api, said)
    assert said["integrations"] == 2


@pytest.mark.parametrize("client", CLIENTS)
def test_new_relic(api: Api, run: Run, client: str) -> None:
    """In a transaction, New Relic adds its header to each request: the trace is the transaction's own."""
    said = run("newrelic_", client)
    assert_delivered(api, said)
    sent = [trace_of("traceparent")(seen.header("traceparent") or "") for seen in api.requests]
    assert sorted(sent) == sorted(said["traces"])
    assert len({*sent, said["visit"]}) == len(sent) + 1


@pytest.mark.parametrize("client", CLIENTS)
def test_x_ray(api: Api, run: Run, client: str) -> None:
    """X-Ray sees what it sees of other people's: a session of requests, or one of aiohttp that traces."""
    said = run("xray", client)
    assert_delivered(api, said)
    assert Counter(each["path"] for each in said["seen"]) == {"/plain": 1, "/v1/batch": len(batches(api))}
    assert all(each["status"] == 200 and not each["error"] for each in said["seen"])
    headers = [seen.header("x-amzn-trace-id") or "" for seen in api.requests]
    assert sorted(header.split("Parent=")[1].split(";")[0] for header in headers) == sorted(
        each["id"] for each in said["seen"]
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_logging_is_instrumented(api: Api, run: Run, client: str) -> None:
    """With every line of every library handed to OpenTelemetry, events are delivered, and our lines are among them."""
    said = run("opentelemetry_logging", client)
    assert_delivered(api, said)
    assert any(line.startswith("1 event failed at ") for line in said["lines"])
