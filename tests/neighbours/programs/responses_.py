"""responses: it stands in for requests, and so for a session that is the `http_client`; others it leaves alone."""

from __future__ import annotations

import json

import requests
import responses
from events import HOST, deliver, say

with responses.RequestsMock() as mock:
    mock.add("POST", f"{HOST}/v1/batch", json={"success": True})
    mocked = deliver(http_client=requests.Session())
    seen = [event["properties"]["number"] for call in mock.calls for event in json.loads(call.request.body)["batch"]]
    learnt = deliver()
say(learnt, mocked=mocked, seen=seen)
