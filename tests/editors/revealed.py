"""What a type checker knows of the library: each line's `reveal_type` is compared with the comment behind it."""

from __future__ import annotations

from millstream import Analytics, AsyncAnalytics, Context, Plugin, UserTraits, before, utility

analytics = Analytics("WRITE_KEY", host="http://127.0.0.1:7070", flush_at=20, spool="spool")
asynchronous = AsyncAnalytics("WRITE_KEY")

reveal_type(analytics.track("Item Purchased", user_id=17, properties={"revenue": 39.95}))  # Receipt
reveal_type(analytics.track("Item Purchased", user_id="u", properties={"anything": object()}).wait())  # Context
reveal_type(analytics.flush(timeout=5))  # FlushResult
reveal_type(analytics.stats().delivered)  # int
reveal_type(analytics.plugins)  # dict[str, Any]

analytics.on("error", lambda error: reveal_type(error))  # ErrorEvent
analytics.on("track", lambda ctx: reveal_type(ctx))  # Context
analytics.on("http_response", lambda request, response: reveal_type(response))  # Response
analytics.on("call_after_close", lambda event: reveal_type(event))  # dict[str, Any]
analytics.once("register", lambda names: reveal_type(names))  # list[str]
analytics.once("drained", lambda: reveal_type(analytics))  # Analytics


@before
def scrub(ctx: Context) -> Context:
    return ctx


@before(name="by another name", events=["track"])
async def later(ctx: Context) -> None:
    ctx.update_event("properties.plan", "pro")


@utility
def ready(ctx: Context, analytics: Analytics) -> None: ...


reveal_type(scrub)  # Plugin
reveal_type(later)  # Plugin
analytics.register(scrub, ready, Plugin())

traits: UserTraits = {"email": "user@shop.example", "plan": "pro"}  # an error: not reserved
traits = {"email": "user@shop.example", "age": 41}
analytics.identify("user-17", traits=traits)
analytics.identify("user-17", traits={"email": "user@shop.example", "plan": "pro"})


async def main() -> None:
    reveal_type(await asynchronous.flush())  # FlushResult
    reveal_type(await asynchronous.track("Item Purchased", user_id="u"))  # Context
