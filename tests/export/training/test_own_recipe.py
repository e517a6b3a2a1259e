"""The recipe of one's own that ``docs/how-to/training.md`` shows is one that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the extra [train]")

from export.architectures import Start, recipe


def test_the_documents_recipe_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/how-to/training.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "my_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    chosen = recipe("my_nets:tiny")
    assert chosen.name == "tiny"
    assert chosen.build(Start(64)).output_names == ["probability"]
