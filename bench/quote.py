"""Quote results in the README, between markers, from the files and commands that they come from: ``make readme``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs/results"


def main() -> None:
    """Rewrite the README, or with ``--check`` say whether it is what it would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the README is out of date")
    arguments = parser.parse_args()
    old = README.read_text()
    new = quoted(old)
    if arguments.check and new != old:
        sys.exit("README.md does not quote the current results: run `make readme`")
    if not arguments.check:
        README.write_text(new)


def quoted(text: str) -> str:
    """Return the README with every quotation renewed."""
    quotations = {
        "demo": demo(),
        "kaggle253": evaluation("kaggle253"),
        "leave-one-out": tables("leave-one-out"),
        "leak": tables("leak"),
        "bench": tables("bench"),
        "pages": tables("pages"),
    }
    for name, quotation in quotations.items():
        pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, inner=quotation: f"{found[1]}{inner}\n{found[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"README.md has {count} places for {name!r}, not one")
    return text


def demo() -> str:
    """Screen the demo inbox and return what the terminal shows, without the log's place."""
    screener = Path(sys.executable).with_name("screener")
    with tempfile.TemporaryDirectory() as folder:
        command = [str(screener), "scan", "docs/demo/inbox", "--lang", "en", "--log", f"{folder}/audit.jsonl"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("Log:")]
    return "\n".join(["```", *(line for line in lines if line), "```"])


def evaluation(name: str) -> str:
    """Return the headline and the operating points of an evaluation."""
    text = (RESULTS / f"{name}.md").read_text()
    headline = next(line for line in text.splitlines() if line.startswith("AUC"))
    return "\n".join([headline, "", table(text, 0)])


def tables(name: str) -> str:
    """Return the table of a result file with the line that says how it was measured."""
    text = (RESULTS / f"{name}.md").read_text()
    told = next(line for line in text.splitlines() if line.startswith("Written by"))
    return f"{told}\n\n{table(text, 0)}"


def table(text: str, index: int) -> str:
    """Return the index-th Markdown table of a text."""
    found = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return str(found[index]).rstrip()


if __name__ == "__main__":
    main()
