"""Ten mistakes that newcomers make. An editor shows all but the last, which `register` refuses."""

from __future__ import annotations

import time

from millstream import Analytics, AsyncAnalytics, Context, Plugin, enrichment

analytics = Analytics("WRITE_KEY")

Analytics("WRITE_KEY", flush_att=20)  # 1: no such setting
Analytics("WRITE_KEY", overflow="drop")  # 2: no such choice
analytics.on("eror", print)  # 3: nothing is emitted under this name
analytics.on("http_response", lambda response: None)  # 4: it is given a request and a response
analytics.track("user-17", "Item Purchased", {"revenue": 39.95})  # 5: the order of other libraries
analytics.track("Item Purchased", userId="user-17")  # 6: the spelling of the wire
analytics.track("Item Purchased", user_id="user-17", timestamp=time.time())  # 7: a number is no time


@enrichment
def scrub(event: dict[str, str], hint: str) -> dict[str, str]:  # 8: a hook is given a Context
    return event


async def close(client: AsyncAnalytics) -> None:
    client.close_and_flush()  # 9: nothing awaits it


class Redact(Plugin):
    def trak(self, ctx: Context) -> Context:  # 10: no hook
        return ctx
