"""What happens at ``auto`` when nobody showed what it promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from screener import Screener
from screener.errors import ModelError
from screener.pipeline.config import ScanConfig
from tests.conftest import CERTIFICATE, Command, tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def uncertified(tmp_path: Path) -> Path:
    """Return a model whose certificate claims more than its counts support."""
    card = tiny_card()
    card["operating_points"]["auto"]["certificate"] = {**CERTIFICATE, "missed": 5}
    return write_model(tmp_path / "uncertified", card)


def test_scan_refuses_says_why_and_what_would_help(screener: Command, inbox: Path, uncertified: Path) -> None:
    for words in ((), ("--threshold", "auto")):
        done = screener("scan", inbox, "--model", uncertified, *words)
        assert (done.returncode, done.stdout) == (7, "")
        assert "auto of this model is not certified: 5 missed of 60 do not support" in done.stderr
        for help_ in ("screener evaluate", "--threshold screening", "--accept-uncertified"):
            assert help_ in done.stderr
    assert not screener.log.exists(), "nothing was judged, nothing is logged"


def test_whoever_accepts_it_gets_it_and_the_log_knows(screener: Command, inbox: Path, uncertified: Path) -> None:
    done = screener("scan", inbox, "--model", uncertified, "--accept-uncertified", "--lang", "en")
    assert done.returncode == 0
    assert "auto: not certified" in done.stdout
    (start,) = screener.events("START")
    assert start["certified"] is False
    assert start["options"]["accept_uncertified"] is True
    assert start["options"].keys() == set(ScanConfig.__struct_fields__)
    assert screener("verify").returncode == 0


def test_a_threshold_that_promises_nothing_is_not_refused(screener: Command, inbox: Path, uncertified: Path) -> None:
    for threshold in ("screening", "0.4"):
        assert screener("scan", inbox, "--model", uncertified, "--threshold", threshold).returncode == 0


def test_explain_and_python_refuse_too_and_evaluate_measures(
    screener: Command, tmp_path: Path, uncertified: Path
) -> None:
    image = write_slice(tmp_path / "set/yes/p0/a.png", bright=True)
    assert screener("explain", image, "--model", uncertified).returncode == 7
    assert screener("explain", image, "--model", uncertified, "--accept-uncertified").returncode == 0
    with pytest.raises(ModelError, match="not certified"):
        Screener(uncertified)
    assert Screener(uncertified, accept_uncertified=True).predict(image).probability is not None
    assert Screener(uncertified, threshold=0.5).policy.point.name == "custom"
    write_slice(tmp_path / "set/no/p1/a.png")
    done = screener("evaluate", tmp_path / "set", "--model", uncertified, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["operating_point"] == "auto"


def test_a_certificate_is_shown_where_the_threshold_is(screener: Command) -> None:
    message = screener("info", "--model", screener.model, "--lang", "en").stdout
    assert "auto: certified for sensitivity ≥ 0.95 at 95 % confidence: 0 of 60 patients or runs of slices" in message
    assert "a unit is a drawn head" in message
    assert "certifié" in screener("info", "--model", screener.model, "--lang", "fr").stdout
