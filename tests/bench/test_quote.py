"""The README says what the result files say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
def test_readme_quotes_the_current_results() -> None:
    done = subprocess.run(
        [sys.executable, "bench/quote.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
