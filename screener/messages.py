"""Every word that a clinician reads, in English and French."""

from __future__ import annotations

import os
from typing import Literal

from screener.domain.finding import Urgency

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = ("en", "fr")

NOTICE: dict[Language, str] = {
    "en": "Decision aid. Not a diagnosis, not a medical device: no CE or FDA clearance.",
    "fr": "Aide à la décision. Ce n'est ni un diagnostic ni un dispositif médical (ni CE ni FDA).",
}

RECOMMENDATION: dict[Language, dict[Urgency, str]] = {
    "en": {
        Urgency.HIGH: "SUSPECTED TUMOUR – read first; neurosurgical opinion if confirmed",
        Urgency.MEDIUM: "POSSIBLE TUMOUR – read soon",
        Urgency.REVIEW: "NOT ASSESSABLE – a radiologist must look",
        Urgency.LOW: "NOT FLAGGED – usual reading; does not exclude a tumour",
    },
    "fr": {
        Urgency.HIGH: "TUMEUR SUSPECTÉE – HAUTE : relecture prioritaire ; avis neurochirurgical si confirmée",
        Urgency.MEDIUM: "TUMEUR POSSIBLE – MOYENNE : relecture rapide",
        Urgency.REVIEW: "NON ÉVALUABLE – à relire par un radiologue",
        Urgency.LOW: (
            "NON SIGNALÉE – FAIBLE : lecture habituelle ; n'exclut pas une tumeur ; "
            "contrôle annuel sur avis du radiologue"
        ),
    },
}

TEXT: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Reading order",
        "urgency": "Urgency",
        "patient": "Patient",
        "probability": "Probability",
        "threshold": "Threshold",
        "file": "File",
        "study": "Study",
        "series_slices": "Series · slices",
        "key_slice": "Key slice",
        "recommendation": "Recommendation",
        "seen_before": "seen before",
        "hidden": "{count} more not shown here; all are in the log (--top 0 shows all)",
        "study_counts": "{total} studies: {high} HIGH, {medium} MEDIUM, {review} REVIEW, {low} LOW",
        "studies_deferred": "{count} studies still arriving: left for the next run",
        "aggregation": "Studies: highest mean of {window} neighbouring slices of a series, at the threshold of a "
        "slice; not certified by patient",
        "study_point": "Studies: highest mean of {window} neighbouring slices of a series, threshold {threshold} "
        "({name})",
        "study_rate": "{value} ({low}–{high}; {hits}/{count} patients)",
        "study_uncertified": "studies, {name}: not certified by patient",
        "study_certified": "studies, {name}: certified for sensitivity ≥ {target} at {level} confidence: {missed} of "
        "{units} patients missed; holds for patients like these",
        "study_recipe": "this certifies the recipe: each patient was judged by a model that saw no patient of the "
        "same site",
        "counts": "{total} slices: {high} HIGH, {medium} MEDIUM, {review} REVIEW, {low} LOW",
        "seen": "{count} of them seen before, not scored again",
        "deferred": "{count} files still being written: left for the next run",
        "skipped": "{count} links or special files left out and not screened: --dry-run names them",
        "unlisted": "{count} slices of the last run were judged before in another inbox and are not listed here: "
        "report that inbox, or scan with --rescan",
        "stopped": "Stopped before the end: the next run goes on from here",
        "point": "Threshold {threshold} ({name}) · model {model}",
        "measured": "sensitivity {sensitivity}, specificity {specificity} on the {where}",
        "unmeasured": "{name}: no figures were measured for this threshold",
        "uncertified": "{name}: not certified",
        "certified": "{name}: certified for sensitivity ≥ {target} at {level} confidence: {missed} of {units} patients "
        "or runs of slices missed; holds for patients like these",
        "rate": "{value} ({low}–{high}; {hits}/{count} slices, {units} patients or groups)",
        "log": "Log: {path}",
        "scanning": "Screening",
    },
    "fr": {
        "title": "Ordre de lecture",
        "urgency": "Urgence",
        "patient": "Patient",
        "probability": "Probabilité",
        "threshold": "Seuil",
        "file": "Fichier",
        "study": "Examen",
        "series_slices": "Séries · coupes",
        "key_slice": "Coupe clé",
        "recommendation": "Recommandation",
        "seen_before": "déjà vue",
        "hidden": "{count} autres ne sont pas montrées ici ; toutes sont au journal (--top 0 les montre)",
        "study_counts": "{total} examens : {high} HAUTE, {medium} MOYENNE, {review} À RELIRE, {low} FAIBLE",
        "studies_deferred": "{count} examens en cours d'arrivée : laissés au prochain passage",
        "aggregation": "Examens : plus haute moyenne de {window} coupes voisines d'une série, au seuil d'une coupe ; "
        "non certifié par patient",
        "study_point": "Examens : plus haute moyenne de {window} coupes voisines d'une série, seuil {threshold} "
        "({name})",
        "study_rate": "{value} ({low}–{high} ; {hits}/{count} patients)",
        "study_uncertified": "examens, {name} : non certifié par patient",
        "study_certified": "examens, {name} : certifié pour une sensibilité ≥ {target} au niveau de confiance "
        "{level} : {missed} patients manqués sur {units} ; vaut pour des patients semblables",
        "study_recipe": "cela certifie la recette : chaque patient a été évalué par un modèle qui n'avait vu aucun "
        "patient du même site",
        "counts": "{total} coupes : {high} HAUTE, {medium} MOYENNE, {review} À RELIRE, {low} FAIBLE",
        "seen": "dont {count} déjà vues, non réévaluées",
        "deferred": "{count} fichiers en cours d'écriture : laissés au prochain passage",
        "skipped": "{count} liens ou fichiers spéciaux laissés de côté, non évalués : --dry-run les nomme",
        "unlisted": "{count} coupes du dernier passage avaient été évaluées dans un autre dossier et ne figurent pas "
        "ici : demandez le rapport de ce dossier, ou relancez avec --rescan",
        "stopped": "Arrêté avant la fin : le prochain passage reprend ici",
        "point": "Seuil {threshold} ({name}) · modèle {model}",
        "measured": "sensibilité {sensitivity}, spécificité {specificity} sur « {where} »",
        "unmeasured": "{name} : aucun chiffre mesuré pour ce seuil",
        "uncertified": "{name} : non certifié",
        "certified": "{name} : certifié pour une sensibilité ≥ {target} au niveau de confiance {level} : {missed} "
        "patients ou séries de coupes manqués sur {units} ; vaut pour des patients semblables",
        "rate": "{value} ({low}–{high} ; {hits}/{count} coupes, {units} patients ou groupes)",
        "log": "Journal : {path}",
        "scanning": "Analyse",
    },
}

URGENCY_WORD: dict[Language, dict[Urgency, str]] = {
    "en": {urgency: urgency.value for urgency in Urgency},
    "fr": {Urgency.HIGH: "HAUTE", Urgency.MEDIUM: "MOYENNE", Urgency.REVIEW: "À RELIRE", Urgency.LOW: "FAIBLE"},
}


def language(wanted: str | None = None) -> Language:
    """Return the language asked for, or the one of the locale; English when that is neither."""
    if wanted is None:
        wanted = next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "en")
    return "fr" if wanted.lower().startswith("fr") else "en"
