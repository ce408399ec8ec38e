"""FQL, Segment's filter query language: text becomes a function of an event.

text ──lexer──▶ tokens ──parser──▶ a tree ──evaluate──▶ a function of values; paths read those values from an event.
"""

from __future__ import annotations

from .evaluate import Conditions

__all__ = ["Conditions"]
