"""A shop's tasks in Celery. $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where their events go.

celery -A examples.frameworks.celery_app worker
"""

import os

from celery import Celery

from millstream import Analytics
from millstream.integrations.celery import connect

analytics = Analytics()
folder = os.environ["BROKER"]
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": folder,
    "data_folder_out": folder,
    "control_folder": f"{folder}/control",
}
connect(analytics)


@app.task
def ship(order: int) -> None:
    analytics.track("Order Shipped", properties={"order": order})
