"""Make a tree of an FQL expression. The grammar, in which a mix of `and` and `or` needs parentheses.

expression = unary { "and" unary } | unary { "or" unary }
unary      = "!" unary | comparison
comparison = value [ ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) value ]
value      = string | number | "true" | "false" | "null" | path | list | call | "(" expression ")"
list       = "[" [ value { "," value } ] "]"
call       = name "(" value { "," value } ")"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ...errors import SettingsError
from .lexer import Token, error, tokens

__all__ = ["Call", "Comparison", "Constant", "List", "Logic", "Node", "Not", "Path", "parse"]

MAX_DEPTH = 100
"""Parentheses, lists and calls in each other."""
_ELSEWHERE = {"not": "write !( … )", "random": "give the filter a `sample`"}
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=", "in")


@dataclass(frozen=True)
class Constant:
    """A string, number, true, false or null."""

    value: Any


@dataclass(frozen=True)
class Path:
    """The names that lead to a value in an event."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class List:
    """A list of values."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Call:
    """A function's name and arguments."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The negation of a value."""

    value: Node


@dataclass(frozen=True)
class Comparison:
    """Two values and what is asked of them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Logic:
    """Terms between which `and`, or `or`, is written."""

    operator: str
    terms: tuple[Node, ...]


Node = Constant | Path | List | Call | Not | Comparison | Logic


def parse(text: str, functions: Mapping[str, int]) -> Node:
    """Return the tree of an expression.

    Args:
        text: the expression.
        functions: names of functions, and how many arguments each takes.

    Raises:
        SettingsError: naming the column and the remedy.
    """
    return _Parser(text, functions).whole()


class _Parser:
    """One expression, and how far it is read."""

    def __init__(self, text: str, functions: Mapping[str, int]) -> None:
        self._text = text
        self._functions = functions
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        tree = self._expression()
        token = self._next
        if token.kind != "end":
            raise self._error(token, f"unexpected {token.text}: write `and` or `or` between two conditions")
        return tree

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> Token | None:
        """Return the next token and go on, if it is an operator or mark of these."""
        token = self._next
        if token.kind not in ("operator", "mark") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _error(self, token: Token, problem: str) -> SettingsError:
        return error(self._text, token.column, problem)

    def _expression(self) -> Node:
        starts = [self._next.column]
        terms = [self._unary()]
        operators: list[Token] = []
        while operator := self._take("and", "or"):
            operators.append(operator)
            starts.append(self._next.column)
            terms.append(self._unary())
        if not operators:
            return terms[0]
        mixed = next((each for each in operators if each.text != operators[0].text), None)
        if mixed is not None:
            raise self._error(mixed, self._readings(starts, operators))
        return Logic(operators[0].text, tuple(terms))

    def _readings(self, starts: list[int], operators: list[Token]) -> str:
        ends = [operator.column - 1 for operator in operators] + [self._next.column - 1]
        terms = [self._text[start - 1 : end].strip() for start, end in zip(starts, ends, strict=True)]
        readings = [_grouped(terms, [each.text for each in operators], tight) for tight in ("and", "or")]
        return f"`and` and `or` are mixed: write `{readings[0]}`, or `{readings[1]}`"

    def _unary(self) -> Node:
        token = self._take("!")
        if token is None:
            return self._comparison()
        self._enter(token)
        negated = self._unary() if self._next.text == "!" else self._value()
        self._depth -= 1
        if self._next.kind == "operator" and self._next.text in COMPARISONS:
            raise self._error(token, "it is unclear what is negated: write !( … ) around the comparison")
        return Not(negated)

    def _comparison(self) -> Node:
        left = self._value()
        operator = self._take(*COMPARISONS)
        if operator is None:
            return left
        right = self._value()
        if again := self._take(*COMPARISONS):
            raise self._error(again, "a comparison has two sides: write `and` between two comparisons")
        return Comparison(operator.text, left, right)

    def _value(self) -> Node:
        token = self._next
        self._at += 1
        if token.kind in ("string", "number", "constant"):
            return Constant(token.value)
        if token.kind == "path":
            return self._path(token)
        if token.kind == "mark" and token.text in "([":
            self._enter(token)
            node = self._expression() if token.text == "(" else List(self._values("]"))
            if token.text == "(" and not self._take(")"):
                raise self._error(self._next, f"`)` is missing for the `(` in column {token.column}")
            self._depth -= 1
            return node
        found = "the expression ends" if token.kind == "end" else f"{token.text} stands"
        raise self._error(token, f"{found} where a value is needed: a path, string, number, list or function")

    def _path(self, token: Token) -> Node:
        opening = self._take("(")
        if opening is None:
            return Path(token.value)  # type: ignore[arg-type]
        arity = self._functions.get(token.text)
        if arity is None:
            raise self._error(token, f"there is no function {token.text}: {self._suggestion(token.text)}")
        self._enter(opening)
        arguments = self._values(")")
        self._depth -= 1
        if len(arguments) != arity:
            raise self._error(token, f"{token.text} takes {arity} value{'s'[: arity != 1]}, got {len(arguments)}")
        return Call(token.text, arguments)

    def _suggestion(self, name: str) -> str:
        if name in _ELSEWHERE:
            return _ELSEWHERE[name]
        near = get_close_matches(name.lower(), self._functions, n=1)
        return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self._functions))}"

    def _values(self, closing: str) -> tuple[Node, ...]:
        """Return the values up to a closing mark, which is taken."""
        values: list[Node] = []
        while not self._take(closing):
            if values and not self._take(","):
                raise self._error(self._next, f"`,` or `{closing}` is missing here")
            values.append(self._value())
        return tuple(values)

    def _enter(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(token, f"the expression is nested deeper than {MAX_DEPTH} levels")


def _grouped(terms: list[str], operators: list[str], tight: str) -> str:
    """Write terms with parentheses around those that the tight operator joins."""
    groups = [[terms[0]]]
    for operator, term in zip(operators, terms[1:], strict=True):
        if operator == tight:
            groups[-1].append(term)
        else:
            groups.append([term])
    loose = "or" if tight == "and" else "and"
    return f" {loose} ".join(f"( {f' {tight} '.join(group)} )" if len(group) > 1 else group[0] for group in groups)
