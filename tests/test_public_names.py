"""What a user sees of the classes and functions that they import."""

from __future__ import annotations

import inspect
import pickle
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import millstream

INTEGRATIONS = ("asgi", "aws_lambda", "celery", "flask", "logging", "structlog", "wsgi")
MODULES = (
    "millstream",
    *(f"millstream.{each}" for each in ("collector", "destinations", "testing", "warehouse")),
    *(f"millstream.integrations.{each}" for each in INTEGRATIONS),
)
SPECIAL = {"__init__", "__call__", "__await__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__iter__"}


PUBLIC = {
    f"{module}.{name}": value
    for module in MODULES
    for name in import_module(module).__all__
    if inspect.isclass(value := getattr(import_module(module), name)) or inspect.isfunction(value)
}
NAMED = [pytest.param(value, id=address) for address, value in PUBLIC.items()]


def functions_of(cls: type) -> Iterator[Callable[..., Any]]:
    """The functions that are written as the class's public methods and properties, inherited ones included."""
    for name in dir(cls):
        if name.startswith("_") and name not in SPECIAL:
            continue
        member = inspect.getattr_static(cls, name)
        members = (member.fget, member.fset) if isinstance(member, property) else (member,)
        yield from (each for each in members if inspect.isfunction(each))


@pytest.mark.parametrize(("address", "value"), PUBLIC.items(), ids=PUBLIC)
def test_it_bears_the_address_that_it_is_imported_from(address: str, value: Any) -> None:
    """A repr, a traceback and a pickle name it as users do."""
    assert f"{value.__module__}.{value.__qualname__}" == address
    assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("value", NAMED)
def test_type_hints_can_be_had(value: Any) -> None:
    """Every name in an annotation of what is public can be resolved at run time."""
    typing.get_type_hints(value)
    if inspect.isclass(value):
        for function in functions_of(value):
            typing.get_type_hints(function)


def test_type_hints_are_those_that_are_written() -> None:
    """A class whose address is not where it is written keeps the types of its attributes."""
    assert typing.get_type_hints(millstream.ErrorEvent) == {
        "code": str,
        "reason": BaseException,
        "context": typing.Optional[millstream.Context],  # noqa: UP045 - `|` compares equal to it, but not before 3.11
    }
    assert typing.get_type_hints(millstream.Receipt.wait)["return"] is millstream.Context


@pytest.mark.parametrize("value", NAMED)
def test_the_source_of_functions_and_methods_can_be_had(value: Any) -> None:
    """A debugger finds what a user steps into, wherever it is written."""
    functions = functions_of(value) if inspect.isclass(value) else [value]
    for function in functions:
        if not function.__code__.co_filename.startswith("<"):  # made by `dataclass`
            assert "def " in inspect.getsource(function)
