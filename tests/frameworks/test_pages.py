"""The code on the pages about frameworks runs, where the frameworks are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.api import Api
from support.processes import environment

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to" / "frameworks").glob("*.md"))
BLOCK = re.compile(r"(<!-- not run:[^\n]*-->\n)?```python\n(.*?)```", re.DOTALL)


def code_of(page: Path) -> str:
    return "\n\n".join(code for not_run, code in BLOCK.findall(page.read_text("utf-8")) if not not_run)


@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(api: Api, page: Path, tmp_path: Path) -> None:
    """What a page shows can be run from top to bottom, and ends without an error."""
    file = tmp_path / "shown.py"
    file.write_text(code_of(page))
    done = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**environment(), "MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": api.url},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
