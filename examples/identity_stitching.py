"""A plugin that asks a web API who the user is, and adds the answer to every identify call.

$USERS_API is the API's address; users are at `/users/<id>`.
"""

import json
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import urllib3

from millstream import Analytics, Context, Plugin


class IdentityStitching(Plugin):
    name = "Identity Stitching"
    type = "enrichment"
    version = "0.1.0"

    def __init__(self, users: str, user: Callable[[dict[str, Any]], object] = lambda traits: None) -> None:
        self._users = users.rstrip("/")
        self._user = user  # told what is known about each user
        self._http: urllib3.PoolManager | None = None

    def load(self, ctx: Context, analytics: Analytics) -> None:
        # A hook that waits holds up the events behind it: so not for long, and not twice.
        self._http = urllib3.PoolManager(timeout=2.0, retries=False)

    def is_loaded(self) -> bool:
        return self._http is not None

    def unload(self, ctx: Context, analytics: Analytics) -> None:
        if self._http is not None:
            self._http.clear()
            self._http = None

    def identify(self, ctx: Context) -> Context:
        if self._http is None or "userId" not in ctx.event:
            return ctx
        answer = self._http.request("GET", f"{self._users}/users/{quote(ctx.event['userId'], safe='')}")
        if answer.status == 404:
            return ctx  # nobody that is known there
        if answer.status != 200:
            raise LookupError(f"the users' API answered {answer.status}")  # reported; the event goes on without
        found = json.loads(answer.data)
        ctx.update_event("traits.custom", found)  # levels that are missing are created
        self._user(found)
        return ctx


if __name__ == "__main__":
    with Analytics() as analytics:
        analytics.on("error", lambda error: print("failed:", error.reason))
        analytics.register(IdentityStitching(os.environ["USERS_API"]))
        context = analytics.identify("1", traits={"plan": "pro"}).wait(timeout=5)
        print("delivered:", json.dumps(context.event["traits"], sort_keys=True))
