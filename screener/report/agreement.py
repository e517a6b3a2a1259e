"""The agreement report as a page: figures against the verdicts, and what to look at again, misses first."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from screener.report.document import document, figure, gallery, heading, paragraph, picture, table
from screener.report.page import limit, number
from screener.report.pictures import jpeg
from screener.report.rebuild import heatmaps_of, slice_of
from screener.types import Urgency
from screener.words import URGENCY_WORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from screener.evaluate.agreement import Reading, Readings
    from screener.inbox.decoder import SafeDecoder
    from screener.model.session import Model
    from screener.words import Language

PICTURES = 200
"""Slices shown of each kind."""
_BATCH = 16
_RATES = ("sensitivity", "specificity", "ppv", "npv", "kappa", "assessable_sensitivity", "assessable_specificity")

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Agreement of readers and tool",
        "head": "Log {log}, up to {head}.",
        "none": "The log holds no verdict yet: give some with `screener review`.",
        "how": "Reference: what most readers of a slice say; slices without a majority count for nothing here. A "
        "tumour in a slice that was not assessable counts as missed, a slice without tumour as a false alarm. A "
        "verdict counts for as many slices as it stands for: this assumes that unread slices are like the read ones "
        "of their kind. Slices not flagged that were opened on purpose stand for themselves only. Intervals: 95 %, "
        "over patients.",
        "overall": "All verdicts",
        "versions": "By model version and threshold",
        "weeks": "By week of the verdict",
        "groups": "Share read",
        "readers": "Between readers",
        "missed": "Missed",
        "alarms": "False alarms",
        "disputed": "Readers contradict each other",
        "only": "The first {shown} of {count}.",
        "nothing": "None.",
        "part": "Part",
        "readings": "Verdicts",
        "patients": "Patients",
        "undecided": "Undecided",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "ppv": "PPV",
        "npv": "NPV",
        "kappa": "Kappa",
        "assessable_sensitivity": "Sensitivity, assessable",
        "assessable_specificity": "Specificity, assessable",
        "no_unflagged": "not known: no slice that was not flagged has been read",
        "no_readings": "not known",
        "counts": "Verdicts by decision, as given, without weights",
        "decision": "Decision",
        "tumour": "Tumour",
        "no_tumour": "No tumour",
        "unsure": "Unsure",
        "bad_image": "Bad image",
        "flagged": "Flagged",
        "not_flagged": "Not flagged",
        "not_assessable": "Not assessable",
        "urgency": "Urgency",
        "results": "Results",
        "read": "Read",
        "share": "Share",
        "pair": "Readers",
        "slices": "Slices in common",
        "agree": "Same verdict",
        "moved": "the file has moved or changed",
        "unreadable": "the file cannot be shown",
    },
    "fr": {
        "title": "Accord entre lecteurs et outil",
        "head": "Journal {log}, jusqu'à {head}.",
        "none": "Le journal ne contient encore aucun verdict : donnez-en avec `screener review`.",
        "how": "Référence : l'avis de la majorité des lecteurs d'une coupe ; sans majorité, la coupe ne compte pas. "
        "Une tumeur dans une coupe non évaluable compte comme oubliée, une coupe sans tumeur comme fausse alerte. Un "
        "verdict vaut pour toutes les coupes qu'il représente : les coupes non lues sont supposées semblables aux "
        "coupes lues de leur sorte. Une coupe non signalée ouverte exprès ne vaut que pour elle-même. Intervalles : "
        "95 %, par patient.",
        "overall": "Tous les verdicts",
        "versions": "Par version du modèle et seuil",
        "weeks": "Par semaine du verdict",
        "groups": "Part lue",
        "readers": "Entre lecteurs",
        "missed": "Oubliées",
        "alarms": "Fausses alertes",
        "disputed": "Les lecteurs se contredisent",
        "only": "Les {shown} premières sur {count}.",
        "nothing": "Aucune.",
        "part": "Partie",
        "readings": "Verdicts",
        "patients": "Patients",
        "undecided": "Sans majorité",
        "sensitivity": "Sensibilité",
        "specificity": "Spécificité",
        "ppv": "VPP",
        "npv": "VPN",
        "kappa": "Kappa",
        "assessable_sensitivity": "Sensibilité, évaluables",
        "assessable_specificity": "Spécificité, évaluables",
        "no_unflagged": "inconnu : aucune coupe non signalée n'a été lue",
        "no_readings": "inconnu",
        "counts": "Verdicts par décision, tels que donnés, sans pondération",
        "decision": "Décision",
        "tumour": "Tumeur",
        "no_tumour": "Pas de tumeur",
        "unsure": "Incertain",
        "bad_image": "Image mauvaise",
        "flagged": "Signalée",
        "not_flagged": "Non signalée",
        "not_assessable": "Non évaluable",
        "urgency": "Urgence",
        "results": "Résultats",
        "read": "Lues",
        "share": "Part",
        "pair": "Lecteurs",
        "slices": "Coupes communes",
        "agree": "Même verdict",
        "moved": "le fichier a été déplacé ou modifié",
        "unreadable": "le fichier ne peut pas être affiché",
    },
}


def agreement_page(
    found: Readings,
    told: Mapping[str, Any],
    log: Path,
    lang: Language,
    *,
    images: Path | None = None,
    model: Model | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    found : Readings
    told : mapping
        From `screener.evaluate.agreement.report`.
    log : Path
    lang : {"en", "fr"}
    images : Path, optional
        Where the inbox lies now, when it has moved.
    model : Model, optional
        Draws heatmaps for what this very model judged.
    """
    words = _WORDS[lang]
    parts = [paragraph(words["head"].format(log=log, head=told["head"][:12]), "remark")]
    if found.problem is not None:
        parts.append(paragraph(f"{found.problem} {found.problem.hint}", "warning"))
    if not found.readings:
        parts.append(paragraph(words["none"]))
    else:
        parts += [paragraph(words["how"]), *_tables(told, lang), *_galleries(found, lang, images, model)]
    return document(words["title"], parts, lang)


