"""A plugin that makes the names of all events lower case, sent to $MILLSTREAM_HOST with $MILLSTREAM_WRITE_KEY."""

from millstream import Analytics, Context, Plugin


class LowercaseEvents(Plugin):
    name = "Lowercase events"
    type = "enrichment"
    version = "1.0.0"

    def track(self, ctx: Context) -> Context:
        ctx.update_event("event", ctx.event["event"].lower())
        return ctx


if __name__ == "__main__":
    with Analytics() as analytics:
        analytics.register(LowercaseEvents())
        context = analytics.track("Item Purchased", user_id="user-17", properties={"item": "Teapot"}).wait(timeout=5)
        print("delivered:", context.event["event"])
