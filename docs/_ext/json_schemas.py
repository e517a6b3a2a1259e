"""Write the JSON Schemas of all data that cross a boundary, and their field tables, from the structs that declare them.

``python docs/_ext/json_schemas.py docs/schema`` writes the files (``make schema``); in a page of the documentation,
``<!-- fields: NAME -->`` stands for the table of that schema.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLACEHOLDER = re.compile(r"<!-- fields: ([\w-]+) -->")
_LISTED = 8
"""Values of an enumeration that are listed in a table."""
_BOUNDS = {"minimum": "≥ {}", "maximum": "≤ {}", "exclusiveMinimum": "> {}", "exclusiveMaximum": "< {}"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _insert)
    return {"parallel_read_safe": True}


def _insert(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = PLACEHOLDER.sub(lambda found: tables(structs()[found[1]]), source[0])


def structs() -> dict[str, Any]:
    """Return each struct by the name of its schema; a version is part of the name."""
    from screener.audit.schemas import EVENTS
    from screener.comparison.figures import Comparison
    from screener.comparison.misses import Miss
    from screener.evaluate.labelled import LabelledRow
    from screener.model.card import SCHEMA, Card
    from screener.monitor.structs import Report
    from screener.pacs.status import InboxStatus
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.site_profile import SiteProfile
    from screener.queueing.answer import QueueAnswer
    from screener.report.dicom_answer import AnswerLine
    from screener.report.jsonl import SliceLine, StudyLine

    events = {f"event-{kind}-{version}": struct for version, kinds in EVENTS.items() for kind, struct in kinds.items()}
    inputs = {"scan-config": ScanConfig, "labelled-row": LabelledRow}
    inputs |= {"site-profile": SiteProfile, "inbox-status": InboxStatus}
    models = {"comparison": Comparison, "miss": Miss}
    lines = {"slice": SliceLine, "study": StudyLine, "answer": AnswerLine, "monitor": Report, "queue": QueueAnswer}
    return {f"card-{SCHEMA}": Card, **lines, **inputs, **models, **events}


def schema(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a struct
    """Return the JSON Schema of a struct."""
    return {"$schema": DIALECT, **_plain_schema(kind)}


def _plain_schema(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a struct
    return msgspec.json.schema(kind, schema_hook=_as_text)


def _as_text(kind: type) -> dict[str, Any]:
    """Return the schema of a type that JSON has as text."""
    if kind is Path:
        return {"type": "string"}
    raise NotImplementedError(kind)


def description(value: dict[str, Any]) -> str:
    """Return what a field is for; where it may be null, its other type says so."""
    inner = (one.get("description", "") for one in value.get("anyOf", []))
    return str(value.get("description") or next(filter(None, inner), ""))


def write(folder: Path) -> list[Path]:
    """Write a file a struct and return the files; others that lie there are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, kind in structs().items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        files.append(path)
    for path in set(folder.glob("*.json")) - set(files):
        path.unlink()
    return files


def tables(kind: Any) -> str:  # noqa: ANN401 - a struct
    """Return Markdown: a table of the struct's fields, then one of each struct within it."""
    found = _plain_schema(kind)
    definitions = found.get("$defs", {})
    top = _name(found["$ref"]) if "$ref" in found else ""
    objects = {name: one for name, one in definitions.items() if "properties" in one}
    ordered = {top: objects.pop(top), **objects}
    return "\n".join(
        line for name, one in ordered.items() for line in _table(name, one, definitions, first=name == top)
    )


def _table(name: str, one: dict[str, Any], definitions: dict[str, Any], *, first: bool) -> Iterator[str]:
    if not first:
        yield from (f"**{_words(name)}.** {_text(one.get('description', ''))}", "")
    yield "| field | value | meaning |"
    yield "|---|---|---|"
    required = one.get("required", [])
    for field, value in one["properties"].items():
        default = "" if field in required else _default(value)
        yield f"| `{field}` | {_type(value, definitions)}{default} | {_text(description(value))} |"
    yield ""


def _default(value: dict[str, Any]) -> str:
    shown = value.get("default")
    if isinstance(shown, str | bool | int | float) and shown != "":
        return f"; `{json.dumps(shown)}` if left out"
    return "; optional"


def _type(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say in a few words what a value may be."""
    if "anyOf" in value:
        return " or ".join(_type(one, definitions) for one in value["anyOf"])
    if "$ref" in value:
        name = _name(value["$ref"])
        return _enumerated(definitions[name]) if "enum" in definitions[name] else f"*{_words(name)}*"
    if "enum" in value or "const" in value:
        return _enumerated(value)
    return _container(value, definitions) if value.get("type") in {"array", "object"} else _plain(value)


def _container(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    if value["type"] == "array":
        several = value.get("prefixItems", [])
        inner = _type(several[0] if several else value.get("items", {}), definitions)
        return f"list of {len(several)}: {inner}" if several else f"list of {inner}"
    inner = value.get("additionalProperties")
    return f"object: name → {_type(inner, definitions)}" if inner and isinstance(inner, dict) else "object"


def _plain(value: dict[str, Any]) -> str:
    kind = value.get("type", "anything")
    if "minimum" in value and "maximum" in value:
        return f"{kind} from {value['minimum']} to {value['maximum']}"
    bounds = ", ".join(form.format(value[key]) for key, form in _BOUNDS.items() if key in value)
    return f"{kind} {bounds}".rstrip()


def _enumerated(value: dict[str, Any]) -> str:
    allowed = value["enum"] if "enum" in value else [value["const"]]
    return ", ".join(f"`{one}`" for one in allowed) if len(allowed) <= _LISTED else "one of the names in the schema"


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _words(name: str) -> str:
    """Return ``SetCounts`` as ``set counts``; a suffix that only tells structs apart is left out."""
    plain = re.sub(r"(Line|V\d+)$", "", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower()


def _text(text: str) -> str:
    """Escape what ends a cell or begins markup; code stays code."""
    return text.replace("|", r"\|").replace("[", r"\[").replace("]", r"\]").replace("\n", " ").replace("``", "`")


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        print(written)  # noqa: T201 - the answer of a command
