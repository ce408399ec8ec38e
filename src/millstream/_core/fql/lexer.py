"""Split an FQL expression into tokens, each with its column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from ...errors import SettingsError

__all__ = ["Token", "error", "tokens"]

KEYWORDS = ("and", "or", "in", "true", "false", "null")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_.\\-]))
      | (?P<word>(?:[A-Za-z_-]|\\.)(?:[A-Za-z0-9_-]|\\.)*(?:\.(?:[A-Za-z0-9_-]|\\.)+)*)
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<operator>!=|<=|>=|=(?!=)|<(?!>)|>|!(?!=))
      | (?P<mark>[()\[\],])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SEGMENT = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_FOREIGN = {"==": "=", "<>": "!=", "&&": "and", "||": "or"}


@dataclass(frozen=True)
class Token:
    """A token. `kind`: number, path, string, operator (also `and`, `or`, `in`), mark, constant or end."""

    kind: str
    text: str
    column: int
    """Where it begins; the first character of an expression is in column 1."""
    value: object = None
    """Of a number, string or constant; of a path, its names."""


def error(text: str, column: int, problem: str) -> SettingsError:
    """Return the refusal of an expression. `problem` says what is wrong in that column, and the remedy."""
    return SettingsError(f"filter {text!r}, column {column}: {problem}")


def tokens(text: str) -> list[Token]:
    """Return the tokens of an expression; the last has the kind `end`.

    Raises:
        SettingsError: naming the column and the remedy.
    """
    found: list[Token] = []
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        kind = match.lastgroup or ""
        token = _token(kind, match[kind], match.start(kind) + 1)
        found.append(token)
        if kind == "end":
            return found
        at = match.end()


def _token(kind: str, text: str, column: int) -> Token:
    match kind:
        case "number":
            value = float(text) if "." in text else int(text)
            exact = Decimal(text)
            return Token(kind, text, column, value if value == exact else exact)
        case "string":
            return Token(kind, text, column, text[1:-1])
        case "word" if text in ("true", "false", "null"):
            return Token("constant", text, column, {"true": True, "false": False, "null": None}[text])
        case "word" if text in KEYWORDS:
            return Token("operator", text, column)
        case "word":
            names = tuple(_ESCAPE.sub(r"\1", segment) for segment in _SEGMENT.findall(text))
            return Token("path", text, column, names)
        case _:
            return Token(kind, text, column)


def _unreadable(text: str, at: int) -> SettingsError:
    at += len(text[at:]) - len(text[at:].lstrip())
    if text[at] == "." and text[at + 1 : at + 2].strip():  # after a name: what follows the dot is none
        at += 1
    rest = text[at:]
    if foreign := next((each for each in _FOREIGN if rest.startswith(each)), None):
        problem = f"FQL has no {foreign}: write {_FOREIGN[foreign]}"
    elif rest[0] in "'\"":
        problem = f"the string is not closed: add {rest[0]} at its end (a string has no escapes)"
    elif rest[0] in "+-0123456789":
        word = re.split(r"[\s()\[\],=!<>]", rest, maxsplit=1)[0]
        problem = f"{word} is no number; a name that begins with a digit is written \\{rest[0]}"
    elif rest[0] == ".":
        problem = "a name is missing beside the dot: write a path as context.library.name"
    else:
        problem = f"unexpected {rest[0]!r}: write the character as \\{rest[0]} if it belongs to a name"
    return error(text, at + 1, problem)
