"""No function of the packages is longer than a screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 60
"""Lines of a function with its docstring."""


@pytest.mark.parametrize("package", ["screener", "export"])
def test_no_function_is_longer_than_a_screen(package: str) -> None:
    found = {
        f"{file.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert len(found) > 100
    assert {name: length for name, length in found.items() if length > LONGEST} == {}
