"""Findings of a check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Findings", "ok", "problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """A line of the report: the state, and the remedy for a problem."""

    status: Literal["ok", "warning", "problem"]
    subject: str
    message: str
    remedy: str = ""


Findings: TypeAlias = Iterator[Finding]


def ok(subject: str, message: str) -> Finding:
    """No problem."""
    return Finding("ok", subject, message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """Events are delivered, or may be."""
    return Finding("warning", subject, message, remedy)


def problem(subject: str, message: str, remedy: str) -> Finding:
    """Events are not delivered."""
    return Finding("problem", subject, message, remedy)
