"""The README quotes the current results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.quote import shortened

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
def test_readme_quotes_the_current_results() -> None:
    done = subprocess.run(
        [sys.executable, "bench/quote.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_shortened_table_has_a_row_of_each_urgency_and_marks_what_was_left_out() -> None:
    lines = ["Reading order", " HIGH a", " HIGH b", " HIGH c", " LOW d", " LOW e", "5 studies"]
    assert shortened(lines) == ["Reading order", " HIGH a", " …", " LOW d", " …", "5 studies"]
