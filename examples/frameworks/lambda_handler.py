"""A shop's function in AWS Lambda, behind an HTTP API. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where events go.

The function's handler is `examples.frameworks.lambda_handler.handler`.
"""

from millstream import Analytics
from millstream.integrations.aws_lambda import millstream_handler

analytics = Analytics()


def user_of(event):
    """The user's id, from the token that the HTTP API has verified."""
    authorizer = event["requestContext"].get("authorizer") or {}
    return authorizer.get("jwt", {}).get("claims", {}).get("sub")


@millstream_handler(analytics, user_id=user_of)
def handler(event, context):
    item = event["pathParameters"]["item"]
    analytics.track("Item Purchased", properties={"item": item, "revenue": 39.95})
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": "thank you"}
