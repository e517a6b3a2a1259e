"""What the tests of reports share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from report_models import write_inbox, write_model

from screener.model.session import Model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(write_model(tmp_path_factory.mktemp("models") / "bright", layers=True), threads=1)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return write_inbox(tmp_path / "inbox")
