"""Values of a configuration that stand somewhere else: in the environment, or in a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ..errors import SettingsError

__all__ = ["resolved"]

FILE = "file:"
_REFERENCE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def resolved(value: Any, place: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Return a value of a configuration, with what it refers to in the place of each reference.

    `${NAME}` and `${NAME:-default}` are variables of the environment, `$${NAME}` is `${NAME}` itself, and a text that
    begins with `file:` is the content of that file, without white space around it. Only values are looked at, after
    the file has been parsed: what a variable holds is never taken for more than a text.

    Args:
        value: of any type, tables and arrays included.
        place: its name, for errors.
        environment: the variables.

    Raises:
        SettingsError: a variable is not set and has no default, or a file cannot be read. The message quotes no value.
    """
    if isinstance(value, str):
        return _text(value, place, environment)
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {key: resolved(each, f"{place}.{key}", environment) for key, each in table.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [resolved(each, f"{place}[{index}]", environment) for index, each in enumerate(items)]
    return value


def _text(text: str, place: str, environment: Mapping[str, str]) -> str:
    def found(match: re.Match[str]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        value = environment.get(name) or default  # as in a shell, `:-` counts for an empty variable, too
        if value is None:
            raise SettingsError(f"{place} refers to ${name}, which is not set: set it, or write ${{{name}:-default}}")
        return value

    text = _REFERENCE.sub(found, text)
    if not text.startswith(FILE):
        return text
    path = Path(text.removeprefix(FILE))
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{place} refers to the file {path}, which cannot be read: {why}") from None
