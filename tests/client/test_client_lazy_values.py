"""Values that stand for others, from the libraries that users really have them from: sent as what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest

from millstream import Analytics, InvalidEvent
from support.api import Api
from support.neighbours import need

need("babel", "django", "flask", "flask_babel", "pandas", "werkzeug", "wrapt")

import babel.support
import django
import django.conf
import flask
import flask_babel
import pandas as pd
import werkzeug.local
import wrapt
from django.utils import translation
from django.utils.functional import SimpleLazyObject, lazystr

Make = Callable[..., Analytics]


@pytest.fixture
def language() -> Iterator[None]:
    """Django speaks French in this thread."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(USE_I18N=True, LOGGING_CONFIG=None)
        django.setup()
    with translation.override("fr"):
        yield


def sent(api: Api, analytics: Analytics, value: object) -> Any:
    """What arrives of a value."""
    analytics.track("A", user_id="u", properties={"value": value}).wait(timeout=10)
    return api.events[-1]["properties"]["value"]


def test_a_translation_is_the_caller_s(api: Api, client: Make, language: None) -> None:
    """A lazy translation of Django's is the text that it is in the call: the worker speaks no language."""
    analytics = client()
    assert sent(api, analytics, translation.gettext_lazy("Monday")) == "lundi"
    assert sent(api, analytics, [{"day": translation.pgettext_lazy("abbrev. month", "Jan.")}]) == [{"day": "jan."}]
    event = analytics.track(translation.gettext_lazy("Monday"), user_id="u")  # type: ignore[arg-type]
    event.wait(timeout=10)
    assert api.events[-1]["event"] == "lundi"


def test_a_translation_of_babel_s(api: Api, client: Make) -> None:
    """Those of Babel and Flask-Babel pass the methods of a str on, and have none themselves."""
    analytics = client()
    assert sent(api, analytics, babel.support.LazyProxy(lambda name: f"Hello {name}", "Ada")) == "Hello Ada"
    app = flask.Flask("shop")
    flask_babel.Babel(app)
    with app.test_request_context():
        assert sent(api, analytics, flask_babel.lazy_gettext("Hello %(name)s", name="Ada")) == "Hello Ada"


USER: ContextVar[Any] = ContextVar("user")
PROXIES: dict[str, Callable[[object], object]] = {
    "Django": lambda value: SimpleLazyObject(lambda: value),
    "werkzeug": lambda value: werkzeug.local.LocalProxy(lambda: value),
    "wrapt": wrapt.ObjectProxy,
    "two of them": lambda value: SimpleLazyObject(lambda: wrapt.ObjectProxy(value)),
}


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
@pytest.mark.parametrize("value", ["text", 7, 1.5, True, [1, {"a": 2}], {"a": [1]}, None], ids=repr)
def test_a_proxy_is_sent_as_what_it_stands_for(
    api: Api, client: Make, proxy: Callable[[object], object], value: object
) -> None:
    """As a value, and in a container."""
    analytics = client()
    assert sent(api, analytics, proxy(value)) == value
    assert sent(api, analytics, {"inner": [proxy(value)]}) == {"inner": [value]}


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
def test_a_proxy_is_an_id(api: Api, client: Make, proxy: Callable[[object], object]) -> None:
    """Of a text or of a number: whatever is an id without it."""
    analytics = client()
    analytics.track("A", user_id=proxy(7), anonymous_id=proxy("a")).wait(timeout=10)  # type: ignore[arg-type]
    assert (api.events[-1]["userId"], api.events[-1]["anonymousId"]) == ("7", "a")


IDS = [
    (pd.Series([7, 8]).iloc[0], "7"),
    (SimpleLazyObject(lambda: UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
    (lazystr("x"), "x"),
]


@pytest.mark.parametrize(("given", "written"), IDS, ids=["pandas", "proxy", "lazy text"])
def test_what_stands_for_an_id_is_one(api: Api, client: Make, given: Any, written: str) -> None:
    """In every field that holds an id."""
    analytics = client()
    analytics.alias(given, previous_id=given)
    analytics.group(given, anonymous_id=given).wait(timeout=10)
    alias, group = api.events
    assert {alias["userId"], alias["previousId"], group["groupId"], group["anonymousId"]} == {written}


NO_IDS = {
    "NA": pd.NA,
    "NaT": pd.NaT,
    "a float": pd.Series([7, None]).iloc[0],
    "a bool": SimpleLazyObject(lambda: True),
    "an empty text": lazystr(""),
    "one that raises": SimpleLazyObject(lambda: USER.get().id),
}


@pytest.mark.parametrize("name", NO_IDS)
def test_what_stands_for_no_id_is_refused(client: Make, name: str) -> None:
    """The message names the field and the type, whatever the value itself raises."""
    given = NO_IDS[name]
    with pytest.raises(InvalidEvent, match=f"user_id must be a non-empty str or an int, got .*{type(given).__name__}"):
        client().track("A", user_id=given)


def test_a_lazy_text_is_a_name(api: Api, client: Make) -> None:
    """Of a page, of its category, of an event."""
    client().page(lazystr("Home"), category=SimpleLazyObject(lambda: "Docs"), user_id="u").wait(timeout=10)
    (page,) = api.events
    assert (page["name"], page["category"], page["properties"]) == ("Home", "Docs", {"category": "Docs"})


def test_a_proxy_without_its_context_is_refused(client: Make) -> None:
    """The message names the path and the exception, and `track` raises nothing else."""
    current = werkzeug.local.LocalProxy(USER, "name")
    with pytest.raises(
        InvalidEvent, match=r"properties\.user: object of type werkzeug.local.LocalProxy cannot be read"
    ):
        client().track("A", user_id="u", properties={"user": current})
    USER.set(SimpleNamespace(name="Ada"))


class Answers:
    """An object with an answer to every question, as the proxy of a remote service is."""

    asked = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def ask(*_: object) -> bool:
            Answers.asked += 1
            return True

        return ask


@pytest.mark.parametrize(
    "value", [Mock(), Mock(spec=str), Mock(spec=dict), Answers()], ids=["mock", "of a str", "of a dict", "answers"]
)
def test_what_answers_to_everything_stands_for_nothing(client: Make, value: object) -> None:
    """A mock or the proxy of a remote service is refused, and not one of its methods is called."""
    with pytest.raises(InvalidEvent, match=r"properties\.value: object of type .* cannot be"):
        client().track("A", user_id="u", properties={"value": value})
    assert Answers.asked == 0
