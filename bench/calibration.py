"""Simulate sites that certify a threshold of their own, and measure what calibration costs: ``make bench-calibrate``.

Writes ``docs/results/calibration.json`` and ``calibration.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


from export.data.phantoms import phantom  # noqa: E402 - the checkout's own come first
from screener.audit import AuditLog  # noqa: E402
from screener.calibrate.threshold import Target, certified_threshold, most_missed, rung_below, with_margin  # noqa: E402
from screener.domain.slice import Identity, Prediction  # noqa: E402
from screener.domain.verdict import Verdict  # noqa: E402
from screener.errors import ExitCode  # noqa: E402
from screener.evaluate.metrics import exact_interval  # noqa: E402
from screener.model.session import Model  # noqa: E402
from screener.pipeline.study import Aggregation, Logged, StudySlices, study_finding  # noqa: E402
from screener.triage import TriagePolicy  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SITES = 1000
STUDIES = 300
_SEED = 20261128
_SLICES = 8
_SETTLED = (ExitCode.OK, ExitCode.NOT_ASSESSABLE, ExitCode.NOT_SHOWN)
_TARGETS = (0.8, 0.9, 0.95)
"""Sensitivities that a site may ask of its log."""


_HEAD = """# A site's own threshold

Written by `make bench-calibrate`. Every simulated site has scores of its own and a true sensitivity that is known. A
certificate is valid where the true sensitivity at its threshold is at least the target. Labelled sites have 59 to 400
patients with a tumour and ask for {target:g}. Sites with a log ask for {targets}; what was not flagged was read to 10,
25, 50 or 100 %, part of what was drawn was never read, and readers opened tumours on purpose. Aim: valid in at least
95 % of sites.

"""


class Site:
    """A site whose truth is known: logits of its patients with and without a tumour, and how many are refused.

    Parameters
    ----------
    rng : numpy.random.Generator
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.mean, self.spread = float(rng.normal(2.5, 1.0)), float(rng.uniform(0.7, 1.8))
        self.refused = float(rng.beta(1, 150))

    def positives(self, count: int) -> NDArray[np.float64]:
        """Draw scores of patients with a tumour: (count,), ``-inf`` where refused."""
        scores = 1 / (1 + np.exp(-self._rng.normal(self.mean, self.spread, count)))
        return np.where(self._rng.random(count) < self.refused, -np.inf, scores)

    def negatives(self, count: int) -> NDArray[np.float64]:
        """Draw scores of patients without a tumour: (count,)."""
        return np.asarray(1 / (1 + np.exp(-self._rng.normal(-2.5, 1.5, count))))

    def sensitivity(self, threshold: float) -> float:
        """Return the true sensitivity of a threshold."""
        if threshold <= 0:
            return 1 - self.refused
        logit = math.log(threshold) - math.log1p(-threshold)
        return (1 - self.refused) * 0.5 * math.erfc((logit - self.mean) / self.spread / math.sqrt(2))

    @staticmethod
    def specificity(threshold: float) -> float:
        """Return the true specificity of a threshold."""
        if threshold <= 0:
            return 0.0
        logit = math.log(threshold) - math.log1p(-threshold)
        return 0.5 * math.erfc(-(logit + 2.5) / 1.5 / math.sqrt(2))


def labelled_sites(sites: int, rng: np.random.Generator) -> dict[str, Any]:
    """Certify 0.95 at sites with 59 to 400 labelled patients with a tumour; beside it, by halves."""
    target = Target(0.95, 0.95)
    found: dict[str, list[tuple[bool, float]]] = {"all_patients": [], "halves": []}
    for _ in range(sites):
        site, count = Site(rng), int(rng.integers(59, 401))
        scores, negatives = site.positives(count), site.negatives(400)
        thresholds = {
            "all_patients": _on_all(scores, negatives, target),
            "halves": _by_halves(scores, target),
        }
        for name, threshold in thresholds.items():
            if threshold is not None:
                right = site.sensitivity(threshold) >= target.sensitivity
                found[name].append((right, site.specificity(threshold)))
    return {"target": target.sensitivity} | {name: _told(sites, outcomes) for name, outcomes in found.items()}


def _on_all(scores: NDArray[np.float64], negatives: NDArray[np.float64], target: Target) -> float | None:
    chosen = certified_threshold(scores, target)
    return None if chosen is None else with_margin(chosen, scores, negatives).threshold


