"""Options that several commands share, and those of a scan from the fields of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from screener.pipeline import config_fields as fields


def _option(field: fields.ConfigField, *names: str) -> Any:  # noqa: ANN401 - Typer's own return type
    return typer.Option(*names, min=field.low, max=field.high, help=field.text)


Threshold = Annotated[str, _option(fields.THRESHOLD)]
AcceptUncertified = Annotated[bool, _option(fields.ACCEPT_UNCERTIFIED, "--accept-uncertified")]
Profile = Annotated[Path | None, _option(fields.PROFILE)]
Model = Annotated[str | None, _option(fields.MODEL)]
Log = Annotated[Path | None, _option(fields.LOG)]
Limit = Annotated[int | None, _option(fields.LIMIT)]
Rescan = Annotated[bool, _option(fields.RESCAN, "--rescan")]
OrderedBy = Annotated[str | None, _option(fields.DOCTOR)]
PatientRegex = Annotated[str | None, _option(fields.PATIENT_REGEX)]
Settle = Annotated[float, _option(fields.SETTLE)]
FollowSymlinks = Annotated[bool, _option(fields.FOLLOW_SYMLINKS, "--follow-symlinks")]
Isolate = Annotated[str, _option(fields.ISOLATE)]
Jobs = Annotated[int | None, _option(fields.JOBS)]
Precision = Annotated[str, _option(fields.PRECISION)]
Wait = Annotated[float, _option(fields.WAIT)]
LogGroup = Annotated[str | None, _option(fields.LOG_GROUP)]
Anchor = Annotated[Path | None, _option(fields.ANCHOR)]
FsyncEvery = Annotated[float, _option(fields.FSYNC_EVERY)]
Nice = Annotated[int, _option(fields.NICE)]
Pseudonymise = Annotated[Path | None, _option(fields.PSEUDONYMISE)]
RedactPaths = Annotated[bool, _option(fields.REDACT_PATHS, "--redact-paths")]
Measurements = Annotated[bool, _option(fields.MEASUREMENTS, "--measurements/--no-measurements")]
GroupBy = Annotated[str, _option(fields.GROUP_BY)]
Cluster = Annotated[str | None, _option(fields.CLUSTER)]
MaxFailures = Annotated[int, _option(fields.MAX_FAILURES)]
Shadow = Annotated[str | None, _option(fields.SHADOW)]

Language = Annotated[str | None, typer.Option("--lang", help="en or fr. Default: the locale's.")]
Top = Annotated[int, typer.Option(min=0, help="Rows shown, most urgent first; 0 shows all.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.")]
DicomOut = Annotated[
    Path | None, typer.Option(help="Also write the answers as DICOM into this folder; needs the extra [pacs].")
]
SendTo = Annotated[
    list[str] | None,
    typer.Option("--send", help="Also send the answers there: AET@host:port, or https://pacs/dicom-web; repeatable."),
]
AeTitle = Annotated[str, typer.Option(help="Own AE title towards the PACS.")]
Outbox = Annotated[Path | None, typer.Option(help="Where answers wait to be sent. Default: beside the log.")]
Images = Annotated[Path | None, typer.Option(help="Where the inbox lies now, if it has moved.")]
