"""httpretty: it stands in for sockets. urllib3 asks of them what it does not have, whoever calls that."""

from __future__ import annotations

import httpretty
from events import HOST, deliver, plain, say

httpretty.enable(allow_net_connect=False)
httpretty.register_uri(httpretty.POST, f"{HOST}/plain", body="{}")
httpretty.register_uri(httpretty.POST, f"{HOST}/v1/batch", body='{"success": true}')
try:
    plain()
    works = True
except httpretty.UnmockedError:
    works = False
mocked = deliver()
httpretty.disable()
say(deliver(), mocked=mocked, works=works)
