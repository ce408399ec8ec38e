"""Retries: how an answer is judged, and the back-off before the next attempt.

The statuses follow Segment's newer libraries (docs/reference/answers.md has the table), with deliberate differences:
`Retry-After` is honoured on every status worth a retry and in both forms of RFC 9110 §10.2.3, jitter is kept when the
delay reaches its cap, a batch refused for its content is split, and no 3xx counts as success.
"""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

from ..._public import publish
from ...errors import Rejected
from ...types import Response
from .verdicts import Delivered, Limited, Paused, Refused, Retry, Split, Unauthorized, Verdict

__all__ = ["BACKOFF_CAP", "backoff", "header", "judge", "retry_after", "server_time"]

BACKOFF_BASE = 0.5
BACKOFF_CAP = 60.0
RETRY_AFTER_CAP = 300.0
RETRY_AFTER_FLOOR = 1.0
RETRYABLE_4XX = frozenset({408, 410, 429, 460})
FINAL_5XX = frozenset({501, 505, 511})
SPLIT = frozenset({400, 413, 422})
"""Statuses about a request's content: too much, or one event among many that the server does not accept."""
CREDENTIALS = frozenset({401, 403})


def judge(
    response: Response,
    now: float,
    *,
    oauth: bool = False,
    credentials: str = "the write key",
    address: str = "`host` and `path`",
    pauses: frozenset[int] = CREDENTIALS,
) -> Verdict:
    """Return what an answer means by its status alone.

    Args:
        response: the answer.
        now: seconds since the epoch, for a Retry-After date; if the server says what time it is, its clock counts.
        oauth: whether 401 and 511 speak of the token and not of the write key: another one may do.
        credentials: what the error tells to check after a 401 or 403.
        address: what the error tells to check after a 404 or a redirect.
        pauses: statuses that speak of the credentials or the address, and not of the events.
    """
    status = response.status
    if 200 <= status < 300:
        return Delivered()
    error = Rejected(status, response.body, _hint(response, credentials, address, oauth=oauth))
    if status in SPLIT:
        return Split(error)
    if status in pauses:
        return Unauthorized(error) if oauth and status == 401 else Paused(error)
    if not (_retryable(status) or (oauth and status == 511)):
        return Refused(error)
    theirs = server_time(response)
    wait = retry_after(header(response, "retry-after"), now if theirs is None else theirs)
    return Retry(error) if wait is None else Limited(wait, error)


def _retryable(status: int) -> bool:
    if 300 <= status < 500:
        return status in RETRYABLE_4XX
    return status not in FINAL_5XX


def _hint(response: Response, credentials: str, address: str, *, oauth: bool) -> str:
    status = response.status
    if 300 <= status < 400:
        location = header(response, "location")
        return f"it redirects to {location or 'nowhere'}; set {address.split(maxsplit=1)[0]} to where the API is"
    if status in CREDENTIALS:
        return f"check {credentials}" + (", and that the OAuth application has access to its source" if oauth else "")
    if status in {404, 410}:
        return f"check {address}"
    return ""


def header(response: Response, name: str) -> str | None:
    for key, value in response.headers.items():
        if key.lower() == name:
            return value
    return None


def retry_after(value: str | None, now: float) -> float | None:
    """Parse a Retry-After header: seconds from 1 to 300; None if it is unusable.

    Both forms are valid: seconds (a fraction is cut off) and an HTTP date.
    """
    if not value:
        return None
    value = value.strip()
    if number := re.fullmatch(r"([0-9]+)(\.[0-9]*)?", value):
        seconds = float(number[1])
    else:
        date = _timestamp(value)
        if date is None:
            return None
        seconds = date - now
    return min(max(seconds, RETRY_AFTER_FLOOR), RETRY_AFTER_CAP)


def server_time(response: Response) -> float | None:
    """The server's time from its Date header, in seconds since the epoch."""
    return _timestamp(header(response, "date") or "")


def _timestamp(date: str) -> float | None:
    """Parse an HTTP date to seconds since the epoch; None if invalid. Without a usable zone it is UTC."""
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after the k-th counted failure: 1 to 2, 2 to 4, 4 to 8 … 30 to 60.

    `jitter` is a random number from 0 to 1. It lengthens the delay up to twofold, also at the cap, so that clients
    that failed together do not come back together.
    """
    base = min(BACKOFF_BASE * 2.0 ** min(failures, 16), BACKOFF_CAP / 2)
    return base * (1.0 + jitter)


publish("millstream.destinations", judge)
