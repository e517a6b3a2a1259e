"""Commands of the training bench. TensorFlow is imported only by the command that needs it."""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from export.errors import DataError, StoppedError, StorageError
from screener.errors import ScreenerError
from screener.model.certificate import LEAST_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Path,
    typer.Option(
        envvar="SCREENER_DATA",
        help="A manifest.csv, a folder with one, or a folder with yes/ and no/ folders.",
        show_default=False,
    ),
]
Run = Annotated[Path, typer.Option("--run", help="Folder of the run: checkpoints, history, groups.csv.")]
TestSources = Annotated[
    list[str] | None, typer.Option(help="A source that only tests; repeatable. Without: an eighth of the groups.")
]

RecallTarget = Annotated[float, typer.Option(min=LEAST_TARGET, max=0.999, help="Sensitivity that `auto` aims at.")]
Demo = Annotated[Path, typer.Option(help="Pictures for the golden scores.")]
Unseen = Annotated[Path | None, typer.Option(help="Folder of pictures that training must not resemble.")]
MaxMinutes = Annotated[float, typer.Option(help="Stop after this long; the same command goes on.")]
Size = Annotated[int | None, typer.Option(help="Side of the input in pixels, instead of the recipe's.")]
Seed = Annotated[int, typer.Option(min=0)]
Weights = Annotated[Path | None, typer.Option(help="ImageNet weights of the recipe's backbone, instead of its own.")]
LeftOut = Annotated[list[str] | None, typer.Option(help="A source, or source:site, to train without; repeatable.")]
Groups = Annotated[Path | None, typer.Option(help="Take the sets from this groups.csv, such as the audit writes.")]
Frozen = Annotated[bool, typer.Option("--frozen", help="Train only what follows the backbone (densenet121).")]
PretrainEpochs = Annotated[
    int, typer.Option(min=0, help="Epochs on slices without labels before the first label (autoencoder).")
]
IgnoreFlips = Annotated[
    bool, typer.Option(help="Leave flipped copies on both sides of the split, to see how wrong figures get.")
]
Resume = Annotated[
    bool, typer.Option("--resume/--restart", help="Go on with what the run's folder holds, or delete that and begin.")
]
Augment = Annotated[list[str] | None, typer.Option(help="Change an augmentation, such as paste=0.1; repeatable.")]
CrossFit = Annotated[Path | None, typer.Option(help="JSON file that cross-fit wrote: it certifies studies by patient.")]


@app.callback()
def bench() -> None:
    """Train, convert and evaluate models for screener."""


@app.command()
def audit(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", envvar="SCREENER_DATA", help="As --data of the others.", show_default=False),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The same, as the other commands take it.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report; it holds pictures of slices.")] = Path("build/audit"),
    groups: Annotated[Path | None, typer.Option(help="Hold the data against this groups.csv, such as a run's.")] = None,
    test_source: TestSources = None,
    unseen: Unseen = None,
    seed: Seed = 1,
    model: Annotated[str | None, typer.Option(help="Whose embedding is checked; by default the shipped one.")] = None,
    cache: Annotated[Path, typer.Option(help="Where framed slices are kept for training.")] = Path("build/runs/cache"),
    summary: Annotated[
        Path | None, typer.Option(help="Also write numbers without pictures, without suffix: .json and .md are added.")
    ] = None,
) -> None:
    """Audit labelled slices before training: copies, conflicts, implausible slices, confounders; writes groups.csv."""
    from export.data.audit import AuditOptions
    from export.data.audit import audit as audit_data
    from export.reports.audit import sentences, write_audit, write_summary

    if data is None and folder is None:
        raise DataError("no data to audit", "name the folder: python -m export audit DATA, or set SCREENER_DATA")
    options = AuditOptions(groups, tuple(test_source or ()), unseen, seed, model)
    audited = audit_data(data or folder or Path(), out, cache, options)
    write_audit(audited, out)
    if summary:
        write_summary(audited.figures, summary)
    print("\n".join([*sentences(audited.figures), f"{out / 'index.html'} shows it"]))


