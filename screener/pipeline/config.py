"""The configuration of a scan: from the command line, from Python, or from a file; all of it stands in START."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from screener.errors import UsageError
from screener.inbox import Grouping, WalkOptions, patient_pattern
from screener.pipeline import config_fields as fields
from screener.triage import AUTO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from screener.privacy import Pseudonyms


def _meta(field: fields.ConfigField) -> msgspec.Meta:
    return msgspec.Meta(description=field.text, ge=field.low, le=field.high)


class ScanConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an inbox is screened. `of` checks what it is given; each field says what it means in its description."""

    threshold: Annotated[str, _meta(fields.THRESHOLD)] = "auto"
    accept_uncertified: Annotated[bool, _meta(fields.ACCEPT_UNCERTIFIED)] = False
    profile: Annotated[Path, _meta(fields.PROFILE)] | None = None
    model: Annotated[str, _meta(fields.MODEL)] | None = None
    log: Annotated[Path, _meta(fields.LOG)] | None = None
    limit: Annotated[int, _meta(fields.LIMIT)] | None = None
    rescan: Annotated[bool, _meta(fields.RESCAN)] = False
    doctor: Annotated[str, _meta(fields.DOCTOR)] | None = None
    patient_regex: Annotated[str, _meta(fields.PATIENT_REGEX)] | None = None
    settle: Annotated[float, _meta(fields.SETTLE)] = 0.0
    follow_symlinks: Annotated[bool, _meta(fields.FOLLOW_SYMLINKS)] = False
    isolate: Annotated[Literal["risky", "always", "never"], _meta(fields.ISOLATE)] = "risky"
    jobs: Annotated[int, _meta(fields.JOBS)] | None = None
    precision: Annotated[Literal["auto", "fp32", "int8"], _meta(fields.PRECISION)] = "auto"
    wait: Annotated[float, _meta(fields.WAIT)] = 0.0
    log_group: Annotated[str, _meta(fields.LOG_GROUP)] | None = None
    anchor: Annotated[Path, _meta(fields.ANCHOR)] | None = None
    fsync_every: Annotated[float, _meta(fields.FSYNC_EVERY)] = 0.0
    nice: Annotated[int, _meta(fields.NICE)] = 5
    pseudonymise: Annotated[Path, _meta(fields.PSEUDONYMISE)] | None = None
    redact_paths: Annotated[bool, _meta(fields.REDACT_PATHS)] = False
    measurements: Annotated[bool, _meta(fields.MEASUREMENTS)] = True
    group_by: Annotated[str, _meta(fields.GROUP_BY)] = "folder"
    cluster: Annotated[str, _meta(fields.CLUSTER)] | None = None
    max_failures: Annotated[int, _meta(fields.MAX_FAILURES)] = 1000
    shadow: Annotated[str, _meta(fields.SHADOW)] | None = None

    @classmethod
    def from_options(cls, given: Mapping[str, object]) -> ScanConfig:
        """Take a configuration from the options of a command, by their names; see `of`."""
        return cls.of(**{name: given[name] for name in cls.__struct_fields__ if name in given})

    @classmethod
    def of(cls, **values: object) -> ScanConfig:
        """Return a configuration that can be used.

        Parameters
        ----------
        **values
            Fields of this struct; what is left out keeps its default.

        Raises
        ------
        UsageError
            There is no such field, a value is of another type or outside its range, or two fields contradict each
            other.
        """
        for name, value in values.items():
            _check(name, value)
        found = msgspec.convert(values, cls, dec_hook=as_path)
        found.walk_options()
        if found.redact_paths and found.pseudonymise is None:
            raise UsageError("--redact-paths needs a key to rename files with", "add --pseudonymise KEYFILE")
        if found.profile is not None and found.threshold != AUTO:
            raise UsageError(
                f"--profile sets the threshold, and so does --threshold {found.threshold}", "leave one of them out"
            )
        return found

    def walk_options(self) -> WalkOptions:
        """Return how the inbox is searched.

        Raises
        ------
        UsageError
            An expression does not compile, or has not exactly one group.
        """
        return WalkOptions(
            settle=self.settle,
            follow_symlinks=self.follow_symlinks,
            patient_pattern=patient_pattern(self.patient_regex) if self.patient_regex else None,
            grouping=Grouping.read(self.group_by),
        )

    def pseudonyms(self) -> Pseudonyms | None:
        """Read the key of the site; None where nothing is renamed.

        Raises
        ------
        UsageError
            The key file cannot be used.
        """
        if self.pseudonymise is None:
            return None
        from screener.privacy import Pseudonyms

        return Pseudonyms.read(self.pseudonymise, files=self.redact_paths)

    def recorded(self) -> dict[str, object]:
        """Return every field as START records it; of places on this machine, which may name people, only whether given.

        The model stands in START by its hash.
        """
        values = msgspec.structs.asdict(self)
        return {name: value is not None if name in _PLACES else value for name, value in values.items()}


_PLACES = frozenset({"profile", "model", "log", "anchor", "pseudonymise", "shadow"})


@cache
def field_types() -> dict[str, Any]:
    """Return the annotated type of each field, without its ``None``: the range and the meaning are in its metadata."""
    hints = get_type_hints(ScanConfig, include_extras=True)
    return {name: next((one for one in get_args(hint) if _described(one)), hint) for name, hint in hints.items()}


def _described(hint: object) -> bool:
    return hasattr(hint, "__metadata__")


def _check(name: str, value: object) -> None:
    """Check one value, so that the message can name it and say what would be right."""
    kind = field_types().get(name)
    if kind is None:
        raise UsageError(f"a scan has no option {name}", f"choose from {', '.join(ScanConfig.__struct_fields__)}")
    if value is None and getattr(ScanConfig(), name) is None:
        return
    try:
        msgspec.convert(value, kind, dec_hook=as_path)
    except msgspec.ValidationError as error:
        choices = [str(choice) for choice in get_args(get_args(kind)[0])]
        hint = f"choose one of {', '.join(choices)}" if choices else f"its meaning: {kind.__metadata__[0].description}"
        raise UsageError(f"--{name.replace('_', '-')} {value!r}: {error}", hint) from None


def as_path(kind: type, value: Any) -> Any:  # noqa: ANN401 - msgspec asks for whatever it does not know
    """Return text as a path, for msgspec.

    Raises
    ------
    TypeError
        It is no text, or another type is wanted.
    """
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"Expected `path`, got `{type(value).__name__}`")
