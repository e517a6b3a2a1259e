"""What the agreement report says, in English and French."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, SelectionReason

if TYPE_CHECKING:
    from screener.messages import Language

DECISION: dict[Language, dict[Decision, str]] = {
    "en": {
        Decision.FLAGGED: "flagged",
        Decision.NOT_FLAGGED: "not flagged",
        Decision.NOT_ASSESSABLE: "not assessable",
    },
    "fr": {
        Decision.FLAGGED: "signalé",
        Decision.NOT_FLAGGED: "non signalé",
        Decision.NOT_ASSESSABLE: "non évaluable",
    },
}

DIAGNOSIS: dict[Language, dict[Diagnosis, str]] = {
    "en": {
        Diagnosis.TUMOUR: "tumour",
        Diagnosis.NO_TUMOUR: "no tumour",
        Diagnosis.UNSURE: "unsure",
        Diagnosis.BAD_IMAGE: "bad image",
    },
    "fr": {
        Diagnosis.TUMOUR: "tumeur",
        Diagnosis.NO_TUMOUR: "pas de tumeur",
        Diagnosis.UNSURE: "incertain",
        Diagnosis.BAD_IMAGE: "image inexploitable",
    },
}

SELECTION: dict[Language, dict[SelectionReason, str]] = {
    "en": {
        SelectionReason.FLAGGED: "read because it was flagged",
        SelectionReason.NOT_ASSESSABLE: "read because it was not assessable",
        SelectionReason.SAMPLE: "read as part of the random sample",
        SelectionReason.ASKED: "read because somebody opened it",
    },
    "fr": {
        SelectionReason.FLAGGED: "relu parce que signalé",
        SelectionReason.NOT_ASSESSABLE: "relu parce que non évaluable",
        SelectionReason.SAMPLE: "relu dans l'échantillon aléatoire",
        SelectionReason.ASKED: "relu parce que quelqu'un l'a ouvert",
    },
}

FIGURE: dict[Language, dict[str, str]] = {
    "en": {
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "ppv": "Positive predictive value",
        "npv": "Negative predictive value",
        "kappa": "Cohen's kappa",
    },
    "fr": {
        "sensitivity": "Sensibilité",
        "specificity": "Spécificité",
        "ppv": "Valeur prédictive positive",
        "npv": "Valeur prédictive négative",
        "kappa": "Kappa de Cohen",
    },
}

UNKNOWN: dict[Language, dict[str, str]] = {
    "en": {
        "not_flagged_unread": "cannot be known: no unflagged case was read that was drawn at random",
        "flagged_unread": "cannot be known: no flagged case was read",
        "not_assessable_unread": "cannot be known: no case that was not assessable was read",
        "none": "cannot be known: nothing to count",
    },
    "fr": {
        "not_flagged_unread": "inconnue : aucun cas non signalé tiré au sort n'a été relu",
        "flagged_unread": "inconnue : aucun cas signalé n'a été relu",
        "not_assessable_unread": "inconnue : aucun cas non évaluable n'a été relu",
        "none": "inconnue : rien à compter",
    },
}

METHOD: dict[Language, tuple[str, ...]] = {
    "en": (
        (
            "Reference standard: the readers' verdicts “tumour” and “no tumour”. With several readers of one case the "
            "last verdict of each counts and the majority decides; without a majority the case is unsure. Cases that "
            "are unsure or a bad image count in no rate."
        ),
        (
            "Headline: a tumour in a case that was not assessable counts as a miss, no tumour in such a case as a "
            "false alarm. Beside it: assessable cases only."
        ),
        (
            "Flagged cases and those not assessable are all to be read; those read stand for their whole group, by "
            "model. Those not read yet are taken to be missing at random."
        ),
        (
            "Of the unflagged, a case drawn with chance s stands for 1/s cases (Horvitz and Thompson 1952), scaled "
            "so that the sample stands for all unflagged cases of its model and threshold; where no chance was "
            "recorded, all read count alike."
        ),
        "Unflagged cases that somebody opened on purpose are no random sample: each stands for itself only.",
        (
            "Intervals: 95 %, by resampling patients (folders where no patient is known) 2,000 times. Where no error "
            "was seen, from the exact binomial bound over patients, which also covers the cases not read."
        ),
        (
            "Weeks are those of the verdicts (ISO, UTC); their figures use the weights of the whole log. A verdict "
            "holds for the result of the model that it was given on."
        ),
        "Readers who saw the tool's answer first tend to agree with it: only blind verdicts are independent of it.",
    ),
    "fr": (
        (
            "Référence : les verdicts « tumeur » et « pas de tumeur » des lecteurs. Si plusieurs ont lu un cas, le "
            "dernier verdict de chacun compte et la majorité décide ; sans majorité, le cas est incertain. Les "
            "cas incertains ou inexploitables n'entrent dans aucun taux."
        ),
        (
            "Chiffre principal : une tumeur dans un cas non évaluable compte comme manquée, l'absence de tumeur dans "
            "un tel cas comme fausse alerte. À côté : les seuls cas évaluables."
        ),
        (
            "Les cas signalés et non évaluables sont tous à relire ; ceux qui l'ont été représentent tout leur "
            "groupe, par modèle. Ceux qui restent sont supposés manquer au hasard."
        ),
        (
            "Parmi les non signalés, un cas tiré avec la probabilité s représente 1/s cas (Horvitz et Thompson "
            "1952), à l'échelle de tous les cas non signalés de son modèle et seuil ; sans probabilité notée, "
            "tous ceux qui ont été relus comptent de même."
        ),
        (
            "Les cas non signalés que quelqu'un a ouverts exprès ne sont pas un échantillon aléatoire : chacun "
            "ne représente que lui-même."
        ),
        (
            "Intervalles : 95 %, en retirant au sort les patients (les dossiers, faute de patient connu) 2 000 fois. "
            "Là où aucune erreur n'a été vue, par la borne binomiale exacte sur les patients, qui couvre aussi ce qui "
            "n'a pas été relu."
        ),
        (
            "Les semaines sont celles des verdicts (ISO, UTC) ; leurs chiffres gardent les poids du journal entier. Un "
            "verdict vaut pour le résultat du modèle sur lequel il a été donné."
        ),
        "Qui a d'abord vu la réponse de l'outil tend à la suivre : seuls les verdicts en aveugle en sont indépendants.",
    ),
}

REPORT: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Agreement with readers",
        "study": "Cases are studies: a verdict is about a study. --level slice counts the verdicts on slices.",
        "slice": "Cases are slices: a verdict is about a slice.",
        "no_key": "No picture: the study has no key slice.",
        "about": "{screened} cases screened, {read} of them read; {verdicts} verdicts recorded, corrected ones "
        "included. {blind} cases were read blind, before the tool's answer was shown.",
        "written": "Written {written} from {log}, log head {head}. {inbox}",
        "inbox": "Inbox {inbox} only.",
        "inboxes": "All inboxes of the log.",
        "nothing": "Nobody has given a verdict yet: there is no agreement to report. `screener worklist` shows what "
        "waits to be read.",
        "problem": "The log cannot be trusted to its end; this report rests on what stands before. {problem}",
        "unattached": "{count} verdicts refer to a result that this log does not hold; they count nowhere.",
        "other": "{count} cases have a verdict in other words than tumour, no_tumour, unsure or bad_image; it counts "
        "as unsure.",
        "thin": "By its own chances of being drawn, the sample of unflagged cases stands for {share} of them: drawn "
        "cases were not read, or none were drawn on some nights. The others are taken to be alike.",
        "overall": "Overall",
        "left_out": "Models and thresholds of which nothing was read are left out here.",
        "figure": "WeightedEstimate",
        "headline": "Headline",
        "assessable": "Among assessable cases",
        "refused": "Not assessable",
        "refused_value": "{share} ({count} of {screened} cases screened)",
        "interval": "{value} ({low}–{high}; {hits} of {count} cases read, {units} patients)",
        "no_interval": "{value} (no interval; {hits} of {count} cases read, {units} patients)",
        "table": "What was read",
        "decision": "Decision",
        "neither": "unsure or bad image",
        "stands": "stand for",
        "verdicts": "By verdict: {told}.",
        "reviewed": "Share read",
        "urgency": "Urgency",
        "screened": "Screened",
        "read": "Read",
        "share": "Share",
        "models": "By model and threshold",
        "model": "Model",
        "weeks": "By week of the verdict",
        "week": "Week",
        "no_week": "unknown",
        "readers": "Between readers",
        "reader": "Readers",
        "shared": "Cases read by both",
        "decided": "Both said tumour or no tumour",
        "alike": "Alike",
        "more_pairs": "The {shown} pairs of {total} that share most cases.",
        "one_reader": "No case was read by two readers.",
        "method": "How this is computed",
        "disagreements": "Disagreements",
        "none": "None.",
        "misses": "Misses: the readers say tumour, the tool did not flag ({count})",
        "false_alarms": "False alarms: the readers say no tumour, the tool flagged or could not assess ({count})",
        "contested": "Readers differ ({count})",
        "capped": "The first {shown} of {total} disagreements are shown: misses come first.",
        "picture": "{path}; with the model's evidence laid over it on the right where it is known",
        "score": "probability against threshold: {score}",
        "no_score": "no probability",
        "opinion": "{doctor}: {diagnosis}, {when}",
        "blind": "blind",
        "note": "note: {note}",
    },
    "fr": {
        "title": "Accord avec les lecteurs",
        "study": "Les cas sont des examens : un verdict porte sur un examen. --level slice compte les verdicts sur des "
        "coupes.",
        "slice": "Les cas sont des coupes : un verdict porte sur une coupe.",
        "no_key": "Pas d'image : l'examen n'a pas de coupe clé.",
        "about": "{screened} cas analysés, dont {read} relus ; {verdicts} verdicts enregistrés, corrections "
        "comprises. {blind} cas ont été lus en aveugle, avant que la réponse de l'outil ne soit montrée.",
        "written": "Écrit le {written} d'après {log}, tête du journal {head}. {inbox}",
        "inbox": "Dossier {inbox} seulement.",
        "inboxes": "Tous les dossiers d'entrée du journal.",
        "nothing": "Personne n'a encore donné de verdict : il n'y a pas d'accord à mesurer. `screener worklist` montre "
        "ce qui reste à lire.",
        "problem": "Le journal n'est pas fiable jusqu'à sa fin ; ce rapport repose sur ce qui précède. {problem}",
        "unattached": "{count} verdicts renvoient à un résultat absent de ce journal ; ils ne comptent nulle part.",
        "other": "{count} cas ont un verdict en d'autres mots que tumour, no_tumour, unsure ou bad_image ; il "
        "compte comme incertain.",
        "thin": "D'après ses probabilités de tirage, l'échantillon des cas non signalés en représente {share} : "
        "des cas tirés n'ont pas été relus, ou certaines nuits sont sans tirage. Les autres sont supposés "
        "semblables.",
        "overall": "Ensemble",
        "left_out": "Les modèles et seuils dont rien n'a été relu n'y figurent pas.",
        "figure": "Chiffre",
        "headline": "Chiffre principal",
        "assessable": "Cas évaluables seuls",
        "refused": "Non évaluables",
        "refused_value": "{share} ({count} des {screened} cas analysés)",
        "interval": "{value} ({low}–{high} ; {hits} des {count} cas relus, {units} patients)",
        "no_interval": "{value} (sans intervalle ; {hits} des {count} cas relus, {units} patients)",
        "table": "Ce qui a été relu",
        "decision": "Décision",
        "neither": "incertain ou inexploitable",
        "stands": "représentent",
        "verdicts": "Par verdict : {told}.",
        "reviewed": "Part relue",
        "urgency": "Urgence",
        "screened": "Analysés",
        "read": "Relus",
        "share": "Part",
        "models": "Par modèle et seuil",
        "model": "Modèle",
        "weeks": "Par semaine du verdict",
        "week": "Semaine",
        "no_week": "inconnue",
        "readers": "Entre lecteurs",
        "reader": "Lecteurs",
        "shared": "Cas lus par les deux",
        "decided": "Les deux disent tumeur ou pas de tumeur",
        "alike": "De même",
        "more_pairs": "Les {shown} paires sur {total} qui partagent le plus de cas.",
        "one_reader": "Aucun cas n'a été lu par deux lecteurs.",
        "method": "Mode de calcul",
        "disagreements": "Désaccords",
        "none": "Aucun.",
        "misses": "Manqués : les lecteurs disent tumeur, l'outil n'a pas signalé ({count})",
        "false_alarms": "Fausses alertes : les lecteurs disent pas de tumeur, l'outil a signalé ou n'a pu évaluer "
        "({count})",
        "contested": "Les lecteurs divergent ({count})",
        "capped": "Les {shown} premiers désaccords sur {total} sont montrés : les cas manqués d'abord.",
        "picture": "{path} ; à droite, là où ils sont connus, les indices du modèle en surimpression",
        "score": "probabilité par rapport au seuil : {score}",
        "no_score": "sans probabilité",
        "opinion": "{doctor} : {diagnosis}, {when}",
        "blind": "en aveugle",
        "note": "note : {note}",
    },
}