@app.command()
def train(
    data: Data,
    run: Run,
    recipe: Annotated[
        str, typer.Option(help="attention, autoencoder, baseline, densenet121, lite, or module:function.")
    ] = "lite",
    loss: Annotated[str, typer.Option(help="cross-entropy, class-weighted or focal.")] = "cross-entropy",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches an epoch, instead of the recipe's.")] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 32,
    seed: Seed = 1,
    test_source: TestSources = None,
    groups: Groups = None,
    leave_out: LeftOut = None,
    unseen: Unseen = None,
    size: Size = None,
    weights: Weights = None,
    frozen: Frozen = False,
    label_share: Annotated[float, typer.Option(help="Share of the labels to use, to see what more would bring.")] = 1.0,
    pretrain_epochs: PretrainEpochs = 0,
    augment: Augment = None,
    max_minutes: MaxMinutes = math.inf,
    ignore_flips: IgnoreFlips = False,
    resume: Resume = True,
) -> None:
    """Train a recipe, or go on with an interrupted run."""
    _quiet_tensorflow()
    from export.training.loop import restart
    from export.training.loop import train as run_training
    from export.training.options import LOSSES, Options

    if loss not in LOSSES:
        raise DataError(f"no loss is called {loss!r}", f"choose one of {', '.join(LOSSES)}")
    options = Options(
        recipe=recipe,
        loss=next(name for name in LOSSES if name == loss),
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        test_sources=tuple(test_source or ()),
        left_out=tuple(leave_out or ()),
        ignore_flips=ignore_flips,
        size=size,
        weights=str(weights or ""),
        frozen=frozen,
        label_share=label_share,
        pretrain_epochs=pretrain_epochs,
        augmentation=tuple(augment or ()),
        groups=str(groups or ""),
    )
    if not resume:
        restart(run, keep=options.groups)
    pictures = _unseen_pictures(unseen)
    with _stoppable():
        run_training(data, run, options, unseen=pictures, max_minutes=max_minutes)


@app.command()
def convert(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the model to write.")],
    name: Annotated[str, typer.Option(help="Name in the card.")] = "lite",
    version: Annotated[
        str | None,
        typer.Option(help="Version in the card. Default: that of the model of this name in --out, or 0.1.0."),
    ] = None,
    recall_target: RecallTarget = 0.95,
    demo: Demo = Path("docs/demo/inbox"),
    cross_fit: CrossFit = None,
) -> None:
    """Convert a run's best epoch to ONNX, calibrate it, choose its thresholds, certify it and write its card."""
    _quiet_tensorflow()
    from export.release.from_run import release
    from export.release.model_card import verdict
    from export.release.release import Release

    print(f"{out}: {verdict(release(data, run, Release(out, name, version, recall_target, cross_fit), demo))}")


@app.command()
def certify(
    data: Data,
    run: Run,
    model: Annotated[Path, typer.Option(help="Folder of the model; written anew.")],
    version: Annotated[str | None, typer.Option(help="New version; a first calibration changes scores.")] = None,
    recall_target: RecallTarget = 0.95,
    demo: Demo = Path("docs/demo/inbox"),
    cross_fit: CrossFit = None,
) -> None:
    """Calibrate, choose, certify and describe a converted model again, from its graph and its run's groups.csv."""
    _quiet_tensorflow()
    from export.release.model_card import verdict
    from export.release.release import Release, certify_again

    again = Release(model, "", version, recall_target, cross_fit)
    print(f"{model}: {verdict(certify_again(data, run, again, demo))}")


@app.command()
def evaluate(
    data: Data,
    run: Run,
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    source: Annotated[str, typer.Option(help="The test source to evaluate on.")],
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
) -> None:
    """Evaluate a released model on a source that chose nothing."""
    _quiet_tensorflow()
    from export.evaluation.evaluate import evaluate as measure

    _write(out, "evaluation", measure(data, run, model, source))


@app.command()
def leak(
    data: Data,
    leaking: Annotated[Path, typer.Option(help="A run with --ignore-flips.")],
    control: Annotated[Path, typer.Option(help="The same run without.")],
    source: Annotated[str, typer.Option(help="The test source to evaluate on.")],
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
) -> None:
    """Show how wrong figures get when flipped copies of the test slices are trained on."""
    _quiet_tensorflow()
    from export.evaluation.leak import leak as measure

    _write(out, "leak", measure(data, leaking, control, source))


