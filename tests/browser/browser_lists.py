"""Worklist pages to open: drawn heads, findings of every kind, names that mean harm."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from export.data.phantoms import phantom
from screener.domain.finding import Finding
from screener.domain.slice import Reason
from screener.domain.verdict import Verdict
from screener.finding_store import Item
from screener.preprocess import Preprocessing, frame
from screener.report.html import ReportWriter
from screener.report.page import About
from screener.report.pictures import encode, thumbnail
from screener.triage import decide, urgency_of
from tests.study_findings import study

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.report.pictures import Picture

HOW = Preprocessing(160, crop="head", pad="square")
THRESHOLD, CONFIRMATION = 0.4, 0.9
HOSTILE = '"><img src=x onerror="window.broken=1"><script>window.broken=1</script>'


def finding(path: str, probability: float | None, reason: Reason | None = None) -> Finding:
    folder, slash, _ = path.partition("/")
    return Finding(
        path=path,
        sha256=hashlib.sha256(path.encode()).hexdigest(),
        patient_id=folder if slash else None,
        decision=decide(probability, THRESHOLD),
        probability=probability,
        confidence=None,
        urgency=urgency_of(probability, THRESHOLD, CONFIRMATION),
        recommendation="",
        threshold=THRESHOLD,
        operating_point="auto",
        reason=reason,
        model="lite 1.0.0",
        model_sha256="b" * 64,
        tool_version="0.1.0",
        seen_before=False,
        notice="",
    )


@cache
def head(seed: int) -> Picture:
    pixels = phantom(seed, 512, tumour=True).astype(np.float32) / 255
    return encode(thumbnail(pixels, frame(pixels, HOW)))


def evidence(seed: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:10, :10]
    row, column = np.random.default_rng(seed).integers(3, 7, 2)
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / 3).astype(np.float32)


def writer(out: Path, lang: Language = "en") -> ReportWriter:
    inbox = out.parent / "inbox"
    about = About(str(inbox), "lite 1.0.0", "b" * 64, THRESHOLD, "auto", "0.1.0", "/state/audit.jsonl", "e" * 64)
    return ReportWriter(out, replace(about, written="2030-01-02 03:04 UTC"), lang)


def mixed(out: Path, lang: Language = "en") -> Path:
    """Write a page with four patients, every urgency, one verdict, one slice without a patient."""
    with writer(out, lang) as report:
        for number, (path, probability) in enumerate(
            {
                "anna/a1.png": 0.55,
                "anna/a2.png": 0.97,
                "anna/a3.png": 0.02,
                "bert/b1.png": 0.99,
                "bert/b2.png": 0.91,
                "carla/c1.png": 0.42,
                "carla/c2.png": 0.1,
                "Zoé/z1.png": 0.45,
            }.items()
        ):
            report.add(finding(path, probability), head(number), evidence(number))
        report.add(finding("carla/c3.txt", None, Reason.UNSUPPORTED_TYPE))
        report.store.add(
            Item(
                finding("loose.png", None, Reason.BLANK),
                report.about.inbox,
                verdict=Verdict("", "dr-7", "no picture", None),
            )
        )
    return out


def hostile(out: Path) -> Path:
    """Write a page whose every text tries to run."""
    names = (
        HOSTILE,
        "</script><script>window.broken=1</script>",
        "javascript:window.broken=1",
        "a' onfocus='window.broken=1",
    )
    inbox = out.parent / "inbox"
    with writer(out) as report:
        report.about = replace(report.about, warnings=names, log=HOSTILE, model=HOSTILE)
        for number, name in enumerate(names):
            path = f"{name.replace('/', '')}/{name.replace('/', '')}.png"
            file = inbox / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
            item = Item(replace(finding(path, 0.95), model=name), str(inbox), verdict=Verdict("", name, name, True))
            report.store.add(item)
            report.pictures.put(item.finding, head(number), evidence(number))
            answer, slices = study(
                f"{name.replace('/', '')}/s", {name: [0.95] * 3 + [Reason.BLANK], f"2{name}": [0.9] * 4}
            )
            add_study(report, answer, slices)
    return out


def add_study(report: ReportWriter, answer: StudyFinding, slices: list[Finding]) -> None:
    """Take a study in with a picture of each slice."""
    for number, one in enumerate(slices):
        shown = one.reason is None
        report.add(one, head(number % 7), evidence(number % 7) if shown else None)
    report.add_study(answer)


def studies(out: Path, lang: Language = "en") -> Path:
    """Write a page with studies of every urgency: several series, gaps, one slice, a refusal."""
    rising = [0.1, 0.2, 0.2, Reason.BLANK, 0.9, 0.95, 0.97, 0.9, 0.3, 0.1, 0.1, 0.05]
    unused = [Reason.PLANE_NOT_SUPPORTED] * 4
    with writer(out, lang) as report:
        for answer, slices in (
            study("anna/2026-01-02", {"flair": rising, "t1": [0.2] * 12, "sag": unused}, accession_number="A7"),
            study("bert", {None: [0.97]}),
            study("carla", {None: [0.1, 0.1, 0.5, 0.6, 0.55, 0.5, 0.5, 0.1]}),
            study("dora", {None: [Reason.NOT_A_BRAIN_MRI] * 5}),
            study("emil", {"flair": [0.1] * 9}),
        ):
            add_study(report, answer, slices)
    return out


def large(out: Path, count: int = 1_000) -> Path:
    """Write a page with many flagged slices."""
    with writer(out) as report:
        for number in range(count):
            path = f"patient-{number // 5:04d}/slice-{number:04d}.png"
            report.add(finding(path, 0.4 + 0.6 * (number * 7919 % count) / count), head(number % 200), evidence(number))
    return out


def large_studies(out: Path, count: int = 200, slices: int = 50) -> Path:
    """Write a page with many flagged studies of many slices."""
    with writer(out) as report:
        for number in range(count):
            values = [0.5 + 0.4 * np.sin((place + number) / 5) for place in range(slices)]
            add_study(report, *study(f"patient-{number:04}", {"flair": values}))
    return out
