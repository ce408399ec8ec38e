"""pook: it stands in for urllib3 and for aiohttp, and answers in their place."""

from __future__ import annotations

import json

import pook
from events import HOST, deliver, plain, say

with pook.use():
    pook.post(f"{HOST}/plain").reply(200)
    try:
        plain()
        works = True
    except TypeError:  # it does not know so new an aiohttp, whoever calls that
        works = False
    mock = pook.post(f"{HOST}/v1/batch").persist().reply(200).json({"success": True}).mock
    mocked = deliver()
    calls = mock.matches if works else []
    seen = [event["properties"]["number"] for call in calls for event in json.loads(call.body)["batch"]]
say(deliver(), mocked=mocked, works=works, seen=seen)