@app.command()
def compare(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json, .md and -sample.csv are added.")],
    slices: Annotated[int, typer.Option(min=100, help="Size of the sample, at most 3000.")] = 1000,
    size: Annotated[int, typer.Option(help="Side of the input in pixels, at most 112.")] = 96,
    epochs: Annotated[int, typer.Option(min=1, help="At most 12.")] = 8,
    seed: Seed = 1,
    test_source: Annotated[
        list[str] | None, typer.Option(help="A source that no recipe learns from; repeatable.")
    ] = None,
    unseen: Unseen = None,
    max_minutes: MaxMinutes = math.inf,
) -> None:
    """Compare every recipe on equal terms: group 5-fold and leave-one-source-out, every cell measured."""
    _quiet_tensorflow()
    from export.evaluation.cross_validation import Terms, prepare
    from export.evaluation.cross_validation import run as measure
    from export.reports.cross_validation import write_report

    terms = Terms(slices, size, epochs, seed, tuple(test_source or ()))
    course = prepare(data, run.parent / "cache", terms, _unseen_pictures(unseen))
    with _stoppable():
        finished = measure(course, run, terms, max_minutes=max_minutes)
    if finished:
        write_report(out, course, run, terms)
        print(out.with_suffix(".md").read_text())


@app.command()
def leave_one_out(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Batches an epoch.")] = 90,
    size: Size = None,
    test_source: Annotated[list[str] | None, typer.Option(help="A source that no training sees; repeatable.")] = None,
    unseen: Unseen = None,
    max_minutes: MaxMinutes = math.inf,
) -> None:
    """Train the shipped recipe without each source and site, and without all restricted ones; evaluate it there."""
    _quiet_tensorflow()
    from export.evaluation.leave_one_out import EXPERIMENTS, Terms
    from export.evaluation.leave_one_out import run as run_experiments
    from export.reports.leave_one_out import gather, write_leave_one_out

    terms = Terms(epochs=epochs, steps=steps, size=size, test_sources=tuple(test_source or ()))
    pictures = _unseen_pictures(unseen)
    with _stoppable():
        finished = run_experiments(data, run, EXPERIMENTS, terms, unseen=pictures, max_minutes=max_minutes)
    if finished:
        write_leave_one_out(out, gather(run, EXPERIMENTS, terms))
        print(out.with_suffix(".md").read_text())


@app.command()
def ablation(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Batches an epoch.")] = 120,
    size: Size = None,
    test_source: Annotated[list[str] | None, typer.Option(help="A source that no training sees; repeatable.")] = None,
    unseen: Unseen = None,
    max_minutes: MaxMinutes = math.inf,
) -> None:
    """Train the shipped recipe with one change at a time and without a hospital; evaluate it on its whole heads."""
    _quiet_tensorflow()
    from export.evaluation.ablation import run as run_changes
    from export.evaluation.leave_one_out import Terms
    from export.reports.ablation import gather, write_ablation

    terms = Terms(epochs=epochs, steps=steps, size=size, test_sources=tuple(test_source or ()))
    pictures = _unseen_pictures(unseen)
    with _stoppable():
        run_changes(data, run, terms, unseen=pictures, max_minutes=max_minutes)
    write_ablation(out, gather(run, terms))


@app.command()
def cross_fit(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Batches an epoch.")] = 120,
    test_source: Annotated[list[str] | None, typer.Option(help="A source that no training sees; repeatable.")] = None,
    unseen: Unseen = None,
    demo: Demo = Path("docs/demo/inbox"),
    max_minutes: MaxMinutes = math.inf,
) -> None:
    """Score every patient by a model that saw no patient of that hospital, and certify the recipe by patient."""
    _quiet_tensorflow()
    from export.evaluation.cross_fit import gather
    from export.evaluation.cross_fit import run as run_folds
    from export.evaluation.leave_one_out import Terms

    terms = Terms(epochs=epochs, steps=steps, test_sources=tuple(test_source or ()))
    pictures = _unseen_pictures(unseen)
    with _stoppable():
        run_folds(data, run, terms, demo, unseen=pictures, max_minutes=max_minutes)
    _write(out, "cross_fit", gather(run, data))


