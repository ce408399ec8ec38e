"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Findings", "ok", "problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: how it is, and what to do if it is not well."""

    status: Literal["ok", "warning", "problem"]
    subject: str
    message: str
    remedy: str = ""


Findings: TypeAlias = Iterator[Finding]


def ok(subject: str, message: str) -> Finding:
    """As it should be."""
    return Finding("ok", subject, message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """Events arrive all the same, or may."""
    return Finding("warning", subject, message, remedy)


def problem(subject: str, message: str, remedy: str) -> Finding:
    """Events do not arrive like this."""
    return Finding("problem", subject, message, remedy)
