"""Make functions of parsed expressions. A comparison with a constant, which is the usual one, is a single call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .functions import ARITIES, FUNCTIONS, NUMBERS, ORDERS, contained, equal
from .glob import glob
from .parser import Call, Comparison, Constant, List, Logic, Node, Not, Path, parse
from .paths import Names, Reader

__all__ = ["Conditions"]

Values = Sequence[Any]
Evaluate = Callable[[Values], Any]


class Conditions:
    """Expressions that are evaluated together: an event's values are read once for all of them.

    Args:
        texts: the expressions.

    Raises:
        SettingsError: one of them is no FQL; the message names its column and the remedy.
    """

    def __init__(self, *texts: str) -> None:
        paths: dict[Names, int] = {}
        self._functions = [_function(parse(text, ARITIES), paths) for text in texts]
        self._reader = Reader(list(paths))

    def __call__(self, event: Mapping[str, Any] | bytes) -> list[bool]:
        """Return for each expression whether it is true of the event."""
        values = self._values(event)
        return [function(values) is True for function in self._functions]

    def first(self, event: Mapping[str, Any] | bytes) -> bool:
        """Return whether the first expression is true of the event."""
        return self._functions[0](self._values(event)) is True

    def _values(self, event: Mapping[str, Any] | bytes) -> Values:
        return self._reader.from_json(event) if isinstance(event, bytes) else self._reader.from_mapping(event)


def _function(node: Node, paths: dict[Names, int]) -> Evaluate:  # noqa: PLR0911 - one for each kind of node
    """Return the function of a node. Paths that it asks for are added to those that are read."""
    match node:
        case Constant(value):
            return lambda _: value
        case Path(names):
            index = paths.setdefault(names, len(paths))
            return lambda values: values[index]
        case List(items):
            functions = [_function(item, paths) for item in items]
            return lambda values: [function(values) for function in functions]
        case Call():
            return _call(node, paths)
        case Not(negated):
            value_of = _function(negated, paths)
            return lambda values: value_of(values) is not True
        case Logic(operator, terms):
            return _logic(operator, [_function(term, paths) for term in terms])
        case Comparison():
            return _comparison(node, paths)


def _call(node: Call, paths: dict[Names, int]) -> Evaluate:
    function = FUNCTIONS[node.name]
    match node.name, node.arguments:
        case "match", (text, Constant(str(pattern))):
            return _match(_function(text, paths), glob(pattern))
        case _, (argument,):
            only = _function(argument, paths)
            return lambda values: function(only(values))
        case _, arguments:
            functions = [_function(argument, paths) for argument in arguments]
            return lambda values: function(*[argument(values) for argument in functions])


def _match(text: Evaluate, pattern: re.Pattern[str] | None) -> Evaluate:
    if pattern is None:
        return lambda _: False
    matches = pattern.match
    return lambda values: isinstance(value := text(values), str) and matches(value) is not None


def _logic(operator: str, terms: list[Evaluate]) -> Evaluate:
    """Join terms from the right. Only `true` counts: text or a number is as good as false."""
    *others, joined = terms
    for term in reversed(others):
        joined = _and(term, joined) if operator == "and" else _or(term, joined)
    return joined


def _and(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) is True and right(values) is True


def _or(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) is True or right(values) is True


def _is_text(node: Node) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, str)


def _in_texts(index: int, items: Sequence[Node]) -> Evaluate:
    texts = tuple(item.value for item in items if isinstance(item, Constant))
    return lambda values: values[index] in texts


def _with_constant(operator: str, index: int, constant: Any) -> Evaluate:
    if operator == "in" or (operator in ORDERS and constant.__class__ not in NUMBERS):
        return lambda _: False
    if operator in ORDERS:
        compare = ORDERS[operator]
        return lambda values: (value := values[index]).__class__ in NUMBERS and compare(value, constant)
    if isinstance(constant, str):
        if operator == "=":
            return lambda values: values[index] == constant
        return lambda values: values[index] != constant
    if operator == "=":
        return lambda values: equal(values[index], constant)
    return lambda values: not equal(values[index], constant)


def _comparison(node: Comparison, paths: dict[Names, int]) -> Evaluate:
    match node:
        case Comparison(operator, Path(names), Constant(value)):
            return _with_constant(operator, paths.setdefault(names, len(paths)), value)
        case Comparison("in", Path(names), List(items)) if all(_is_text(item) for item in items):
            return _in_texts(paths.setdefault(names, len(paths)), items)
        case Comparison(operator, left, right):
            return _of_values(operator, _function(left, paths), _function(right, paths))


def _of_values(operator: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if operator == "=":
        return lambda values: equal(left(values), right(values))
    if operator == "!=":
        return lambda values: not equal(left(values), right(values))
    if operator == "in":
        return lambda values: contained(left(values), right(values))
    compare = ORDERS[operator]

    def ordered(values: Values) -> bool:
        one, other = left(values), right(values)
        return one.__class__ in NUMBERS and other.__class__ in NUMBERS and compare(one, other)

    return ordered