@app.command()
def federated(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, after each of which weights are averaged.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Batches of a round at each hospital.")] = 40,
    size: Size = None,
    proximal: Annotated[float, typer.Option(min=0, help="Weight of FedProx' proximal term.")] = 0.01,
    hospital: Annotated[
        list[str] | None, typer.Option(help="A hospital as source:site; repeatable. Default: the four of tcga.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="As --recipe of train.")] = "lite",
    batch_size: Annotated[int, typer.Option(min=2)] = 32,
    seed: Seed = 1,
) -> None:
    """Train over hospitals without moving images (Flower), and compare with pooled and single-site training."""
    _quiet_tensorflow()
    from export.federated.comparison import compare as compare_federated
    from export.federated.hospital import HOSPITALS, FederatedTerms

    terms = FederatedTerms(rounds, steps, size, proximal, seed, recipe, batch_size)
    with _stoppable():
        found = compare_federated(data, run, terms, tuple(hospital or HOSPITALS))
    _write(out, "federated", found)


@app.command()
def report(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the report; it holds pictures of slices.")],
    part: Annotated[str, typer.Option("--set", help="tune or test: which slices to score.")] = "tune",
) -> None:
    """Show how a run learnt, what it gets wrong, and how it stands up to damage: HTML, PNG and JSON."""
    _quiet_tensorflow()
    from export.reports.run import run_report

    if part not in {"tune", "test"}:
        raise DataError(f"no set to score is called {part!r}", "choose tune or test; certify is not for looking at")
    result = run_report(data, run, out, "test" if part == "test" else "tune")
    print(f"{out / 'index.html'}: AUC {result['figures']['auc']['value']:.3f} on {part}")


@app.command()
def out_of_distribution(
    data: Data,
    run: Run,
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
) -> None:
    """Count what quality control keeps of every source, and what it refuses of everything else."""
    from export.evaluation.out_of_distribution import evaluate_quality_control

    _write(out, "quality_control", evaluate_quality_control(data, run, model))


@app.command()
def whole_heads(
    data: Data,
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    out: Annotated[Path, typer.Option(help="Report to write, without suffix: .json and .md are added.")],
    patients: Annotated[
        Path | None,
        typer.Option(help="Measure the certification set of this patients.csv. Default: the model's own, else all."),
    ] = None,
) -> None:
    """Measure a released model on the whole heads of volumes.csv, within heads and sites."""
    from export.evaluation.whole_heads import whole_heads as measure

    _write(out, "whole_heads", measure(data, model, patients))


def _write(out: Path, template: str, result: dict[str, Any]) -> None:
    """Write a report as JSON and Markdown, and print it."""
    from export.reports.render import write_results

    write_results(out, template, result)
    print(out.with_suffix(".md").read_text())


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C end a command that keeps what it has finished with a sentence, before Typer says "Aborted"."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("stopped", "the same command goes on after the last finished part") from None


def _unseen_pictures(folder: Path | None) -> NDArray[np.uint8] | None:
    """Return the pictures that training must not resemble, framed for comparison: (M, 192, 192); None without any."""
    from export.data.cache import frame_folder
    from export.data.duplicates import GROUPING

    return frame_folder(folder, GROUPING) if folder else None


def _quiet_tensorflow() -> None:
    """Keep TensorFlow's start-up chatter out of the log; its errors still come through.

    And ask for oneDNN's kernels: by default TensorFlow takes them on the newest processors only, and without them a
    training step costs half as much again on others.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def main() -> NoReturn:
    """Run a command; the exception's class decides the exit code."""
    try:
        app(standalone_mode=True)
    except ScreenerError as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        sys.exit(int(error.code))
    except OSError as error:
        result = StorageError.of(error)
        sys.stderr.write(f"error: {result}\nhint: {result.hint}\n")
        sys.exit(int(result.code))
    sys.exit(0)
