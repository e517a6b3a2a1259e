"""The command ``screener``."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from screener import __version__
from screener.cli import options, service_options  # noqa: TC001 - Typer reads the annotations at run time
from screener.cli.configured import ConfiguredGroup, model_of_configuration
from screener.cores import share_out_slices_only
from screener.errors import ExitCode, ScreenerError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

app = typer.Typer(
    name="screener",
    cls=ConfiguredGroup,
    help="Batch triage of brain MRI: says which patients a radiologist should look at first. "
    "A decision aid, not a diagnosis.",
    no_args_is_help=True,
    # Either would import rich at start-up, which triples the time to --help.
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(
    name="config",
    help="Show what is configured and where, or print a configuration file to begin with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app)
model_app = typer.Typer(
    name="model",
    help="List and compare models, choose the one in use, and hold a candidate to what earlier models missed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(model_app)


def _version(context: typer.Context, requested: bool) -> None:
    """Print tool and model; read from the card alone, so that the answer is instant."""
    if requested:
        from screener.model.store import locate, read_card

        try:
            model = read_card(locate(model_of_configuration(context))).title
        except ScreenerError as error:
            model = f"unavailable ({error})"
        typer.echo(f"screener {__version__} · model {model}")
        raise typer.Exit


@app.callback()
def screener(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print tool and model, then exit.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="SCREENER_CONFIG",
            is_eager=True,
            help="Configuration file. Default: screener/screener.toml in the user's configuration folder, else "
            "/etc/screener/screener.toml.",
        ),
    ] = None,
) -> None:
    """Batch triage of brain MRI: says which patients a radiologist should look at first."""


@config_app.command("show")
def config_show(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="Only this command, such as scan.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what does not have its default.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of TOML.")] = False,
) -> None:
    """Print the value of every option and where it comes from: a variable, a line of the file, or the default.

    Exit codes: 0 shown; 2 the file or a variable cannot be used.
    """
    from screener.cli.config import show

    show(context, command, changed=changed, as_json=json)


@config_app.command("template")
def config_template(context: typer.Context) -> None:
    """Print a configuration file in which every option stands, commented out, with its meaning and default."""
    from screener.cli.config import template

    template(context)


@model_app.command("list")
def model_list(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of the list.")] = False,
) -> None:
    """List the models that can be named, and mark the one in use.

    Exit codes: 0 listed; 2 usage.
    """
    from screener.cli.model import list_models

    list_models(context, as_json=json)


@model_app.command("use")
def model_use(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of a model, a model folder or an ONNX file.")],
) -> None:
    """Make a model the default of every command, in the configuration file; the model itself is not touched.

    Exit codes: 0 set; 2 usage, or the file cannot be written; 7 there is no such model, or it is not the released one.
    """
    from screener.cli.model import use_model

    use_model(context, model)


@model_app.command("compare")
def model_compare(
    first: Annotated[str | None, typer.Argument(help="The model in use.")] = None,
    second: Annotated[str | None, typer.Argument(help="The candidate.")] = None,
    source: Annotated[
        Path | None, typer.Argument(help="Folder as scan takes it; or labelled, as evaluate takes it.")
    ] = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Compare what scan --shadow recorded; verdicts are the labels.")
    ] = False,
    log: options.Log = None,
    threshold: options.Threshold = "auto",
    group_by: options.GroupBy = "folder",
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the text.")] = False,
) -> None:
    """Let two models judge the same studies, and show every study whose decision changes.

    Exit codes: 0 compared; 2 usage; 3 nothing to compare; 6 no log, or a damaged one; 7 model.
    """
    from screener.cli.model import CompareOptions, compare

    models = [model for model in (first, second) if model is not None]
    raise typer.Exit(compare(models, source, CompareOptions(threshold, group_by, from_log, log, json)))


@model_app.command("misses")
def model_misses(
    source: Annotated[Path | None, typer.Argument(help="Labelled slices, as evaluate takes them.")] = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Tumours by the verdicts in the log that were not flagged.")
    ] = False,
    log: options.Log = None,
    model: options.Model = None,
    threshold: options.Threshold = "auto",
    out: Annotated[
        Path | None, typer.Option(help="File to append to. Default: screener/misses in the user's data folder.")
    ] = None,
) -> None:
    """Record the studies with a tumour that a model missed: hashes and scores, no pictures.

    Exit codes: 0 recorded; 2 usage; 3 nothing to measure; 6 no log, or a damaged one; 7 model.
    """
    from screener.cli.model import MissesOptions, record_misses

    raise typer.Exit(record_misses(source, MissesOptions(model, threshold, from_log, log, out)))


@model_app.command("check")
def model_check(
    candidate: Annotated[str, typer.Argument(help="Name of a model, a model folder or an ONNX file.")],
    data: Annotated[Path | None, typer.Option(help="Folder in which the pictures are found by their hash.")] = None,
    misses: Annotated[
        list[Path] | None,
        typer.Option(help="File or folder of recorded misses; repeatable. Default: the models' own and the user's."),
    ] = None,
    threshold: options.Threshold = "auto",
    record: Annotated[bool, typer.Option("--record", help="Append what the candidate said to the last file.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Also refuse what no model has found yet.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of the list.")] = False,
) -> None:
    """Hold a candidate to every recorded miss: one that another model found must not come back.

    Exit codes: 0 none comes back; 2 usage; 3 no pictures found; 4 the pictures of some were not found; 7 a miss comes
    back, or the model cannot be used.
    """
    from screener.cli.model import CheckOptions, check

    raise typer.Exit(check(candidate, CheckOptions(tuple(misses or ()), data, threshold, record, strict, json)))


@app.command()
def scan(
    context: typer.Context,
    inbox: Annotated[Path, typer.Argument(help="Folder of DICOM files, or of JPEG and PNG slices; a folder a study.")],
    threshold: options.Threshold = "auto",
    accept_uncertified: options.AcceptUncertified = False,
    profile: options.Profile = None,
    model: options.Model = None,
    log: options.Log = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on stdout instead of the table.")
    ] = False,
    top: options.Top = 50,
    limit: options.Limit = None,
    rescan: options.Rescan = False,
    doctor: options.OrderedBy = None,
    lang: options.Language = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No table and no progress: the log and the exit code tell.")
    ] = False,
    no_color: options.NoColor = False,
    patient_regex: options.PatientRegex = None,
    settle: options.Settle = 0.0,
    follow_symlinks: options.FollowSymlinks = False,
    isolate: options.Isolate = "risky",
    jobs: options.Jobs = None,
    precision: options.Precision = "auto",
    wait: options.Wait = 0.0,
    log_group: options.LogGroup = None,
    anchor: options.Anchor = None,
    fsync_every: options.FsyncEvery = 0.0,
    nice: options.Nice = 5,
    pseudonymise: options.Pseudonymise = None,
    redact_paths: options.RedactPaths = False,
    measurements: options.Measurements = True,
    group_by: options.GroupBy = "folder",
    cluster: options.Cluster = None,
    max_failures: options.MaxFailures = 1000,
    shadow: options.Shadow = None,
    level: Annotated[
        str | None, typer.Option(help="study, slice or both. Default: studies in the table, both with --json.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen to every path, and why.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write the worklist as a page to open in a browser.")] = None,
    dicom_out: options.DicomOut = None,
    send: options.SendTo = None,
    ae_title: options.AeTitle = "SCREENER",
    outbox: options.Outbox = None,
) -> None:
    """Screen an inbox and show what to read first.

    Exit codes: 0 everything screened; 1 crash; 2 usage; 3 nothing found; 4 some studies not assessable, or files
    that could not be read; 5 some files still being written; 6 audit log; 7 model, or auto is not certified;
    8 interrupted; 10 the cluster.
    """
    given = dict(locals())
    from screener.cli.scan import run_command

    raise typer.Exit(run_command(given))


@app.command()
def listen(
    context: typer.Context,
    inbox: Annotated[Path, typer.Argument(help="Folder of this service; each study gets a folder in it.")],
    port: service_options.Port = 11112,
    host: service_options.Host = "127.0.0.1",
    ae_title: service_options.AeTitle = "SCREENER",
    calling_ae: service_options.CallingAe = None,
    calling_address: service_options.CallingAddress = None,
    quiet_period: service_options.QuietPeriod = 60.0,
    on_release: service_options.OnRelease = False,
    associations: service_options.Associations = 16,
    timeout: service_options.Timeout = 60.0,
    min_free: service_options.MinFree = 1024,
    keep_days: service_options.KeepDays = None,
    tls_cert: service_options.TlsCert = None,
    tls_key: service_options.TlsKey = None,
    tls_ca: service_options.TlsCa = None,
    report: service_options.Page = None,
    unanswered_after: service_options.UnansweredAfter = 15.0,
    json: service_options.Results = False,
    health: service_options.Health = None,
    lang: options.Language = None,
    threshold: options.Threshold = "auto",
    accept_uncertified: options.AcceptUncertified = False,
    profile: options.Profile = None,
    model: options.Model = None,
    log: options.Log = None,
    doctor: options.OrderedBy = None,
    isolate: options.Isolate = "risky",
    jobs: options.Jobs = None,
    wait: service_options.Wait = 30.0,
    log_group: options.LogGroup = None,
    anchor: options.Anchor = None,
    fsync_every: options.FsyncEvery = 0.0,
    nice: options.Nice = 5,
    pseudonymise: options.Pseudonymise = None,
    redact_paths: options.RedactPaths = False,
    measurements: options.Measurements = True,
    dicom_out: options.DicomOut = None,
    send: options.SendTo = None,
    outbox: options.Outbox = None,
) -> None:
    """Receive MR studies by the DICOM network and screen each once it is complete; needs the extra [pacs].

    An instance is acknowledged when it is safely on the disk. Other classes are accepted and dropped. Exit codes:
    0 stopped by a signal; 2 usage, or the port is taken; 3 no such folder; 6 audit log; 7 model.
    """
    given = dict(locals())
    from screener.cli.listen import run_command

    raise typer.Exit(run_command(given))


@app.command()
def watch(
    context: typer.Context,
    inbox: Annotated[Path, typer.Argument(help="Folder that studies are copied into; a folder a study.")],
    quiet_period: service_options.QuietPeriod = 60.0,
    poll: Annotated[bool, typer.Option("--poll", help="Compare listings: for shares that tell of no changes.")] = False,
    report: service_options.Page = None,
    unanswered_after: service_options.UnansweredAfter = 15.0,
    json: service_options.Results = False,
    health: service_options.Health = None,
    lang: options.Language = None,
    threshold: options.Threshold = "auto",
    accept_uncertified: options.AcceptUncertified = False,
    profile: options.Profile = None,
    model: options.Model = None,
    log: options.Log = None,
    doctor: options.OrderedBy = None,
    patient_regex: options.PatientRegex = None,
    follow_symlinks: options.FollowSymlinks = False,
    isolate: options.Isolate = "risky",
    jobs: options.Jobs = None,
    wait: service_options.Wait = 30.0,
    log_group: options.LogGroup = None,
    anchor: options.Anchor = None,
    fsync_every: options.FsyncEvery = 0.0,
    nice: options.Nice = 5,
    pseudonymise: options.Pseudonymise = None,
    redact_paths: options.RedactPaths = False,
    measurements: options.Measurements = True,
    group_by: options.GroupBy = "folder",
    dicom_out: options.DicomOut = None,
    send: options.SendTo = None,
    ae_title: options.AeTitle = "SCREENER",
    outbox: options.Outbox = None,
) -> None:
    """Screen what arrives in a folder, study by study, until it is stopped; needs the extra [watch].

    What arrived and has no answer follows from the folder and the log: nothing is lost or doubled by a restart. Exit
    codes: 0 stopped by a signal; 2 usage; 3 no such folder; 6 audit log; 7 model.
    """
    given = dict(locals())
    from screener.cli.watch import run_command

    raise typer.Exit(run_command(given))


@app.command(name="send")
def send_answers(
    studies: Annotated[
        list[str] | None, typer.Argument(help="StudyInstanceUIDs, or hashes of STUDY events. Default: what waits.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every study of the log that was not sent there yet.")
    ] = False,
    send: Annotated[
        list[str] | None, typer.Option("--send", help="Where to: AET@host:port, or https://pacs/dicom-web; repeatable.")
    ] = None,
    dicom_out: options.DicomOut = None,
    ae_title: options.AeTitle = "SCREENER",
    outbox: options.Outbox = None,
    tries: Annotated[int, typer.Option(min=1, help="Attempts, with a pause that doubles from one second on.")] = 3,
    log: options.Log = None,
    log_group: options.LogGroup = None,
    images: options.Images = None,
    model: options.Model = None,
    lang: options.Language = None,
) -> None:
    """Send answers to the PACS as DICOM objects of the study; without studies, what waits in the outbox.

    What was sent before is not sent again. Needs the extra [pacs]. Exit codes: 0 all sent; 2 usage; 3 no such study;
    6 audit log; 7 model; 11 some wait in the outbox.
    """
    from screener.cli.send import SendCommand, run

    raise typer.Exit(
        run(
            SendCommand(
                studies=tuple(studies or ()),
                everything=everything,
                destinations=tuple(send or ()),
                folder=dicom_out,
                ae_title=ae_title,
                outbox=outbox,
                tries=tries,
                log=log,
                log_group=log_group,
                images=images,
                model=model,
                lang=lang,
            )
        )
    )


@app.command()
def status(
    inbox: Annotated[Path, typer.Argument(help="Folder that listen or watch takes care of.")],
    log: options.Log = None,
    unanswered_after: service_options.UnansweredAfter = 15.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    lang: options.Language = None,
    follow_symlinks: options.FollowSymlinks = False,
    pseudonymise: options.Pseudonymise = None,
    redact_paths: options.RedactPaths = False,
) -> None:
    """Say what listen or watch has answered in a folder and what still waits, from the folder and the log.

    Exit codes: 0 nothing waits for too long; 2 usage; 3 no such folder; 5 something waits for too long; 6 audit log.
    """
    given = dict(locals())
    from screener.cli.status import run_command

    raise typer.Exit(run_command(given))


@app.command()
def explain(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG slices.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures. Default: in the user's state folder.")
    ] = None,
    colormap: Annotated[str, typer.Option(help="inferno, viridis, cividis, plasma, magma or jet.")] = "inferno",
    blend: Annotated[float, typer.Option(help="Weight of the heatmap, 0 to 1; the slice keeps the rest.")] = 0.4,
    layers: Annotated[bool, typer.Option("--layers", help="Also show what the first layers pass on.")] = False,
    threshold: options.Threshold = "auto",
    accept_uncertified: options.AcceptUncertified = False,
    model: options.Model = None,
    lang: options.Language = None,
) -> None:
    """Show where the model found evidence on single slices: evidence, not the outline of a tumour.

    Writes an overlay and a sheet for each slice; never over a file that exists. Exit codes: 0 all explained; 2 usage,
    or some pictures were there already; 3 no such image; 4 some slices not assessable; 7 model.
    """
    from screener.cli.explain import ExplainOptions, run

    raise typer.Exit(
        run(images, ExplainOptions(out, model, threshold, accept_uncertified, colormap, blend, layers, lang))
    )


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The page to write; an earlier one is replaced.")],
    agreement: Annotated[
        bool, typer.Option("--agreement", help="How far the tool agrees with the verdicts in the log, with pictures.")
    ] = False,
    log: options.Log = None,
    inbox: Annotated[
        Path | None,
        typer.Option(help="Which inbox. Default: that of the last run in the log; with --agreement, all of them."),
    ] = None,
    images: options.Images = None,
    model: options.Model = None,
    level: Annotated[str, typer.Option(help="With --agreement: verdicts on what, study or slice.")] = "study",
    json: Annotated[
        bool, typer.Option("--json", help="With --agreement: also print the figures as one JSON object.")
    ] = False,
    lang: options.Language = None,
) -> None:
    """Write the worklist as a page to open in a browser, made anew from the log; or the agreement with readers.

    Exit codes: 0 written; 1 the page cannot be written; 2 usage; 6 no log, or a damaged one: the page then shows what
    stands before the damage.
    """
    from screener.cli.report import run, run_agreement

    if agreement:
        code = run_agreement(
            out, log=log, inbox=inbox, images=images, model=model, lang=lang, level=level, as_json=json
        )
    elif json:
        raise UsageError("--json goes with --agreement", "for the worklist as JSON: screener worklist --json")
    else:
        code = run(out, log=log, inbox=inbox, images=images, model=model, lang=lang)
    raise typer.Exit(code)


@app.command()
def worklist(
    log: options.Log = None,
    level: Annotated[
        str, typer.Option(help="study: studies, and slices of logs without studies; slice: slices only.")
    ] = "study",
    top: options.Top = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of the table.")] = False,
    no_color: options.NoColor = False,
    lang: options.Language = None,
) -> None:
    """Show the studies that are flagged or not assessable and have no verdict yet, over all runs in the log.

    Exit codes: 0 shown; 6 no log, or a damaged one: what stands before the damage is shown.
    """
    from screener.cli.worklist import run

    color = wants_color() and not no_color
    raise typer.Exit(run(log=log, level=level, top=top, as_json=json, lang=lang, color=color))


@app.command()
def review(
    log: options.Log = None,
    doctor: Annotated[str | None, typer.Option(help="Who gives the verdicts.")] = None,
    doctors: Annotated[Path | None, typer.Option(help="File with the ids of those who may, one a line.")] = None,
    sample: Annotated[
        float, typer.Option(help="Share of what was not flagged that is asked about all the same, 0 to 1.")
    ] = 0.1,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide what the tool says until the verdict is given; ask in random order.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0: any that is free.")] = 0,
    terminal: Annotated[bool, typer.Option("--terminal", help="Ask here instead of in a browser.")] = False,
    table: Annotated[
        Path | None, typer.Option("--import", help="CSV of verdicts: result,final_diagnosis[,doctor_id,note,seconds].")
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a CSV of what waits, to fill in.")] = False,
    images: options.Images = None,
    model: options.Model = None,
    log_group: options.LogGroup = None,
    lang: options.Language = None,
) -> None:
    """Take a clinician's verdicts by study: flagged or not assessable first, then a random sample of the rest.

    Opens a page on this machine only; needs the extra [review], --terminal and --import do not. Each verdict is
    appended to the log; a correction is appended too. Exit codes: 0 done; 2 usage; 6 no log, or a damaged one: what
    stands before the damage can be read.
    """
    from screener.cli.review import ReviewOptions, run

    raise typer.Exit(
        run(
            ReviewOptions(
                log=log,
                doctor=doctor,
                doctors=doctors,
                sample=sample,
                blind=blind,
                port=port,
                terminal=terminal,
                table=table,
                template=template,
                images=images,
                model=model,
                log_group=log_group,
                lang=lang,
            )
        )
    )


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(help="Folder with yes/ and no/, or a CSV: path,label[,patient][,site].")],
    threshold: options.Threshold = "auto",
    model: options.Model = None,
    out: Annotated[Path | None, typer.Option(help="Also write a page with every mistake in pictures.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The figures as one JSON object instead of the table.")] = False,
    evidence: Annotated[
        Path | None, typer.Option(help="JSON that names who reviewed, documented and planned, and when.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Line of the checklist that must pass, or all; repeatable.")
    ] = None,
) -> None:
    """Measure a model on labelled slices: by study, sequence, level and site, with intervals and the checklist.

    Exit codes: 0 measured; 1 the page cannot be written; 2 usage; 3 nothing to measure; 4 measured, but some lines or
    files could not be used; 7 model; 9 a required line of the checklist does not pass.
    """
    from screener.cli.evaluate import EvaluateOptions, run

    color = wants_color()
    raise typer.Exit(run(source, EvaluateOptions(threshold, model, out, json, evidence, tuple(require or ()), color)))


@app.command()
def calibrate(
    source: Annotated[
        Path | None, typer.Argument(help="Folder with yes/ and no/, or a CSV: path,label,patient[,series][,site].")
    ] = None,
    from_log: Annotated[
        Path | None, typer.Option("--from-log", help="Audit log with verdicts, instead of labelled data.")
    ] = None,
    inbox: Annotated[Path | None, typer.Option(help="With --from-log: only what was found in this inbox.")] = None,
    site: Annotated[
        str, typer.Option(help="Name of the site. Default: the only one that the labelled data name.")
    ] = "",
    doctor: Annotated[str | None, typer.Option(envvar="SCREENER_DOCTOR", help="Who makes the profile.")] = None,
    sensitivity: Annotated[float, typer.Option(help="Sensitivity by patient to certify, above 0.5.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="One-sided confidence, at least 0.95.")] = 0.95,
    prevalence: Annotated[
        float | None, typer.Option(help="Share of studies with a tumour at the site. Default: as in the data.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="study or slice must be certified. Default: at least one of them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Profile to write, such as site.toml.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write in the place of an earlier profile.")] = False,
    accept_uncertified: Annotated[
        bool, typer.Option("--accept-uncertified", help="Make a profile though the target is not shown.")
    ] = False,
    model: options.Model = None,
    json: Annotated[bool, typer.Option("--json", help="The profile as one JSON object instead of tables.")] = False,
    lang: options.Language = None,
) -> None:
    """Choose and certify a threshold of your own site, from labelled data or from verdicts in the log.

    Writes a site profile for scan --profile; the model stays as it is. Exit codes: 0 made; 2 usage, or a second profile
    for one site; 3 no labelled data; 4 made, but some lines or files could not be used; 6 audit log; 7 model; 9 the
    target is not certified: nothing is written.
    """
    given = dict(locals())
    from screener.cli.calibrate import CalibrateOptions, run

    raise typer.Exit(run(CalibrateOptions(**given, color=wants_color())))


@app.command()
def info(
    model: options.Model = None,
    json: Annotated[bool, typer.Option("--json", help="The card itself.")] = False,
    lang: options.Language = None,
) -> None:
    """Print the model card: what the model is, what it was measured to do, what it is not for."""
    from screener.cli.info import run

    run(model, as_json=json, lang=lang)


@app.command()
def monitor(
    log: Annotated[Path | None, typer.Argument(help="Audit log. Default: the user's own.")] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Days of a period.")] = 7,
    reference: Annotated[int, typer.Option(min=1, max=520, help="First periods, with which the others compare.")] = 8,
    minimum: Annotated[int, typer.Option(min=2, help="Patients below which a period has no figures.")] = 20,
    sensitivity: Annotated[float, typer.Option(help="Target: an alarm when it is not reached, 0.7 to 1.")] = 0.95,
    since: Annotated[str | None, typer.Option(help="Begin anew on this day, such as 2026-11-24.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write a page with charts.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
    alert: Annotated[
        bool, typer.Option("--alert", help="Exit with 12 while an alarm stands, and record each in the log once.")
    ] = False,
    log_group: options.LogGroup = None,
    no_color: options.NoColor = False,
    lang: options.Language = None,
) -> None:
    """Watch the site over time: rates, scores, pictures and verdicts by week, with alarms that are valid every night.

    Exit codes: 0 shown; 1 the page cannot be written; 2 usage; 3 no study in the log; 6 no log, or a damaged one: what
    stands before the damage is shown; 12 with --alert, an alarm stands.
    """
    from screener.audit import default_log
    from screener.cli.monitor import Shown, run
    from screener.monitor.watch import MonitorOptions

    watched = MonitorOptions(log or default_log(), days, reference, minimum, sensitivity, since)
    color = wants_color() and not no_color
    raise typer.Exit(run(watched, Shown(json, out, alert, log_group, lang, color)))


@app.command()
def queue(
    log: Annotated[Path | None, typer.Argument(help="Audit log; without one, give the figures below.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes that a reader takes for a study.")] = 10.0,
    readers: Annotated[int, typer.Option(min=1, help="Readers at work at the same time.")] = 1,
    hours: Annotated[float, typer.Option(min=0.1, max=168, help="Hours a week in which they read.")] = 40.0,
    arrivals: Annotated[float | None, typer.Option(min=0.001, help="Studies a week.")] = None,
    prevalence: Annotated[float | None, typer.Option(min=0, max=1, help="Share with a tumour.")] = None,
    sensitivity: Annotated[float | None, typer.Option(min=0, max=1, help="Share of tumours flagged.")] = None,
    specificity: Annotated[float | None, typer.Option(min=0, max=1, help="Share of others not flagged.")] = None,
    not_assessable: Annotated[float | None, typer.Option(min=0, max=1, help="Share not assessable.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Also simulate; needs the extra [queue].")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write a page with a plot.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    no_color: options.NoColor = False,
    lang: options.Language = None,
) -> None:
    """Say what triage gains: how long patients wait in order of arrival, and in the tool's order.

    Exit codes: 0 shown; 1 the page cannot be written; 2 usage, a figure that nobody knows, or readers who cannot keep
    up; 3 no study in the log; 6 no log, or a damaged one: what stands before the damage is used.
    """
    from screener.cli.queue import Shown, run

    figures = (arrivals, prevalence, sensitivity, specificity, not_assessable)
    shown = Shown(json, out, lang, color=wants_color() and not no_color)
    raise typer.Exit(run(log, figures, shown, minutes=minutes, hours=hours, readers=readers, simulate=simulate))


@app.command()
def verify(
    log: Annotated[list[Path] | None, typer.Argument(help="Audit logs. Default: the user's own.")] = None,
    anchor: Annotated[Path | None, typer.Option(help="Head hash written by scan --anchor: shows a cut tail.")] = None,
) -> None:
    """Check that no event of an audit log was changed, removed or slipped in."""
    from screener.cli.verify import run

    raise typer.Exit(run(log or [], anchor))


def wants_color() -> bool:
    """Look at NO_COLOR, which counts when it is not empty (no-color.org)."""
    return not os.environ.get("NO_COLOR")


def _silence_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: ScreenerError) -> None:
    """Tell of what the user can act on; a name or a cell of a file in it must not steer the terminal."""
    from screener.report.console import safe

    message = "\n".join(map(safe, str(error).split("\n")))
    sys.stderr.write(f"error: {message}\nhint: {safe(error.hint)}\n")


def _tell_failure(error: Exception) -> None:
    """Tell of what nobody expected, without a traceback: it could hold names of patients."""
    # Files of inbox, log, model and page have errors of their own: a nameless full disk is the one behind stdout.
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        _silence_stdout()
        message = f"the result cannot be written: {error.strerror}"
        hint = "make room where stdout leads to, then run the same command again; the log has what was judged"
    else:
        message = f"{type(error).__name__} (a defect in screener)"
        hint = "run the same command with SCREENER_DEBUG=1 and report what it prints; nothing in the log is lost"
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")


def main() -> NoReturn:
    """Run a command; the one place where exceptions become exit codes."""
    share_out_slices_only()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or pipe that knows no "≥" gets it spelt out; a night's result is not lost for it.
        sys.stdout.reconfigure(errors="backslashreplace")
    if "_SCREENER_COMPLETE" in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        app(standalone_mode=True)
    except ScreenerError as error:
        _tell(error)
        code = error.code
    except BrokenPipeError:
        # Whoever read our output is gone: nothing more to tell, and the interpreter must not try at exit.
        _silence_stdout()
        code = ExitCode.CRASH
    except Exception as error:
        if os.environ.get("SCREENER_DEBUG"):
            raise
        _tell_failure(error)
        code = ExitCode.CRASH
    else:
        code = ExitCode.OK
    sys.exit(int(code))
