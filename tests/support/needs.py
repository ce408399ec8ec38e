"""What a test needs beside Python: without it the test is skipped, and on continuous integration it fails."""

from __future__ import annotations

import os

import pytest


def needs(there: object, remedy: str) -> None:
    """Skip the test if something is not there, or fail it on continuous integration; the reason is the remedy."""
    if not there:
        (pytest.fail if "CI" in os.environ else pytest.skip)(remedy)
