"""``screener model``: models side by side, the one in use, and whether another one may take its place."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from screener.cli.config_file import user_file, with_common
from screener.cli.configured import model_of_configuration
from screener.cli.option_tree import COMMON, options_of
from screener.errors import AuditLogError, ExitCode, ModelError, NothingFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

    from screener.cli.config_file import ConfigFile
    from screener.comparison.figures import Comparison
    from screener.comparison.misses import Miss, Outcome


def list_models(context: typer.Context, *, as_json: bool) -> None:
    """Print every installed model, the one in use marked."""
    from screener.cli.model_text import model_lines
    from screener.model.store import DEFAULT, Location, installed, read_card, sha256_of

    chosen = model_of_configuration(context.find_root()) or DEFAULT
    rows = []
    for name, folder in installed():
        location = Location(folder, folder / "model.onnx")
        row: dict[str, object] = {"name": name, "folder": str(folder), "default": _same(chosen, name, folder)}
        try:
            row |= {"model": read_card(location).title, "model_sha256": sha256_of(location)}
            row |= _promises(location)
        except ModelError as error:
            row |= {"model": None, "model_sha256": None, "problem": str(error)}
        rows.append(row)
    if not any(row["default"] for row in rows):
        rows.append({"name": chosen, "folder": "", "default": True, "model": None, "model_sha256": None})
    lines = [json.dumps(row) for row in rows] if as_json else model_lines(rows)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _same(chosen: str, name: str, folder: Path) -> bool:
    """Say whether a configured name or path means the model in a folder."""
    return chosen == name or (os.sep in chosen and Path(chosen).absolute() in {folder, folder / "model.onnx"})


def _promises(location: object) -> dict[str, object]:
    """Return what a card says of ``auto``: by study where it judges studies, else by slice."""
    from screener.model.store import Location, read_card

    assert isinstance(location, Location)  # noqa: S101 - for the type alone
    card = read_card(location)
    points = card.operating_points if card.study is None else card.study.believed_points()
    point = points.get("auto") or card.operating_points["auto"]
    rates = {"sensitivity": point.sensitivity, "specificity": point.specificity}
    return {
        "created": card.created,
        "certified": point.certified,
        "level": "slice" if card.study is None else "study",
        **{name: None if rate is None else rate.value for name, rate in rates.items()},
    }


def use_model(context: typer.Context, model: str) -> None:
    """Make a model the default of every command, in the configuration file; the model itself is not touched.

    Raises
    ------
    ScreenerError
        There is no such model, it is not what was released, or the file cannot be written.
    """
    from screener.model.session import Model

    loaded = Model.load(model)
    named = model if os.sep not in model else str(Path(model).absolute())
    file: ConfigFile | None = context.find_root().obj
    path = user_file() if file is None else file.path
    if path is None:
        raise UsageError("this user has no home folder for the configuration", "name a file with --config")
    _replace(path, with_common("" if file is None else file.text, "model", named))
    sys.stdout.write(f"{loaded.card.title} is now the default, set in {path}\n")
    _warn_of_others(context, file)


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the rights that it had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as draft:
                draft.write(text)
                os.fchmod(draft.fileno(), mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "check its rights, or name another") from None


def _warn_of_others(context: typer.Context, file: ConfigFile | None) -> None:
    """Say what still wins over the common table: a default that is set and has no effect helps nobody."""
    for option in options_of(context.find_root().command):
        if option.key != "model":
            continue
        names = [name for name in option.variables if os.environ.get(name)]
        if file is not None and "model" in file.tables.get(option.table, {}) and option.table != COMMON:
            names.append(f"[{option.table}] in {file.path}")
        for name in names:
            sys.stderr.write(f"warning: for screener {' '.join(option.command)}, {name} sets another model\n")


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What the options say."""

    threshold: str
    group_by: str
    from_log: bool
    log: Path | None
    json: bool


def compare(models: Sequence[str], source: Path | None, options: CompareOptions) -> ExitCode:
    """Compare two models and print what differs, by study first.

    Raises
    ------
    ScreenerError
        Nothing can be compared; or a log is damaged, and what stands before the damage was compared.
    """
    _require_scipy()
    problem = None
    if options.from_log:
        if models or source is not None:
            raise UsageError("--from-log takes models and studies from the log", "leave the arguments out")
        from screener.audit import default_log
        from screener.comparison.sources import compare_from_log

        found, problem = compare_from_log(options.log or default_log())
    else:
        if len(models) != 2 or source is None:  # noqa: PLR2004 - two models
            raise UsageError(
                "two models and a folder are compared", "give MODEL MODEL DIR, such as: lite mine /mri_inbox"
            )
        found = _compare_models(models, source, options)
    _print(found, as_json=options.json)
    if problem is not None:
        raise problem
    return ExitCode.OK


def _compare_models(models: Sequence[str], source: Path, options: CompareOptions) -> Comparison:
    from screener.comparison.sources import compare_models
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig

    config = ScanConfig.of(threshold=options.threshold, group_by=options.group_by)
    return compare_models(source, [Model.load(model) for model in models], config)


