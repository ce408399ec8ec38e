"""freezegun: the library is first imported while time stands still."""

from __future__ import annotations

import datetime as dt
import json

from freezegun import freeze_time

real = dt.datetime(2021, 1, 2, 3, 4, 5)  # noqa: DTZ001


def sent(values: list[object]) -> list[object]:
    bodies: list[bytes] = []
    with Analytics("key", http_client=lambda request: bodies.append(request.body) or Response(200)) as analytics:
        analytics.track("A", user_id="u", properties={"values": values})
    return json.loads(bodies[0])["batch"][0]["properties"]["values"]


with freeze_time("2020-05-17 09:30:15"):
    from events import deliver, say

    from millstream import Analytics, Response

    learnt = deliver()
    frozen = [dt.datetime.now(), dt.date.today()]  # noqa: DTZ005, DTZ011
    values = sent([*frozen, real, real.date()])
say(learnt, values=values, before=values, after=sent([*frozen, real, real.date()]))
