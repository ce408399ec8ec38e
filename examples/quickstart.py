"""Record who somebody is and what they did. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where it goes."""

from millstream import Analytics

with Analytics() as analytics:
    analytics.identify("user-17", traits={"name": "User Seventeen", "plan": "pro"})
    receipt = analytics.track("Item Purchased", user_id="user-17", properties={"item": "Teapot", "revenue": 39.95})
    # Only because you are watching: the end of the `with` block delivers what is left.
    receipt.wait(timeout=5)
    print(f"delivered: {receipt.kind} {receipt.message_id}")