def _by_halves(scores: NDArray[np.float64], target: Target) -> float | None:
    """Choose the highest threshold whose bound holds on one half; keep it if it holds on the other, too."""
    choose, certify = scores[::2], scores[1::2]
    allowed = most_missed(len(choose), target)
    threshold = None if allowed < 0 else rung_below(float(np.sort(choose)[allowed]))
    if threshold is None or int((certify < threshold).sum()) > most_missed(len(certify), target):
        return None
    return threshold


def logged_sites(sites: int, rng: np.random.Generator) -> dict[str, Any]:
    """Certify from verdicts: all that was flagged is read, or part of it; of the rest a sample, not all of it read."""
    outcomes, chances = [], []
    for _ in range(sites):
        site, target = Site(rng), Target(float(rng.choice(_TARGETS)), 0.95)
        scores = site.positives(int(rng.integers(100, 1500)))
        negatives = int(len(scores) * rng.uniform(5, 20))
        in_use, sampling = float(rng.uniform(0.2, 0.7)), float(rng.choice([0.1, 0.25, 0.5, 1.0]))
        known, chance, highest = _read(rng, scores, negatives, in_use, sampling)
        chosen = certified_threshold(known, target, least_chance=chance, highest=highest)
        if chosen is not None:
            right = site.sensitivity(chosen.threshold) >= target.sensitivity
            outcomes.append((right, site.specificity(chosen.threshold)))
            chances.append(chance)
    return _told(sites, outcomes) | {"targets": list(_TARGETS), "least_chance": float(np.median(chances))}


def _read(
    rng: np.random.Generator, scores: NDArray[np.float64], negatives: int, in_use: float, sampling: float
) -> tuple[NDArray[np.float64], float, float]:
    """Return the scores of tumours that came to be known, the least chance as calibration works it out, and the ladder.

    Readers get through part of what was drawn; of the tumours that are not flagged they also open some on purpose.
    """
    flagged, refused = scores >= in_use, np.isinf(scores)
    quiet = ~flagged & ~refused
    share_flagged, share_drawn = (1.0 if rng.random() < 0.5 else float(rng.uniform(0.6, 1)) for _ in range(2))
    opened = quiet & (rng.random(len(scores)) < 0.05)
    drawn = quiet & ~opened & (rng.random(len(scores)) < sampling * share_drawn)
    read_flagged = flagged & (rng.random(len(scores)) < share_flagged)
    others = negatives - int(rng.binomial(negatives, 0.01))
    read_others = int(rng.binomial(others, sampling * share_drawn))
    population = others + int((quiet & ~opened).sum())
    sample = read_others + int(drawn.sum())
    chance = min(sampling, sample / population, 1.0 if share_flagged == 1 else share_flagged)
    highest = 1.0 if share_flagged == 1 else in_use
    return scores[read_flagged | drawn | opened | refused], chance, highest


def _told(sites: int, outcomes: list[tuple[bool, float]]) -> dict[str, Any]:
    if not outcomes:
        raise SystemExit(f"none of {sites} sites certified anything: simulate more")
    right = sum(one for one, _ in outcomes)
    low, high = exact_interval(right, len(outcomes))
    return {
        "sites": sites,
        "certified": len(outcomes),
        "valid": right,
        "valid_share": right / len(outcomes),
        "low": low,
        "high": high,
        "valid_or_silent_share": 1 - (len(outcomes) - right) / sites,
        "mean_specificity": float(np.mean([one for _, one in outcomes])),
    }


def cost(folder: Path, studies: int) -> dict[str, dict[str, float]]:
    """Calibrate from a log and from pictures of so many studies, by the command: seconds and peak memory."""
    log, heads = folder / "audit.jsonl", folder / "heads"
    _write_log(log, studies)
    _draw(heads, studies)
    return {
        "log": _timed("--from-log", str(log)) | {"studies": studies},
        "labelled": _timed(str(heads)) | {"studies": studies, "slices": studies * _SLICES},
    }


