"""README and documentation name what exists: commands, options, make targets, exit codes, paths and links."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from screener.cli.main import app
from screener.cli.option_tree import leaves
from screener.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
OF_SCAN = set(ExitCode) - {ExitCode.NOT_SHOWN, ExitCode.NOT_SENT, ExitCode.ALARM}
"""What a scan may return; those left out are of ``evaluate``, ``calibrate``, ``send`` and ``monitor --alert``."""
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))
GUIDES = [page for page in PAGES if page.parent.name != "results" and page.name != "CHANGELOG.md"]
MAKE_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
COMMANDS: dict[str, Any] = {" ".join(path): command for path, command in leaves(typer.main.get_command(app))}
"""Every command that does something, by the words that call it."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST write them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands_in(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of screener that a page shows as code, each with its options."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^ *```(?:sh|)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose(page))
    call = re.compile(r"(?:^|[ /])screener ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?\b(.*)")
    found = [call.search(line.split(" #")[0]) for line in shown]
    return [(_command(match[1], match[2]), re.findall(r"(?<!\S)--[a-z][a-z-]*", match[3])) for match in found if match]


def _command(first: str, second: str | None) -> str:
    """Return the words of a command: two where the first names a group."""
    return first if first in COMMANDS or second is None else f"{first} {second}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for command, options in commands_in(page):
        assert command in COMMANDS, command
        known = {option for param in COMMANDS[command].params for option in param.opts} | {"--help"}
        assert set(options) <= known, (command, set(options) - known)


def test_the_pages_show_commands() -> None:
    shown = {command for page in GUIDES for command, _ in commands_in(page)}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE)
    assert {target for pair in named for target in pair if target} <= MAKE_TARGETS


def test_the_workflow_calls_make_targets() -> None:
    steps = re.findall(r"- run: (.*)", (ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert steps
    assert {step.removeprefix("make ") for step in steps} <= MAKE_TARGETS


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_paths_in_code_exist(page: Path) -> None:
    """Paths below the folders of the repository; ``<name>`` and ``mine`` stand for what a reader chooses."""
    for path in re.findall(r"`((?:screener|export|tests|docs|models|bench)/[\w./-]+)(?:::\w+)?`", prose(page)):
        assert (ROOT / path).exists() or "mine" in path, path


@pytest.mark.parametrize("page", ["docs/reference/exit-codes.md", "docs/how-to/operations.md"])
def test_every_exit_code_of_scan_is_listed(page: str) -> None:
    listed = re.findall(r"^\| ([\d, ]+) \| ", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert {int(code) for row in listed for code in row.split(",")} == OF_SCAN


def test_the_exit_code_of_evaluate_is_named() -> None:
    text = (ROOT / "docs/reference/exit-codes.md").read_text("utf-8")
    assert f"`screener evaluate --require` adds {int(ExitCode.NOT_SHOWN)}:" in text
    assert f"`screener monitor --alert` adds {int(ExitCode.ALARM)}:" in text


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_reference_lists_every_command_and_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/_ext")
    import command_tree

    try:
        text = command_tree.markdown()
    finally:
        del sys.modules["command_tree"]
    assert command_tree.PLACEHOLDER in (ROOT / f"docs/{command_tree.PAGE}.md").read_text("utf-8")
    for name, command in COMMANDS.items():
        section = text.split(f"### {name}\n")[1].split("### ")[0]
        for option in (option for param in command.params for option in param.opts if option.startswith("--")):
            assert re.search(rf"^`[^`]*{option}\b", section, re.MULTILINE), option


def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
    parts = [
        path for name in ("screener", "export") for path in (ROOT / name).iterdir() if (path / "__init__.py").exists()
    ]
    assert parts
    for part in parts:
        name = name_of(part)
        assert f"`{name}/" in text, name


def test_the_picture_of_the_architecture_is_of_its_source() -> None:
    source = (ROOT / "docs/explanation/architecture.mmd").read_bytes()
    picture = (ROOT / "docs/explanation/architecture.svg").read_text("utf-8")
    assert picture.endswith(f"<!-- architecture.mmd {hashlib.sha256(source).hexdigest()} -->\n"), "run `make diagram`"
