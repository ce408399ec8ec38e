"""A log that raises: what the application's logging does on the worker costs no flush its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millstream import Analytics
from support.api import Api, status

Make = Callable[..., Analytics]


class Raises:
    """A handler's, a filter's or a record factory's code that needs what only a request has."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        raise LookupError("no request")


@pytest.fixture(params=["handler", "filter", "record factory"])
def raises(request: pytest.FixtureRequest) -> Iterator[Raises]:
    raises, logger = Raises(), logging.getLogger("millstream")
    handler, factory = logging.Handler(), logging.getLogRecordFactory()
    if request.param == "handler":
        handler.emit = raises  # type: ignore[method-assign]
        logger.addHandler(handler)
    elif request.param == "filter":
        logger.addFilter(raises)
    else:
        logging.setLogRecordFactory(raises)
    yield raises
    logger.removeHandler(handler)
    logger.removeFilter(raises)
    logging.setLogRecordFactory(factory)


def test_a_log_that_raises_is_survived(
    api: Api, client: Make, raises: Raises, capfd: pytest.CaptureFixture[str]
) -> None:
    """What fails while the log raises is counted, flushes end, and the line is on standard error instead."""
    api.script(status(400))
    analytics = client()
    analytics.track("Bad", user_id="u")
    assert (analytics.flush(timeout=10).failed, raises.calls) == (1, 1)
    analytics.track("Good", user_id="u")
    result = analytics.flush(timeout=10)
    assert (result.delivered, result.pending) == (1, 0)
    assert analytics.close_and_flush(timeout=10).pending == 0
    assert analytics.stats().pending == 0
    assert capfd.readouterr().err.startswith("1 event failed at ")