def _write_log(path: Path, studies: int) -> None:
    """Write studies and a verdict on each, as the shipped model would have judged."""
    model, rng = Model.load(), np.random.default_rng(_SEED)
    points, aggregation = model.card.operating_points, Aggregation.of(model.card)
    confirmation = points["confirmation"].threshold
    policy = TriagePolicy(points["auto"], confirmation, model.card.title, model.sha256)
    verdicts = []
    with AuditLog(path, fsync_every=60.0) as log:
        log.start({"inbox": "/inbox", "model": model.card.title, "threshold": repr(policy.point.threshold)})
        for number in range(studies):
            positive = number % 4 == 0
            score, slices = (
                float(rng.beta(12, 1) if positive else rng.beta(1, 8)),
                StudySlices(f"p{number}", f"p{number}"),
            )
            names = [Identity(f"p{number}/{k}.png", f"{number * 100 + k:064x}", f"p{number}") for k in range(_SLICES)]
            found = [policy.finding(name, Prediction(score)) for name in names]
            for one, result in zip(found, log.results(found, doctor_id=None, preprocessing="p"), strict=True):
                slices.add(one, Logged(result))
            answer = study_finding(slices, policy, aggregation)
            result = log.study(answer, preprocessing="p", results_sha256=slices.results_sha256())
            truth = "tumour" if positive else "no_tumour"
            verdicts.append(Verdict(result, "dr.a", truth, None, {"drawn": "sample", "sampling": 1.0}))
        log.reviews(verdicts)
        log.end({}, "complete")


def _draw(folder: Path, studies: int) -> None:
    import cv2

    rows = ["path,label,patient,site,series,slice_index,n_slices"]
    for number in range(studies):
        (folder / str(number)).mkdir(parents=True)
        for place in range(_SLICES):
            image = (255 * phantom(number * _SLICES + place, 256)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}/{place}.png"), image)
            label = "yes" if number % 4 == 0 and 2 <= place <= 6 else "no"
            rows.append(f"{number}/{place}.png,{label},p{number},bench,s{number},{place + 1},{_SLICES}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def _timed(*words: str) -> dict[str, float]:
    command = [sys.executable, "-m", "screener", "calibrate", *words, "--site", "bench", "--doctor", "bench", "--json"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--accept-uncertified"], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    # Drawn heads may all be refused, so that nothing is certified: they cost what others do.
    if os.waitstatus_to_exitcode(status) not in _SETTLED:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"seconds": time.perf_counter() - started, "peak_mb": usage.ru_maxrss / 1000}


def report(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    labelled, logged = figures["labelled_sites"], figures["logged_sites"]
    rows = [
        ("labelled, all patients choose and certify (shipped)", labelled["all_patients"]),
        ("labelled, one half chooses and the other certifies", labelled["halves"]),
        ("verdicts from a log, partly sampled (shipped)", logged),
    ]
    table = "\n".join(
        f"| {name} | {one['certified']} of {one['sites']} | {one['valid_share']:.3f} "
        f"({one['low']:.3f}–{one['high']:.3f}; {one['valid']}/{one['certified']}) | "
        f"{one['valid_or_silent_share']:.3f} | {one['mean_specificity']:.3f} |"
        for name, one in rows
    )
    spent = "\n".join(
        f"| {name} | {one['seconds']:.1f} s | {one['peak_mb']:.0f} MB |"
        for name, one in (
            (f"verdicts on {figures['cost']['log']['studies']} studies in a log", figures["cost"]["log"]),
            (
                f"{figures['cost']['labelled']['studies']} labelled studies of {_SLICES} slices, scored",
                figures["cost"]["labelled"],
            ),
        )
    )
    head = _HEAD.format(target=labelled["target"], targets=", ".join(f"{one:g}" for one in logged["targets"]))
    return (
        f"{head}| evidence | certified | valid, of those certified | not wrong, of all | mean true specificity |\n"
        f"|---|---|---|---|---|\n{table}\n\n"
        "Intervals are exact and 95 %. The median least chance with which a miss came to be known is "
        f"{logged['least_chance']:.2f} among the sites with a log that certified.\n\n"
        f"| `screener calibrate` | time, aim 30 s | peak memory, aim 500 MB |\n|---|---|---|\n{spent}\n\n"
        f"Measured on {figures['cores']} cores.\n"
    )


def main() -> None:
    """Write ``docs/results/calibration.json`` and ``calibration.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=SITES)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/calibration")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    figures: dict[str, Any] = {
        "labelled_sites": labelled_sites(arguments.sites, rng),
        "logged_sites": logged_sites(arguments.sites, rng),
        "seed": arguments.seed,
        "cores": len(os.sched_getaffinity(0)),
    }
    with tempfile.TemporaryDirectory() as folder:
        figures["cost"] = cost(Path(folder), arguments.studies)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


if __name__ == "__main__":
    main()
