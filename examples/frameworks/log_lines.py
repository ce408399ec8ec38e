"""Log lines as events. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where they go."""

import logging

import structlog

import millstream
from millstream import Analytics
from millstream.integrations.logging import EventHandler
from millstream.integrations.structlog import EventProcessor

with Analytics() as analytics:
    logging.basicConfig(level="DEBUG", handlers=[logging.StreamHandler(), EventHandler(analytics)])
    structlog.configure(processors=[EventProcessor(analytics), structlog.processors.JSONRenderer()])

    with millstream.context(user_id="user-17"):
        logging.getLogger("shop").warning("payment of %s failed", "order 17", extra={"properties": {"order": 17}})
        structlog.get_logger().info("Order Placed", order=18, track=True)
        structlog.get_logger().info("not an event")
    logging.getLogger("shop").error("no user is to blame")