def _print(found: Comparison, *, as_json: bool) -> None:
    from screener.cli.model_text import comparison_lines

    lines = [msgspec.json.encode(found).decode()] if as_json else comparison_lines(found)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _require_scipy() -> None:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(
            "exact tests need more than the base install", "run: pip install 'screener[evaluate]'"
        ) from None


@dataclass(frozen=True, slots=True)
class MissesOptions:
    """What the options say."""

    model: str | None
    threshold: str
    from_log: bool
    log: Path | None
    out: Path | None


def record_misses(source: Path | None, options: MissesOptions) -> ExitCode:
    """Record the tumours that a model missed: hashes and scores, no pictures.

    Raises
    ------
    ScreenerError
        The set or the log cannot be used; or the log is damaged, and what stands before the damage was recorded.
    """
    from screener.comparison.misses import append_misses

    if options.from_log == (source is not None):
        raise UsageError("misses come from a labelled set or from a log", "give SOURCE, or --from-log")
    problem: AuditLogError | None = None
    if source is None:
        from screener.audit import default_log
        from screener.comparison.find_misses import misses_in_log

        found, problem = misses_in_log(options.log or default_log())
    else:
        found = _misses_in_set(source, options)
    file = options.out or default_misses()
    count = append_misses(file, found)
    sys.stdout.write(f"{len(found)} missed studies, {count} of them new in {file}\n")
    if problem is not None:
        raise problem
    return ExitCode.OK


def _misses_in_set(source: Path, options: MissesOptions) -> list[Miss]:
    from screener.comparison.find_misses import misses_in_set
    from screener.comparison.sources import policy_of
    from screener.model.session import Model

    model = Model.load(options.model)
    return misses_in_set(source, model, policy_of(model, options.threshold))


def default_misses() -> Path:
    """Return the user's own file of missed studies.

    Raises
    ------
    UsageError
        This user has no home.
    """
    from screener.model.store import data_folder

    folder = data_folder()
    if folder is None:
        raise UsageError("this user has no home folder for the missed studies", "name a file with --out")
    return folder / "misses" / "misses.jsonl"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the options say."""

    misses: tuple[Path, ...]
    data: Path | None
    threshold: str
    record: bool
    strict: bool
    json: bool


def check(candidate: str, options: CheckOptions) -> ExitCode:
    """Hold a candidate to every recorded miss.

    Returns
    -------
    ExitCode
        ``NOT_ASSESSABLE`` where the pictures of some were not found.

    Raises
    ------
    ModelError
        A miss comes back; with `CheckOptions.strict`, or one is still missed.
    NothingFoundError
        No pictures of any miss were found.
    """
    from screener.cli.model_text import check_lines
    from screener.comparison.misses import append_misses, check_model, find_by_hash, miss_files, read_misses
    from screener.comparison.sources import policy_of
    from screener.model.session import Model

    model = Model.load(candidate)
    files = miss_files(options.misses or _usual_misses(model.location.folder))
    histories = read_misses(files)
    wanted = {one.sha256 for history in histories for one in history.lines[0].slices}
    pixels = {} if options.data is None else find_by_hash(options.data, wanted)
    checked = list(check_model(histories, model, policy_of(model, options.threshold), pixels))
    outcomes = [outcome for outcome, _ in checked]
    lines = (
        [msgspec.json.encode(one).decode() for one in outcomes]
        if options.json
        else check_lines(model.card.title, outcomes)
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if options.record:
        new = [line for _, line in checked if line is not None]
        sys.stderr.write(f"{append_misses(files[-1] if files else default_misses(), new)} answers recorded\n")
    return _judged(outcomes, model.card.title, strict=options.strict)


def _usual_misses(folder: Path) -> list[Path]:
    """Return where misses are recorded: with the candidate, with the model that came along, and with the user."""
    from screener.comparison.misses import FOLDER
    from screener.model.store import locate

    found = [folder / FOLDER]
    with suppress(ModelError):
        found.append(locate().folder / FOLDER)
    with suppress(UsageError):
        found.append(default_misses())
    return [place for place in found if place.exists()]


def _judged(outcomes: Sequence[Outcome], title: str, *, strict: bool) -> ExitCode:
    counts = {
        name: sum(one.outcome == name for one in outcomes) for name in ("comes_back", "still_missed", "not_checked")
    }
    if counts["comes_back"] or (strict and counts["still_missed"]):
        what = f"{counts['comes_back']} missed studies come back, {counts['still_missed']} are still missed"
        raise ModelError(f"{title} may not be released: {what}", "see the list; train or calibrate it again")
    if not outcomes:
        sys.stderr.write("no missed study is recorded: nothing was checked\n")
    elif counts["not_checked"] == len(outcomes):
        raise NothingFoundError("no pictures of any missed study were found", "name their folder with --data")
    return ExitCode.NOT_ASSESSABLE if counts["not_checked"] else ExitCode.OK
