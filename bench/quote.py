"""Quote results in the README, between markers, from the files and commands that they come from: ``make readme``."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from screener.evaluate.metrics import exact_interval

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs/results"
ROWS_PER_URGENCY = 1
"""Studies of each urgency that the shortened table shows."""


def main() -> None:
    """Rewrite the README, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the README is out of date")
    arguments = parser.parse_args()
    old = README.read_text("utf-8")
    new = quoted(old)
    if arguments.check and new != old:
        sys.exit("README.md does not quote the current results: run `make readme`")
    if not arguments.check:
        README.write_text(new, "utf-8")


def quoted(text: str) -> str:
    """Return the README with every quotation renewed."""
    for name, quotation in {"demo": demo(), "figures": figures()}.items():
        pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, inner=quotation: f"{found[1]}{inner}\n{found[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"README.md has {count} places for {name!r}, not one")
    return text


def demo() -> str:
    """Screen the demo inbox and return the shortened table with the lines below it."""
    screener = Path(sys.executable).with_name("screener")
    with tempfile.TemporaryDirectory() as folder:
        command = [str(screener), "scan", "docs/demo/inbox", "--lang", "en", "--log", f"{folder}/audit.jsonl"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("Log:")]
    return "\n".join(["```", *shortened([line for line in lines if line]), "```"])


def shortened(lines: list[str]) -> list[str]:
    """Keep the first rows of each urgency, and "…" where rows were left out."""
    kept: list[str] = []
    shown: dict[str, int] = {}
    for line in lines:
        found = re.match(r" (HIGH|MEDIUM|REVIEW|LOW) ", line)
        if found:
            shown[found[1]] = shown.get(found[1], 0) + 1
        if found is None or shown[found[1]] <= ROWS_PER_URGENCY:
            kept.append(line)
        elif kept[-1] != " …":
            kept.append(" …")
    return kept


def figures() -> str:
    """Return five figures as a table with a link to each page."""
    evaluation, heads, speed = _results("kaggle253"), _results("whole-heads"), _results("bench")
    unseen = _results("cross-fit")
    auto = evaluation["operating_points"]["auto"]
    rows = (
        (
            "patients of a hospital that the recipe never saw, by study at `auto`: sensitivity; specificity",
            f"{_rate(_detected(unseen['certificate']))}; {_rate(unseen['specificity'])}",
            "cross-fit",
        ),
        (
            "covariate-adjusted AUC of slices in context, at hospitals that the recipe never saw",
            "; ".join(f"{name} {_areas(unseen, f'tcga_lgg {name}')}" for name in ("FLAIR", "T1ce")),
            "cross-fit",
        ),
        (
            "the same of the shipped model, on patients that chose nothing",
            "; ".join(
                f"{name} {heads['adjusted'][f'tcga_lgg {name}']['in_context']:.3f} "
                f"({heads['adjusted'][f'tcga_lgg {name}']['patients']} patients)"
                for name in ("FLAIR", "T1ce")
            ),
            "whole-heads",
        ),
        (
            "AUC, sensitivity and specificity by slice at `auto`, on a source that chose nothing",
            f"{_interval(evaluation['auc'])}; {_rate(auto['sensitivity'])}; {_rate(auto['specificity'])}",
            "kaggle253",
        ),
        (
            f"speed and peak memory on {speed['machine']['cores']} cores",
            f"{speed['screener']['log and table']:.0f} slices/s, {speed['peak_memory_mb']:.0f} MB",
            "bench",
        ),
    )
    table = [f"| {what} | {value} | [{name}](docs/results/{name}.md) |" for what, value, name in rows]
    return "\n".join(["| what | measured | page |", "|---|---|---|", *table])


def _detected(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return the sensitivity by patient, with its exact interval."""
    sites = certificate["sites"].values()
    hits, count = (sum(site[key] for site in sites) for key in ("hits", "count"))
    low, high = exact_interval(hits, count)
    return {"value": hits / count, "low": low, "high": high, "hits": hits, "count": count}


def _areas(unseen: dict[str, Any], name: str) -> str:
    """Return the adjusted AUC of each hospital left out that has such series."""
    found = [(fold["left_out"][0], fold["adjusted"].get(name)) for fold in unseen["folds"].values()]
    shown = [(place.rpartition(":")[2], row) for place, row in found if row]
    return ", ".join(f"{row['in_context']:.3f} ({place}, {row['patients']} patients)" for place, row in shown)


def _results(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def _rate(figure: dict[str, float]) -> str:
    return f"{_interval(figure)[:-1]}; {figure['hits']}/{figure['count']})"


if __name__ == "__main__":
    main()
