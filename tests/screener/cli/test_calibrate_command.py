"""What ``calibrate`` refuses before its work, and what its tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from screener.calibrate.site import SiteOptions, profile_from_log
from screener.calibrate.tables import tables
from screener.calibrate.threshold import Target
from screener.cli.calibrate import CalibrateOptions, run
from screener.errors import AuditLogError, NothingFoundError, ScreenerError, UsageError
from tests.calibration_logs import logged_model, site_log

if TYPE_CHECKING:
    from pathlib import Path


def options(model: Path, **changes: Any) -> CalibrateOptions:  # noqa: ANN401 - any option
    given: dict[str, Any] = {
        "source": None,
        "from_log": None,
        "inbox": None,
        "site": "mercy",
        "doctor": "dr.a",
        "sensitivity": 0.95,
        "confidence": 0.95,
        "prevalence": None,
        "level": None,
        "out": None,
        "replace": False,
        "accept_uncertified": False,
        "model": str(model),
        "json": False,
        "lang": "en",
        "color": False,
    }
    return CalibrateOptions(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({}, UsageError, "needs labelled data or a log"),
        ({"source": ".", "from_log": "log"}, UsageError, "needs labelled data or a log"),
        ({"source": ".", "doctor": None}, UsageError, "who made it"),
        ({"source": ".", "level": "head"}, UsageError, "--level 'head'"),
        ({"source": ".", "sensitivity": 1.5}, UsageError, "--sensitivity 1.5"),
        ({"source": ".", "inbox": "."}, UsageError, "--inbox goes with"),
        ({"source": "."}, NothingFoundError, "no labelled slice"),
        ({"from_log": "none.jsonl"}, AuditLogError, "none.jsonl"),
        ({"from_log": "none.jsonl", "site": ""}, UsageError, "names no site"),
        ({"source": ".", "out": "none/site.toml"}, UsageError, "does not exist"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    tmp_path: Path, tiny_model: Path, changes: dict[str, Any], kind: type[ScreenerError], message: str
) -> None:
    places = {
        name: tmp_path / value if name in {"source", "from_log", "inbox", "out"} else value
        for name, value in changes.items()
    }
    with pytest.raises(kind, match=message) as caught:
        run(options(tiny_model, **places))
    assert caught.value.hint


@pytest.mark.parametrize(("lang", "words"), [("en", "Not counted: 1 too few slices"), ("fr", "Non comptés : 1 trop")])
def test_tables_say_what_the_threshold_rests_on(tmp_path: Path, lang: Any, words: str) -> None:  # noqa: ANN401
    log = site_log(tmp_path / "audit.jsonl", 40, 60, sampling=0.5)
    log.run({"small": [0.9, 0.9]})
    log.review(log.studies["small"], "tumour", drawn="flagged")
    asked = SiteOptions("mercy", "dr.a", Target(0.7, 0.95), prevalence=0.05)
    shown = [part for part in tables(profile_from_log(log.log, logged_model(), asked), lang) if isinstance(part, str)]
    text = "\n".join(shown)
    assert words in text
    assert ("0.7 at 95 %" if lang == "en" else "0,7 au niveau") in text
    assert ("0.050, as given" if lang == "en" else "0,050, indiquée") in text
