"""The audit of drawn heads with planted copies, conflicts, implausible slices and confounders."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.cli import main
from export.data.audit import Audit, AuditOptions, audit, conflicts, counts, nearest_distances, twins
from export.data.dataset import read_dataset
from export.data.duplicates import Pairs
from export.data.groups import read_groups
from export.data.phantoms import phantom
from export.errors import DataError
from export.reports.audit import sentences, write_audit, write_summary
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from pathlib import Path

PER_SOURCE = 60


def head(seed: int, *, tumour: bool) -> np.ndarray:
    image = phantom(seed, 96, tumour=tumour)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        at = tuple(int(value) for value in rng.integers(27, 69, 2))
        cv2.circle(image, at, int(rng.integers(4, 9)), int(rng.integers(20, 250)), cv2.FILLED)
    return image


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw sixty heads each for a and b; b also holds ten flipped and five plain copies from a."""
    root = tmp_path_factory.mktemp("planted")
    for seed in range(2 * PER_SOURCE):
        source, label = "ab"[seed // PER_SOURCE], "yes" if seed % 2 else "no"
        write(root / source / label / f"{seed}.png", head(seed, tumour=seed % 2 == 1))
    for seed in range(15):
        image = head(seed, tumour=seed % 2 == 1)
        copy = image if seed >= 10 else np.ascontiguousarray(image[:, ::-1] if seed < 5 else np.rot90(image))
        write(root / "b" / ("yes" if seed % 2 else "no") / f"copy{seed}.png", copy)
    write(root / "b/no/mislabelled.png", head(1, tumour=True))
    write(root / "b/yes/noise.png", np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8))
    (root / "b/no/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return root


@pytest.fixture(scope="module")
def found(data: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Audit, Path]:
    out = tmp_path_factory.mktemp("audit")
    return audit(data, out, out / "cache", AuditOptions(model=str(tiny_model))), out


def test_copies_are_counted_within_and_across(found: tuple[Audit, Path]) -> None:
    result = found[0].figures["duplicates"]
    assert result["twins"]["a"]["b"]["turned"] == 10
    assert result["twins"]["a"]["b"]["any"] >= 15
    assert result["twins"]["b"]["a"]["turned"] == 10
    assert result["twins"]["b"]["a"]["plain"] >= 5 + 1  # and the mislabelled one
    assert result["identical_files"] == 6
    assert result["across"]["sources"] == 15
    assert result["across"]["sets"] == 0


def test_one_picture_with_two_labels_is_named_and_kept_apart(found: tuple[Audit, Path]) -> None:
    result = found[0].figures["conflicts"]
    assert {one["yes"] for one in result["listed"]} == {"a/yes/1.png", "b/yes/copy1.png"}
    assert {one["no"] for one in result["listed"]} == {"b/no/mislabelled.png"}
    assert (result["pairs"], result["within_patient"], result["mixed_before"], result["mixed"]) == (2, 0, 1, 0)


def test_implausible_slices_are_listed_with_the_check_that_refused_them(found: tuple[Audit, Path]) -> None:
    refused = {one["path"]: one["check"] for one in found[0].figures["implausible"]["refused"]}
    assert refused["b/yes/noise.png"] == "pixels"
    assert refused["b/no/broken.png"] == "reader"
    assert found[0].figures["implausible"]["measure"] == "thumbnails"  # the tiny model has no features to tell by
    assert found[0].figures["sets"]["slices"]["unreadable"] == {"yes": 0, "no": 1, "units": 1}


def test_counts_add_up(found: tuple[Audit, Path], data: Path) -> None:
    records = read_dataset(data).records
    for name in ("source", "folder", "size", "sequence"):
        rows = found[0].figures["counts"][name].values()
        assert sum(row["yes"] + row["no"] for row in rows) == len(records)
    assert set(found[0].figures["counts"]["source"]) == {"a", "b"}
    assert set(found[0].figures["counts"]["sequence"]) == {"not known"}


def test_groups_csv_is_what_training_reads(found: tuple[Audit, Path], data: Path) -> None:
    audited, out = found
    given = read_groups(out / "groups.csv", read_dataset(data))
    given.refuse_leaks(audited.dataset, audited.pairs)
    assert given.split.sets.tolist() == audited.split.sets.tolist()
    assert audited.figures["sets"]["leaking_units"] == 0
    assert json.loads((out / "audit.json").read_text()) == json.loads(json.dumps(audited.figures))


def test_the_page_holds_pictures_and_the_summary_holds_none(found: tuple[Audit, Path], tmp_path: Path) -> None:
    write_audit(found[0], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert "b/no/mislabelled.png" in page
    assert {path.name for path in tmp_path.glob("*.png")} == {"classes.png", "intensities.png", "sources.png"}
    write_summary(found[0].figures, tmp_path / "sum")
    text = (tmp_path / "sum.md").read_text()
    assert "data:image" not in text
    assert all(sentence in text for sentence in sentences(found[0].figures))
    assert any(
        "10 of the 60 slices of a have a flipped or turned near-twin in b" in s for s in sentences(found[0].figures)
    )
    assert json.loads((tmp_path / "sum.json").read_text())["conflicts"]["pairs"] == 2


def test_too_small_a_set_is_still_audited(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / "d" / ("yes" if seed % 2 else "no") / f"{seed}.png", head(seed, tumour=seed % 2 == 1))
    audited = audit(tmp_path / "d", tmp_path / "out", tmp_path / "cache", AuditOptions())
    assert "too few near-duplicate groups" in audited.figures["sets"]["refused"]
    assert any(sentence.startswith("No groups.csv was written: too few") for sentence in sentences(audited.figures))
    assert not (tmp_path / "out/groups.csv").exists()
    write_audit(audited, tmp_path / "out")
    write_summary(audited.figures, tmp_path / "sum")
    assert "fewer than 5 folds" in (tmp_path / "sum.md").read_text()
    with pytest.raises(DataError, match="no slice comes from gone"):
        audit(tmp_path / "d", tmp_path / "out", tmp_path / "cache", AuditOptions(test_sources=("gone",)))


def test_conflicts_within_a_patient_are_marked_and_patients_counted() -> None:
    records = [Record("a/1.png", 1, "s", patient="p"), Record("a/2.png", 0, "s", patient="p"), Record("b/3.png", 0)]
    pairs = Pairs(np.array([0, 0]), np.array([1, 2]), np.array([False, True]))
    result = conflicts(records, pairs, np.array([0, 1, 2]))
    assert [one["same_patient"] for one in result["listed"]] == [False, True]
    assert result["listed"][0] == {"yes": "a/1.png", "no": "b/3.png", "turned": True, "same_patient": False}
    rows = counts(records, np.full((3, 2), 8), np.array([0, 0, 1]))["source"]
    assert rows == {
        "s": {"yes": 1, "no": 1, "units": 1, "patients": 1},
        "not known": {"yes": 0, "no": 1, "units": 1, "patients": 0},
    }
    assert twins(["s", "s", "t"], pairs)["s"] == {
        "s": {"plain": 2, "turned": 0, "any": 2},
        "t": {"plain": 0, "turned": 1, "any": 1},
    }


def test_nearest_distances_leave_out_slices_of_the_same_unit() -> None:
    features = np.array([[0.0, 0], [0, 1], [3, 0], [3, 4]], np.float32)
    assert nearest_distances(features, np.array([0, 0, 1, 2])).tolist() == pytest.approx([3, 10**0.5, 3, 4])
    assert nearest_distances(features, np.zeros(4, np.int64)).tolist() == [0, 0, 0, 0]


def leaky(groups: Path, out: Path) -> Path:
    """Put two slices into the test set, and their copies into the fit set."""
    rows = [row.rsplit(",", 1) for row in groups.read_text().splitlines()]
    for row in rows:
        if row[0].startswith(("a/no/0.png", "a/yes/1.png")):
            row[1] = "test"
        elif row[0].startswith(("b/no/copy", "b/yes/copy")):
            row[1] = "fit"
    out.write_text("".join(f"{start},{place}\n" for start, place in rows))
    return out


def test_the_command_needs_no_tensorflow_and_sees_what_leaks(
    found: tuple[Audit, Path], data: Path, tmp_path: Path
) -> None:
    blocked = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; import export.cli.main as c; c.main()"
    )
    words = [str(data), "--out", str(tmp_path / "out"), "--cache", str(found[1] / "cache")]
    groups = leaky(found[1] / "groups.csv", tmp_path / "leaky.csv")
    done = subprocess.run(
        [sys.executable, "-c", blocked, "audit", *words, "--groups", str(groups), "--summary", str(tmp_path / "sum")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/index.html").exists()
    assert "near-duplicate groups" in done.stdout
    assert "leak-free units lie in more than one of them" in done.stdout
    result = json.loads((tmp_path / "sum.json").read_text())
    assert result["sets"]["leaking_units"] >= 2
    assert result["duplicates"]["across"]["sets"] >= 2
    assert "leaky.csv" in (tmp_path / "sum.md").read_text()


def test_an_audit_without_data_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCREENER_DATA", raising=False)
    monkeypatch.setattr("sys.argv", ["export", "audit"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
