"""The page on delivery names, for every promise, a test that exists; and every fault that is tested."""

from __future__ import annotations

import ast
import re

import pytest
from docs_pages import ROOT, page

from support.faults import FAULTS

PAGE = page("docs/explanation/delivery.md")
PROMISES = {row[0]: re.findall(r"`([^`]+)`", row[1]) for row in PAGE.rows() if len(row) == 2 and "tests/" in row[1]}
PROOFS = sorted({proof for proofs in PROMISES.values() for proof in proofs})


def names(path: str) -> set[str]:
    """What a test module defines at its top."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_exists(proof: str):
    """A test that the page names is there."""
    path, _, name = proof.partition("::")
    assert name.lower().startswith("test")
    assert name in names(path)


def test_every_promise_has_a_proof():
    """No row of the promises is without a test."""
    rows = [row for row in PAGE.rows() if len(row) == 2 and row[0] not in {"promise", "---"}]
    assert len(rows) > 20
    assert [row[0] for row in rows if row[0] not in PROMISES] == []


def test_every_fault_is_in_the_table():
    """What a host can do in the tests, the page says what comes of; and it says of no other that it is tested."""
    bold = {name for row in PAGE.rows() if len(row) == 3 for name in re.findall(r"\*\*([^*]+)\*\*", row[0])}
    assert bold == set(FAULTS)
