"""A shop's jobs in RQ. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where their events go.

rq worker --job-class millstream.integrations.rq.MillstreamJob
"""

import os

from redis import Redis
from rq import Queue

from millstream import Analytics
from millstream.integrations.rq import MillstreamJob

analytics = Analytics()
queue = Queue(connection=Redis.from_url(os.environ.get("REDIS", "redis://127.0.0.1:6379")), job_class=MillstreamJob)


def ship(order: int) -> None:
    analytics.track("Order Shipped", properties={"order": order})
