"""A collector's data directory to fill."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored import Directory


@pytest.fixture
def stored(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "data")
