"""``screener calibrate`` as it is typed, and a scan with the profile that it writes."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from screener import Screener
from screener.cli.calibrate import CalibrateOptions, run
from screener.errors import ModelError, NotShownError, UsageError
from tests.conftest import tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command

PATIENTS = 8


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return whole heads of five slices: four with a tumour in half of the patients."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,label,patient,site,series,slice_index,n_slices"]
    for patient in range(2 * PATIENTS):
        positive = patient < PATIENTS
        for place in range(5):
            write_slice(folder / f"{patient}/{place}.png", 5 * patient + place, bright=positive and place > 0, size=48)
            label = "yes" if positive and place > 0 else "no"
            rows.append(f"{patient}/{place}.png,{label},p{patient},mercy,s{patient},{place + 1},5")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_profile_is_written_and_a_scan_judges_by_it(screener: Command, labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "site.toml"
    words = (labelled, "--model", screener.model, "--doctor", "dr.a", "--sensitivity", 0.65, "--out", out)
    made = screener("calibrate", *words, "--prevalence", 0.05, "--lang", "fr")
    assert made.returncode == 0, made.stderr
    for text in ("Profil de mercy", "Certifié pour une sensibilité ≥ 0,65", "Courbe de décision", f"Écrit : {out}"):
        assert text in made.stdout
    profile = tomllib.loads(out.read_text())
    assert profile["study"]["units"] == profile["slice"]["units"] == PATIENTS
    assert profile["site"] == "mercy"
    shown = json.loads(screener("calibrate", *words, "--replace", "--json").stdout)
    assert (shown["written"], shown["left_out"], shown["profile"]["schema"]) == (str(out), [], 1)

    page = tmp_path / "page.html"
    scanned = screener.scan(labelled, "--profile", out, "--report", page, "--lang", "en")
    assert scanned.returncode in {0, 4}, scanned.stderr
    (start,) = screener.events("START")
    assert (start["threshold_origin"], start["certified"], start["options"]["profile"]) == ("profile", True, True)
    assert (start["profile"]["path"], start["profile"]["site"]) == (str(out), "mercy")
    name = start["operating_point"]
    assert name.startswith("site-")
    assert f"studies, {name}: certified for sensitivity ≥ 0.65" in scanned.stdout
    assert f"{name}: threshold of this site, certified there" in page.read_text()
    studies = [one for one in screener.events("STUDY") if len(one["series"]) == 1 and one["slices"]["total"] == 5]
    profile = tomllib.loads(out.read_text())
    assert {(one["operating_point"], float(one["threshold"])) for one in studies} == {
        (name, profile["study"]["threshold"])
    }
    assert screener("verify").returncode == 0


@pytest.mark.long
def test_another_threshold_of_studies_alone_is_logged(screener: Command, labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "site.toml"
    words = (labelled, "--model", screener.model, "--doctor", "d", "--sensitivity", 0.65, "--out", out)
    assert screener("calibrate", *words, "--level", "study").returncode == 0
    text = out.read_text()
    for threshold in ("0.01", "0.9999", "0.01"):
        value = f"threshold = {tomllib.loads(text)['study']['threshold']}"
        out.write_text(text.replace(f"[study]\n{value}", f"[study]\nthreshold = {threshold}", 1))
        assert screener.scan(labelled, "--profile", out, "--quiet").returncode in {0, 4}
    whole = [one for one in screener.events("STUDY") if one["study_id"] == "3"]
    assert [float(one["threshold"]) for one in whole] == [0.01, 0.9999, 0.01]
    assert len([one for one in screener.events() if one["study_id"] == "3"]) == 5, "slices were judged once"


@pytest.mark.long
def test_what_cannot_be_certified_is_refused_with_what_is_lacking(
    screener: Command, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site.toml"
    words = (labelled, "--model", screener.model, "--doctor", "dr.a", "--out", out)
    refused = screener("calibrate", *words)
    assert (refused.returncode, refused.stdout) == (9, "")
    assert f"{59 - PATIENTS} more patients with a tumour are needed" in refused.stderr
    assert "hint:" in refused.stderr
    assert not out.exists()
    assert screener("calibrate", *words, "--accept-uncertified").returncode == 0
    scan = screener.scan(labelled, "--profile", out, "--quiet")
    assert scan.returncode == 7
    assert "is not certified" in scan.stderr
    assert screener.scan(labelled, "--profile", out, "--quiet", "--accept-uncertified").returncode in {0, 4}
    assert screener.events("START")[0]["operating_point"].endswith("-uncertified")


def test_python_adjusts_and_uses_a_threshold(tiny_model: Path, labelled: Path, tmp_path: Path) -> None:
    tool = Screener(tiny_model, threads=1)
    before = tool.predict(labelled / "0/1.png")
    with pytest.raises(NotShownError, match="more patients"):
        tool.adjust_threshold(labelled, site="mercy", who="dr.a")
    profile = tool.adjust_threshold(labelled, recall_target=0.65, prevalence=0.1)
    assert (profile.site, bool(profile.who)) == ("mercy", True)
    assert tool.policy.point.name == "auto", "nothing changes until it is used"
    tool.use(profile)
    after = tool.predict(labelled / "0/1.png")
    assert after.probability == before.probability, "the probability stays the model's"
    assert profile.slice is not None
    assert (after.threshold, after.operating_point) == (profile.slice.threshold, profile.name)
    (tmp_path / "site.toml").write_text(profile.text())
    other = Screener(tiny_model, threads=1)
    other.use(tmp_path / "site.toml")
    assert other.policy == tool.policy
    with pytest.raises(UsageError):
        tool.use(tmp_path / "none.toml")
    card = tiny_card(version="2.0.0")
    with pytest.raises(ModelError, match="is for tiny"):
        Screener(write_model(tmp_path / "second", card), threads=1).use(profile)


def test_lines_that_cannot_be_used_are_named_and_change_the_exit_code(
    tiny_model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (labelled / "manifest.csv").read_text()
    (labelled / "bad.csv").write_text(f"{text}none.png,yes,p0,mercy,s0,1,5\n0/1.png,perhaps,p0,mercy,s0,1,5\n")
    given = {field.name: None for field in fields(CalibrateOptions)}
    given |= {"source": labelled / "bad.csv", "site": "", "doctor": "d", "sensitivity": 0.65, "confidence": 0.95}
    given |= {"model": str(tiny_model), "json": True, "out": tmp_path / "site.toml", "level": "slice"}
    assert run(CalibrateOptions(**given)) == 4  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.err.count("warning: ") == 2
    assert "bad.csv:83:" in shown.err
    assert json.loads(shown.out)["profile"]["slice"]["units"] == PATIENTS
    assert (tmp_path / "site.toml").exists()


def test_sites_are_not_mixed(tiny_model: Path, labelled: Path) -> None:
    text = (labelled / "manifest.csv").read_text()
    (labelled / "two.csv").write_text(text.replace(",p1,mercy", ",p1,north"))
    tool = Screener(tiny_model, threads=1)
    with pytest.raises(UsageError, match="2 sites") as caught:
        tool.adjust_threshold(labelled / "two.csv", 0.6)
    assert "mercy, north" in caught.value.hint
    chosen = tool.adjust_threshold(labelled / "two.csv", 0.6, site="mercy")
    assert chosen.study is not None
    assert chosen.study.units == PATIENTS - 1