def _tables(told: Mapping[str, Any], lang: Language) -> Iterator[str]:
    words = _WORDS[lang]
    yield heading(words["overall"])
    yield _rates({words["overall"]: told["overall"]}, lang)
    yield _counts(told["overall"]["counts"], lang)
    for name in ("versions", "weeks"):
        yield heading(words[name])
        yield _rates(told[name], lang)
    yield heading(words["groups"])
    head = [words[name] for name in ("urgency", "results", "read", "share")]
    yield table(
        head,
        [
            (URGENCY_WORD[lang][Urgency(urgency)], row["results"], row["read"], f"{row['share']:.0%}")
            for urgency, row in sorted(told["groups"].items(), key=lambda pair: list(Urgency).index(Urgency(pair[0])))
        ],
    )
    if told["readers"]:
        yield heading(words["readers"])
        head = [words[name] for name in ("pair", "slices", "agree", "kappa")]
        yield table(
            head,
            [
                (" · ".join(pair["readers"]), pair["slices"], pair["agree"], _shown(pair["kappa"], lang))
                for pair in told["readers"]
            ],
        )


def _rates(parts: Mapping[str, Any], lang: Language) -> str:
    words = _WORDS[lang]
    head = [words[name] for name in ("part", "readings", "patients", "undecided", *_RATES)]
    return table(
        head,
        [
            (name, row["readings"], row["patients"], row["undecided"], *(_rate(row[rate], lang) for rate in _RATES))
            for name, row in parts.items()
        ],
    )


def _rate(found: Mapping[str, Any], lang: Language) -> str:
    if found["value"] is None:
        return _WORDS[lang][found["why"]]
    return f"{_shown(found['value'], lang)} ({_shown(found['low'], lang)}–{_shown(found['high'], lang)})"


def _shown(value: float | None, lang: Language) -> str:
    return "–" if value is None else number(value, lang)


def _counts(counts: Mapping[str, int], lang: Language) -> str:
    words = _WORDS[lang]
    rows = [
        (words[decision], counts[f"{decision}:tumour"], counts[f"{decision}:no_tumour"])
        for decision in ("flagged", "not_flagged", "not_assessable")
    ]
    return table([words["decision"], words["tumour"], words["no_tumour"]], rows, words["counts"])


def _galleries(found: Readings, lang: Language, images: Path | None, model: Model | None) -> Iterator[str]:
    from screener.evaluate.agreement import disagreements
    from screener.inbox.decoder import SafeDecoder

    words = _WORDS[lang]
    with SafeDecoder() as decoder:
        for name, readings in disagreements(found).items():
            yield heading(f"{words[name]} ({len(readings)})")
            if len(readings) > PICTURES:
                yield paragraph(words["only"].format(shown=PICTURES, count=len(readings)), "remark")
            if not readings:
                yield paragraph(words["nothing"], "remark")
            shown = iter(readings[:PICTURES])
            while batch := list(islice(shown, _BATCH)):
                yield gallery(_figures(batch, lang, images, model, decoder))


def _figures(
    batch: Sequence[Reading], lang: Language, images: Path | None, model: Model | None, decoder: SafeDecoder
) -> Iterator[str]:
    slices = [slice_of(images or Path(reading.item.inbox), reading.item, decoder) for reading in batch]
    drawable = [
        (reading.item, slice_) for reading, slice_ in zip(batch, slices, strict=True) if not isinstance(slice_, str)
    ]
    heatmaps = heatmaps_of(model, drawable)
    for reading, slice_ in zip(batch, slices, strict=True):
        caption = _caption(reading, lang)
        if isinstance(slice_, str):
            yield figure("", f"{caption} · {_WORDS[lang][slice_]}", "bad")
        else:
            yield figure(
                picture(jpeg(slice_.pixels, next(heatmaps), model), reading.item.finding.path, "jpeg"), caption, "bad"
            )


def _caption(reading: Reading, lang: Language) -> str:
    """Say what slice it is, what the tool said and what each reader said."""
    words, finding = _WORDS[lang], reading.item.finding
    told = words["not_assessable"]
    if finding.probability is not None:
        sign = "≥" if finding.probability >= finding.threshold else "<"
        told = f"{number(finding.probability, lang)} {sign} {limit(finding.threshold, lang)}"
    said = [
        f"{opinion.doctor}: {words[opinion.diagnosis]}{f' – {opinion.note}' if opinion.note else ''}"
        for opinion in reading.opinions
    ]
    return " · ".join([finding.path, told, *said])
