"""Stage `export`: one trained ONNX file for each budget, measured on the device of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from latnas.errors import LatnasError, UsageError
from latnas.stages.common.limits import limited_space
from latnas.stages.common.reach import check_in_range
from latnas.stages.common.runs import FRONT, TABLE, choose_front, images_of, limits_of, open_run
from latnas.stages.common.tables import latency_of, listed, open_profiler, presence, profile_again, space_of
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.deriving import derive
from latnas.stages.export.job import Job
from latnas.stages.export.kept import budgets_in, kept, warn_of_replaced
from latnas.stages.export.lessons import Lessons, read_lessons
from latnas.stages.export.measuring import BUSY, Bench, is_computed
from latnas.stages.export.on_device import leave_anchor, leave_script
from latnas.stages.export.targets import Target, make_targets, scored_within
from latnas.stages.export.whole_set import write_set
from latnas.stages.export.writing import ExportedFile, RefusedError
from latnas.training.devices import check_trainable
from latnas.words.budgets import format_ms
from latnas.words.export_set import SET, exported_folders, is_set_damaged, listed_anchor, still_listed
from latnas.words.front import Front, load_front
from latnas.words.manifest import Manifest, Precision
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import LatencyTable, load_table

MEASUREMENTS = "measurements.jsonl"
FEW_STEPS = 500
"""Shorter trainings are warned of. That of the demonstration has 750 steps."""


def export(config: ExportConfig, report: Reporter | None = None) -> list[ExportedFile]:
    """Measures finalists, trains the best that fits each budget, exports it, measures the very file.

    A file over its budget gives way to the next best network. Files that are verified already are left as they are.

    Raises:
        UsageError: no such run, its images are not there, a budget outside its range, or nothing can be trained on what
            was asked for.
        LatnasError: a file is broken, or a network cannot be exported.
        RefusedError: networks cannot be had in the form that was asked for; the others are written.
        TargetMissedError: an exported file does not compute what the network computes.
    """
    report = report or Silent()
    run = open_run(config.run, config.runs)
    config = config.in_run(run)
    check_trainable(config.train_on)
    name = choose_front(run, config.table)
    folder = run.front(name)
    table, front = load_table(folder / TABLE), load_front(folder / FRONT)
    data = images_of(run, config.data)
    space = limited_space(space_of(table), limits_of(run), data.classes, table.name)
    if config.auxiliary and not space.has_auxiliary_point:
        raise UsageError(
            f"space {space.name!r} names no module for an auxiliary head, as darts does. Leave --auxiliary out."
        )
    absent, software = presence(table)
    _check_form(config, table, data.spec, absent is None, report)
    latency = latency_of(table, space)
    if software:
        report.warn(f"table {table.name} was measured with other software than files will be: {listed(software)}")
    for budget_ms in config.budgets_ms:
        check_in_range(budget_ms, front.budget_range, run, name, config.data)
    job = Job(config, run, run.exports(name), space, latency, data, report)
    targets = make_targets(config, front, space, latency, absent is not None, budgets_in(job.exports))
    _say_limits(front, targets, report)

    with run.lock():
        # The set takes all manifests in the end: a damaged one that is not made anew is told of before any training.
        exported_folders(job.exports, but={target.folder for target in targets})
        if is_set_damaged(job.exports):
            report.warn(f"{job.exports / SET} is damaged, and written anew: exports that were lost are not in it")
        done = kept(job, targets, still_listed(job.exports))
        for made, manifest in done.items():
            report.say(f"{made} is verified already; nothing to do{_busy_then(job, made, manifest)}")
            leave_script(job.exports / made)
        left = [target for target in targets if target.folder not in done]
        warn_of_replaced(job, left)
        files = {made: ExportedFile(job.exports / made, manifest) for made, manifest in done.items()}
        fresh, refused = list[ExportedFile](), ""
        try:
            if left:
                fresh = _make(job, front, left, absent)
        except RefusedError as error:
            fresh, refused = error.files, str(error)
        except (LatnasError, KeyboardInterrupt):
            with suppress(LatnasError):  # where nothing can be written the first error is the one to tell
                if exported_folders(job.exports):
                    write_set(job.exports, table, anchor=listed_anchor(job.exports))  # what was finished before
            raise
        if absent is not None:
            _warn_of_doubtful(fresh, report)
        if not refused or exported_folders(job.exports):
            leave_anchor(job)
            write_set(job.exports, table)
        files |= {file.folder.name: file for file in fresh}
        if refused:
            raise RefusedError(refused, [files[target.folder] for target in targets if target.folder in files])
        return [files[target.folder] for target in targets]


def _busy_then(job: Job, folder: str, manifest: Manifest) -> str:
    """How to have a file chosen anew that was measured on a device much slower than for the table."""
    drift = manifest.anchor_drift or 1.0
    if drift < BUSY:
        return ""
    return (
        f". It was measured while the anchor network took {drift:.2f} times what it took for the table: to have it "
        f"chosen anew in quiet, remove {job.exports / folder} and type the same command"
    )


def _say_limits(front: Front, targets: Sequence[Target], report: Reporter) -> None:
    """How much choice a search left within limits that it did not know."""
    for limits, space in {target.limits: target.space for target in targets if target.limits.limited}.items():
        count = len(scored_within(front, space, math.inf))
        report.say(f"the search scored {count} of its {len(front.networks)} networks within {limits.typed}")
        if not count:
            report.warn(
                "the largest network is taken instead. To search within it, with the other options of its search: "
                f"latnas search {limits.typed}"
            )


def _check_form(config: ExportConfig, table: LatencyTable, data: str, present: bool, report: Reporter) -> None:
    """Raises UsageError for a form that the runtime of the table cannot run, so that it could not be measured.

    Warns where the table is of another precision: networks were searched and are predicted at that.

    Args:
        present: whether the device of the table is here, so that its runtime can be asked.
    """
    precision = config.form.precision
    if precision != "fp32" and table.measures == "torch":
        raise UsageError(
            f"--{precision} makes an ONNX file, and {table.runtime}, with which {table.name} was measured, runs "
            "PyTorch modules. Measure a table with ONNX Runtime: "
            + profile_again(table.model_copy(update={"runtime": "onnxruntime", "precision": precision}), data)
        )
    if precision == table.precision:
        return
    differ = f"table {table.name} is of {table.precision}, the files will be in {precision}"
    if is_computed(table):
        report.warn(f"{differ}: what is computed for them is that of networks in {table.precision}")
        return
    if present:
        _ask(table, precision)
    again = profile_again(table.model_copy(update={"precision": precision}), data)
    better = "" if table.precision == "fp32" else f", or export it: --{table.precision}"
    report.warn(
        f"{differ}: they are measured, but to choose what is best at {precision} takes a table of it: {again}{better}"
    )


def _ask(table: LatencyTable, precision: Precision) -> None:
    """Raises UsageError where the runtime of the table, with its settings, takes no files of this precision."""
    try:
        open_profiler(table.model_copy(update={"precision": precision}))
    except UsageError as error:
        raise UsageError(f"--{precision} makes files that {table.name} is no table for: {error}") from error


def _warn_of_few_steps(job: Job) -> None:
    """An epoch of a few images is a few steps, so that the usual number of epochs hardly trains a network."""
    steps, epochs = job.recipe.steps, job.config.epochs
    if 0 < steps < FEW_STEPS:
        of_epoch = steps // epochs
        enough = math.ceil(FEW_STEPS / of_epoch)
        job.report.warn(
            f"a training of {steps} steps, {of_epoch} an epoch, is too short to learn much: --epochs {enough} makes "
            f"{enough * of_epoch}"
        )


def _warn_of_doubtful(files: Sequence[ExportedFile], report: Reporter) -> None:
    """Where nothing is measured, the upper end of the interval decides; but the fastest network may be over it too."""
    for file in files:
        budget_ms, predicted = file.manifest.budget_ms, file.manifest.predicted_ms
        if file.manifest.status == "unverified" and predicted.high > budget_ms:
            report.warn(
                f"no network that is known surely keeps {format_ms(budget_ms)}: {file.folder.name} may take up to "
                f"{format_ms(predicted.high)}. Choose a looser budget, or look on the device: latnas verify"
            )


def _make(job: Job, front: Front, targets: Sequence[Target], absent: str | None) -> list[ExportedFile]:
    """The files that are missing; `absent` says why the device of the table is not present, None where it is."""
    _warn_of_few_steps(job)
    table, log, latency = job.table, job.exports / MEASUREMENTS, job.latency
    if absent is not None:
        job.report.warn(f"the device of table {table.name} is not here ({absent}): files will be unverified")
        return derive(job, front, targets, None, Lessons(latency))
    again = profile_again(table, job.data.spec)
    bench = Bench(table, open_profiler(table), job.space, log, job.config.rounds, again, job.report)
    return derive(job, front, targets, bench, read_lessons(log, front, latency, job.config.form))
