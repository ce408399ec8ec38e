"""AWS X-Ray: its patches of http.client and requests, and its tracing of aiohttp. What it would send is kept.

Its patch of http.client does not see urllib3 from version 2 on, whoever calls that: a session of requests it sees.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiohttp
import requests
from aws_xray_sdk.core import patch, xray_recorder
from aws_xray_sdk.ext.aiohttp.client import aws_xray_trace_config
from events import CLIENT, EVENTS, HOST, deliver, outcome, say, settings, track

from millstream import AsyncAnalytics, Request

kept = []


class Keep:
    """In the place of what would send UDP."""

    def send_entity(self, entity) -> None:
        kept.append(entity.to_dict())

    def set_daemon_address(self, address) -> None:
        pass


xray_recorder.configure(service="shop", sampling=False, emitter=Keep(), context_missing="LOG_ERROR")


def with_threads():
    patch(("httplib", "requests"))
    session = requests.Session()

    def send(request: Request):
        with xray_recorder.in_segment("delivery"):
            headers = dict(request.headers)
            return session.request(request.method, request.url, data=request.body, headers=headers, timeout=10)

    with xray_recorder.in_segment("plain"):
        session.post(f"{HOST}/plain", data=b"", timeout=10)
    return deliver(xray_recorder.in_segment("visit"), http_client=send)


async def on_a_loop():
    async with aiohttp.ClientSession(trace_configs=[aws_xray_trace_config()]) as session:
        with xray_recorder.in_segment("plain"):
            async with session.post(f"{HOST}/plain", data=b"") as answer:
                await answer.read()
        with xray_recorder.in_segment("delivery"):  # X-Ray's own context: one segment for the whole thread
            analytics = AsyncAnalytics("key", **settings(http_client=session))
            receipts = [track(analytics, number) for number in range(EVENTS)]
            await analytics.close_and_flush(timeout=30)
    return outcome(analytics, receipts)


def within(segment: dict) -> list[dict]:
    """Its subsegments, and theirs: what is under way at once is nested."""
    return [each for one in segment.get("subsegments", []) for each in [one, *within(one)]]


learnt = with_threads() if CLIENT == "Analytics" else asyncio.run(on_a_loop())
say(
    learnt,
    seen=[
        {
            "path": urlsplit(each["http"]["request"]["url"]).path,
            "status": each["http"]["response"]["status"],
            "id": each["id"],
            "error": each.get("error", False) or each.get("fault", False),
        }
        for segment in kept
        for each in within(segment)
    ],
)
