"""The JSON Schemas in ``docs/schema`` and the field tables of the documentation come from the structs, and are true."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from screener.audit import Kind, read
from screener.audit.schemas import EVENTS, REQUIRED

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    """Load the Sphinx extension, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("json_schemas", ROOT / "docs/_ext/json_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


json_schemas = load()
STRUCTS: dict[str, Any] = json_schemas.structs()


def test_the_schemas_are_current_run_make_schema_otherwise(tmp_path: Path) -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in json_schemas.write(tmp_path)}
    shipped = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/schema").glob("*.json")}
    assert shipped == written


def test_what_is_no_schema_any_more_is_removed(tmp_path: Path) -> None:
    (tmp_path / "former.json").write_text("{}")
    assert not [path for path in json_schemas.write(tmp_path) if path.name == "former.json"]
    assert not (tmp_path / "former.json").exists()


def properties(name: str) -> dict[str, Any]:
    """Return the fields of a schema as it lies there."""
    found = json.loads((ROOT / f"docs/schema/{name}.json").read_text(encoding="utf-8"))
    definition: dict[str, Any] = found["$defs"][found["$ref"].rsplit("/", 1)[-1]]
    return definition["properties"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_says_what_it_is_for(name: str) -> None:
    found = json.loads((ROOT / f"docs/schema/{name}.json").read_text(encoding="utf-8"))
    assert found["$schema"] == json_schemas.DIALECT
    for title, one in found["$defs"].items():
        for field, value in one.get("properties", {}).items():
            assert json_schemas.description(value), f"{title}.{field}"


@pytest.mark.parametrize("name", STRUCTS)
def test_tables_name_every_field_once_and_break_no_row(name: str) -> None:
    text = json_schemas.tables(STRUCTS[name])
    first = text.split("\n\n")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", first, re.MULTILINE) == list(properties(name))
    for row in text.splitlines():
        assert not row.startswith("|") or row.replace(r"\|", "").count("|") == 4, row


def test_the_pages_ask_for_schemas_that_exist_and_for_all_of_them() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md")]
    asked = {name for page in pages for name in json_schemas.PLACEHOLDER.findall(page)}
    assert asked == set(STRUCTS)
    source = ["before\n<!-- fields: slice -->\nafter"]
    json_schemas._insert(None, "page", source)
    assert "| `sha256` |" in source[0]
    assert source[0].startswith("before\n| field")


def test_types_are_told_in_words() -> None:
    text = json_schemas.tables(STRUCTS["card-2"])
    for row in (
        "| `size` | integer from 32 to 1024 |",
        '| `crop` | `head`, `none`; `"none"` if left out |',
        "| `study` | *study section* or null; optional |",
        "| `scale` | number > 0 |",
    ):
        assert row in text
    assert "one of the names in the schema or null" in json_schemas.tables(STRUCTS["slice"])


def test_recorded_logs_are_what_their_schemas_say() -> None:
    """Of every version; the schemas of the log would else be prose."""
    kinds = set()
    for event in read(ROOT / "tests/data/audit/schema-1.jsonl"):
        assert msgspec.convert(event, EVENTS[event["schema"]][event["event"]])
        kinds.add((event["schema"], event["event"]))
    example = re.search(
        r"^```jsonl\n(.*?)^```$", (ROOT / "docs/reference/log.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert example is not None
    for text in example[1].splitlines():
        event = json.loads(text)
        msgspec.convert(event, EVENTS[event["schema"]][event["event"]])
        kinds.add((event["schema"], event["event"]))
    unwritten = {"RECOVERED", "RECEIVED", "DELETED", "SENT", "ALERT"}
    assert {(2, kind) for kind in Kind} - kinds == {(2, kind) for kind in unwritten}
    assert {(1, kind) for kind in REQUIRED[1]} <= kinds
