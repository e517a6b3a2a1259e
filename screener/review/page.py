"""The review page as markup and in words, in English and French."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from screener.domain.verdict import Diagnosis
from screener.messages import NOTICE
from screener.report.messages import EVIDENCE
from screener.report.page import text
from screener.review.verdicts import NOTE_LIMIT

if TYPE_CHECKING:
    from screener.messages import Language

KEYS = {Diagnosis.TUMOUR: "t", Diagnosis.NO_TUMOUR: "n", Diagnosis.UNSURE: "u", Diagnosis.BAD_IMAGE: "b"}
"""Keys of the page and letters of the terminal."""

DIAGNOSIS: dict[Language, dict[Diagnosis, str]] = {
    "en": {
        Diagnosis.TUMOUR: "Tumour",
        Diagnosis.NO_TUMOUR: "No tumour",
        Diagnosis.UNSURE: "Unsure",
        Diagnosis.BAD_IMAGE: "Bad image",
    },
    "fr": {
        Diagnosis.TUMOUR: "Tumeur",
        Diagnosis.NO_TUMOUR: "Pas de tumeur",
        Diagnosis.UNSURE: "Incertain",
        Diagnosis.BAD_IMAGE: "Image mauvaise",
    },
}

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Review",
        "slice": "Slice",
        "tool": "What the tool says",
        "verdict": "Your verdict",
        "note": "Note",
        "heatmap": "Heatmap",
        "back": "Back",
        "forward": "Forward",
        "reset": "Reset view",
        "again": "Look for new studies",
        "patient": "Patient",
        "study": "Study",
        "file": "File",
        "position": "Slice {number} of {total} {series}",
        "next_key": "Next key slice",
        "only": "Verdict on this slice only",
        "only_hint": "The study stays on the list until it has a verdict of its own.",
        "slice_given": "Verdict on this slice: {verdict}",
        "earlier": "Earlier verdict",
        "earlier_given": "{verdict} ({doctor}), on an earlier answer about this study",
        "judged": "Screened",
        "probability": "Probability and threshold",
        "reason": "Reason",
        "model": "Model",
        "reader": "Reader",
        "progress": "{done} of {total} read",
        "unasked": "{count} studies or slices that were not flagged are not asked about here",
        "blind": "Blind: what the tool says is shown after your verdict",
        "drawn": "Asked because",
        "sampled": "Not flagged; drawn at random, so that misses are found",
        "given": "Verdict given: {verdict} ({doctor}). Another one corrects it; both stay in the log.",
        "saving": "Recording …",
        "saved": "Recorded: {verdict}",
        "failed": "Not recorded: {error} Give it again.",
        "nothing": "Nothing is waiting. Studies that were not flagged keep their usual reading.",
        "offline": "The server does not answer: start `screener review` again. What was recorded is in the log.",
        "wrong_token": "This address is not valid, or no longer: open the one that `screener review` printed last.",
        "moved": "No picture: the file has moved or changed.",
        "unreadable": "No picture: the file cannot be shown.",
        "no_heat": "No heatmap: the model that judged this slice is not at hand, or has none.",
        "hidden": "Hidden until the verdict is given.",
        "canvas": "The slice. Drag: contrast and brightness. Wheel: next slice. Ctrl and wheel: zoom. "
        "Shift and drag: move.",
        "keys_view": "[ ] slice, x key slice; a d contrast, w s brightness, + − zoom, arrows move, r reset, "
        "space heatmap",
        "keys_go": "j k forward, back; Enter next unread; l this slice only; m note, Esc leaves it",
        "not_scored": "not scored",
        "window": "Window {width}, level {level}, zoom {zoom}",
        "next": "Next unread",
    },
    "fr": {
        "title": "Relecture",
        "slice": "Coupe",
        "tool": "Ce que dit l'outil",
        "verdict": "Votre verdict",
        "note": "Note",
        "heatmap": "Carte de chaleur",
        "back": "Précédente",
        "forward": "Suivante",
        "reset": "Vue initiale",
        "again": "Chercher de nouveaux examens",
        "patient": "Patient",
        "study": "Examen",
        "file": "Fichier",
        "position": "Coupe {number} sur {total} {series}",
        "next_key": "Coupe clé suivante",
        "only": "Verdict sur cette coupe seulement",
        "only_hint": "L'examen reste dans la liste jusqu'à ce qu'il ait son propre verdict.",
        "slice_given": "Verdict sur cette coupe : {verdict}",
        "earlier": "Verdict antérieur",
        "earlier_given": "{verdict} ({doctor}), sur une réponse antérieure au sujet de cet examen",
        "judged": "Analysée",
        "probability": "Probabilité et seuil",
        "reason": "Motif",
        "model": "Modèle",
        "reader": "Lecteur",
        "progress": "{done} lues sur {total}",
        "unasked": "{count} examens ou coupes non signalés ne sont pas demandés ici",
        "blind": "En aveugle : l'avis de l'outil s'affiche après votre verdict",
        "drawn": "Demandée car",
        "sampled": "Non signalée ; tirée au sort pour que les oublis soient trouvés",
        "given": "Verdict donné : {verdict} ({doctor}). Un autre le corrige ; les deux restent au journal.",
        "saving": "Enregistrement …",
        "saved": "Enregistré : {verdict}",
        "failed": "Non enregistré : {error} Redonnez-le.",
        "nothing": "Rien n'attend. Les examens non signalés gardent leur lecture habituelle.",
        "offline": "Le serveur ne répond pas : relancez `screener review`. Ce qui est enregistré est au journal.",
        "wrong_token": "Cette adresse n'est pas ou plus valable : ouvrez la dernière affichée par `screener review`.",
        "moved": "Sans image : le fichier a été déplacé ou modifié.",
        "unreadable": "Sans image : le fichier ne peut pas être affiché.",
        "no_heat": "Sans carte : le modèle qui a évalué cette coupe manque, ou n'en a pas.",
        "hidden": "Caché jusqu'au verdict.",
        "canvas": "La coupe. Glisser : contraste et luminosité. Molette : coupe suivante. Ctrl et molette : zoom. "
        "Maj et glisser : déplacer.",
        "keys_view": "[ ] coupe, x coupe clé ; a d contraste, w s luminosité, + − zoom, flèches déplacer, "
        "r vue initiale, espace carte",
        "keys_go": "j k suivante, précédente ; Entrée prochaine non lue ; l cette coupe seulement ; "
        "m note, Échap la quitte",
        "not_scored": "sans score",
        "window": "Fenêtre {width}, niveau {level}, zoom {zoom}",
        "next": "Prochaine non lue",
    },
}


def words(lang: Language) -> dict[str, str]:
    """Return what the page says, by what it is for; verdicts by their name in the log."""
    return _WORDS[lang] | {diagnosis.value: label for diagnosis, label in DIAGNOSIS[lang].items()}


def markup(lang: Language) -> str:
    """Return the page; it holds nothing about any patient."""
    labels = {name: text(value) for name, value in _WORDS[lang].items()}
    # "<" is the only letter by which text could leave a script element.
    messages = json.dumps(words(lang)).replace("<", "\\u003c")
    buttons = "".join(
        f'<button type="button" class="verdict" data-diagnosis="{diagnosis.value}" aria-pressed="false" disabled>'
        f"{text(DIAGNOSIS[lang][diagnosis])} <kbd>{key}</kbd></button>"
        for diagnosis, key in KEYS.items()
    )
    return (
        f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="dark">\n'
        f'<title>{labels["title"]} – screener</title>\n<link rel="icon" href="data:,">\n'
        '<link rel="stylesheet" href="review.css">\n</head>\n<body>\n'
        f'<header><h1>{labels["title"]}</h1><span id="doctor"></span><span id="progress" role="status"></span>'
        f'<span id="unasked"></span><span id="blind" hidden>{labels["blind"]}</span></header>\n'
        '<p id="trouble" role="alert" hidden></p>\n<main aria-busy="true">\n'
        f'<section class="stage" aria-label="{labels["slice"]}"><canvas id="canvas" tabindex="0" role="img" '
        f'aria-label="{labels["canvas"]}"></canvas><p id="missing" hidden></p>'
        '<p class="stack" id="stack" hidden><span id="position"></span>'
        f'<input type="range" id="slider" min="0" value="0" aria-label="{labels["slice"]}">'
        f'<button type="button" id="key">{labels["next_key"]} <kbd>x</kbd></button></p>'
        f'<p class="view"><span id="window"></span><button type="button" id="heat" aria-pressed="false">'
        f'{labels["heatmap"]}</button><button type="button" id="reset">{labels["reset"]}</button></p></section>\n'
        f'<section class="side" aria-label="{labels["verdict"]}">\n<dl id="facts"></dl>\n'
        f'<div id="tool" hidden><h2>{labels["tool"]}</h2><p id="advice"></p><dl id="opinion"></dl>'
        f'<p class="soft">{text(EVIDENCE[lang])}</p></div>\n'
        f'<h2>{labels["verdict"]}</h2>\n<div class="verdicts">{buttons}</div>\n'
        f'<p id="one" hidden><label><input type="checkbox" id="only"> {labels["only"]} <kbd>l</kbd></label> '
        f'<span class="soft">{labels["only_hint"]}</span></p>\n'
        f'<label for="note">{labels["note"]}</label>\n<textarea id="note" rows="3" maxlength="{NOTE_LIMIT}" '
        'autocomplete="off" spellcheck="false"></textarea>\n<p id="state" role="status"></p>\n'
        f'<p class="go"><button type="button" id="back">{labels["back"]} <kbd>k</kbd></button>'
        f'<button type="button" id="forward">{labels["forward"]} <kbd>j</kbd></button>'
        f'<button type="button" id="next">{labels["next"]} <kbd>↵</kbd></button>'
        f'<button type="button" id="again">{labels["again"]}</button></p>\n'
        f'<p class="soft">{labels["keys_view"]}<br>{labels["keys_go"]}</p>\n</section>\n</main>\n'
        f"<footer>{text(NOTICE[lang])}</footer>\n"
        f'<script type="application/json" id="words">{messages}</script>\n<script src="review.js"></script>\n'
        "</body>\n</html>\n"
    )
