"""The log: the host and the remedy in each line, at the first failed attempt; and DEBUG, which shows it all."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent

import pytest

from millstream import Analytics
from millstream._logging import EVERY, Summary
from millstream.errors import Rejected
from support.api import Answer, Api, status

Make = Callable[..., Analytics]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [record.getMessage() for record in caplog.records if record.name == "millstream"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (400, "an `error` listener is given the event and the answer"),
        (401, "check the write key, and that its source is on this host"),
        (404, "check `host` and `path`"),
        (302, "set `host` to where the API is"),
    ],
)
def test_a_refusal_names_the_host_and_the_remedy(
    api: Api, client: Make, lines: Callable[[], list[str]], code: int, remedy: str
) -> None:
    """What the host will not take is one line, of which a reader can act."""
    api.always = status(code)
    analytics = client("secret-key")
    analytics.track("A", user_id="u")
    analytics.close_and_flush(timeout=10)
    (line,) = lines()
    assert line.startswith(f"1 event failed at {api.url}: Rejected [{code}]; ")
    assert remedy in line


def test_a_dead_host_is_named_at_the_first_attempt(api: Api, lines: Callable[[], list[str]]) -> None:
    """Long before the retries are exhausted the log says which host does not answer, and what to do."""
    api.refuse()
    analytics = Analytics("key", host=api.url, flush_at=1)
    analytics.track("A", user_id="u")
    analytics.flush(timeout=0.5)  # less than the first back-off
    assert analytics.stats().pending == 1
    assert [line for line in lines() if "request" in line] == [
        (
            f"1 request to {api.url} failed: TransportError (Connection refused); "
            "check `host`, and that its server is up: `millstream doctor` checks each step of the way"
        )
    ]
    analytics.close_and_flush(timeout=0)


def test_without_retries_a_failure_is_one_line(api: Api, lines: Callable[[], list[str]]) -> None:
    """An attempt that is the last is spoken of as what it is: an event that failed."""
    api.refuse()
    with Analytics("key", host=api.url, max_retries=0) as analytics:
        analytics.track("A", user_id="u")
    (line,) = lines()
    assert line.startswith("1 event failed at http://127.0.0.1:")


def test_what_is_overcome_is_not_repeated_at_the_end(api: Api, client: Make, lines: Callable[[], list[str]]) -> None:
    """Attempts that failed before the event arrived are one line when it happens, and none when the client closes."""
    api.script(status(503), status(503))
    analytics = client(max_retries=3)
    receipt = analytics.track("A", user_id="u")
    receipt.wait(timeout=30)
    analytics.close_and_flush(timeout=10)
    (line,) = lines()
    assert line.startswith(f"1 request to {api.url} failed: Rejected [503]; ")


def test_each_kind_has_a_line_a_minute(lines: Callable[[], list[str]]) -> None:
    """A new kind is logged at once, however lately another one was; the same again after a minute, counted."""
    summary = Summary()
    for now in (0.0, 1.0, 2.0):
        summary.count("event", "failed", 1, now)
        summary.request_failed("http://h", Rejected(503), now)
    assert [line.split(";")[0] for line in lines()] == [
        "1 event failed",
        "1 request to http://h failed: Rejected [503]",
    ]
    assert summary.due_at() == EVERY
    summary.tick(EVERY)
    assert [line.split(";")[0] for line in lines()[2:]] == [
        "2 events failed",
        "2 requests to http://h failed: Rejected [503]",
    ]


def test_debug_shows_requests_answers_retries_and_outcomes(
    api: Api, client: Make, caplog: pytest.LogCaptureFixture, lines: Callable[[], list[str]]
) -> None:
    """The level DEBUG of the logger tells the way of an event, and no key and no content."""
    caplog.set_level(logging.DEBUG, "millstream")
    api.script(Answer(503, body=b"private matter"))
    analytics = client("very-secret-key", max_retries=1)
    analytics.track("Private Matter", user_id="person-1").wait(timeout=30)
    analytics.close_and_flush(timeout=10)
    told = [line for line in lines() if not line.startswith("1 request")]
    assert [line.split(" bytes")[0].rsplit(",", 1)[0] for line in told] == [
        f"request to {api.url}: 1 event",
        f"answer of {api.url}: [503]",
        f"request to {api.url}: 1 event",
        f"answer of {api.url}: [200]",
        "1 event delivered after 2 attempts",
    ]
    assert "attempt 2" in told[2]
    for word in ("very-secret-key", "Private", "private", "person-", "dmVye"):
        assert word not in caplog.text


def test_a_handler_that_records_debug_lines_does_not_feed_itself(api: Api, client: Make) -> None:
    """Each recorded event would cause other lines: those about our own lines are refused."""
    analytics = client(flush_at=1)

    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            analytics.track("Logged", user_id="u")

    logger, handler = logging.getLogger("millstream"), Records()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        analytics.track("A", user_id="u").wait(timeout=10)
        analytics.flush(timeout=10)
        analytics.flush(timeout=10)
        assert analytics.stats().accepted <= 3  # the warning about the refusals is a line, too
        assert analytics.stats().pending == 0
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


SCRIPT = """
import logging, os
from millstream import Analytics
{logging}
with Analytics("very-secret-key", host={host!r}, debug={debug}) as analytics:
    analytics.track("Private", user_id="u")
"""


@pytest.mark.process
@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("how", ["debug=True", "MILLSTREAM_DEBUG=1"])
def test_debug_is_shown_wherever_it_is_asked_for(api: Api, configured: bool, how: str) -> None:
    """On standard error where no log is configured, and by the application's own handlers where it is: once."""
    source = dedent(SCRIPT).format(
        logging="logging.basicConfig(format='app %(message)s')" if configured else "",
        host=api.url,
        debug=how == "debug=True",
    )
    env = {"MILLSTREAM_DEBUG": "1"} if how == "MILLSTREAM_DEBUG=1" else {}
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=True)
    said = done.stderr.splitlines()
    assert len([line for line in said if f"request to {api.url}" in line]) == 1, done.stderr
    assert "delivered" in said[-1]
    assert all(line.startswith("app ") for line in said) == configured
    assert "secret" not in done.stderr
    assert "Private" not in done.stderr
