"""The project's former name stands where the change of name is recorded, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORMER = "pen" + "stock"
DECISION = "docs/decisions/0029-rename-the-project-to-millstream.md"


def test_the_former_name_is_only_where_the_change_of_name_is_recorded():
    """A search for the former name finds the decision and one line of the changelog: nothing was left behind."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of the project's own files")
    found: dict[str, int] = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        assert FORMER not in name.lower()
        if path.is_file() and (lines := [x for x in path.read_bytes().lower().splitlines() if FORMER.encode() in x]):
            found[name] = len(lines)
    assert found.pop(DECISION)
    assert found == {"CHANGELOG.md": 1}
