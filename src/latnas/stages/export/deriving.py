"""From budgets to files that keep them: choose, train, measure, and choose again with what the file has taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from latnas.stages.export.advice import Missed, advice_on
from latnas.stages.export.choosing import Choice, choose
from latnas.stages.export.courses import Course, Outcome, begin, nearest_budget_ms, reopen
from latnas.stages.export.job import Job
from latnas.stages.export.kept import warn_of_another_network, warn_of_another_teacher
from latnas.stages.export.last_word import measure_files
from latnas.stages.export.lessons import Lessons
from latnas.stages.export.measuring import Bench
from latnas.stages.export.shipments import Refused, Shipment, train_each
from latnas.stages.export.targets import Target
from latnas.stages.export.trainings import teacher_among
from latnas.stages.export.unfinished import forget, note, take_up
from latnas.stages.export.writing import ExportedFile, RefusedError, write
from latnas.words.architecture import Architecture
from latnas.words.budgets import above_ms, format_ms
from latnas.words.front import Front
from latnas.words.manifest import Attempt
from latnas.words.quantities import format_bytes

TRAININGS = 4
"""How many networks are trained for a budget before it counts as missed."""


def derive(
    job: Job, front: Front, targets: Sequence[Target], bench: Bench | None, lessons: Lessons
) -> list[ExportedFile]:
    """One file for each target, written as soon as it is known to be the one.

    A file over its budget, or over the limit on its size, gives way to the next best network, a few times; one that
    leaves much of its budget gives way to a better network that fits by now. An export that was stopped goes on with
    what it had chosen; of networks that learn from one another all count as one file.

    Raises:
        RefusedError: a network cannot be had in the form that was asked for. Those of the other targets are written.
    """
    courses = [begin(target, front) for target in targets]
    if bench is not None:
        take_up(job, courses, lessons)
    files: dict[str, ExportedFile] = {}
    refused: dict[str, str] = {}
    teacher: Architecture | None = None
    for trained in range(1, TRAININGS + 1):
        going = [course for course in courses if not course.over]
        chosen = _new(going, choose(job, going, bench, lessons))
        if chosen:
            pairs = [(course.target, choice.architecture) for course, choice in chosen]
            warn_of_another_network(job, pairs)
            if trained == 1:
                teacher = teacher_among(job, front, pairs)
                if job.config.distill:
                    warn_of_another_teacher(job, pairs, teacher)
            if bench is not None:
                note(job, courses if job.config.distill else going)
            refused |= _train_and_measure(job, chosen, teacher, bench, lessons)
        for course in going:
            if trained < TRAININGS and course.target.folder not in refused and reopen(course, lessons):
                course.over = False
            if course.over or trained == TRAININGS:
                if course.outcomes:  # else its first network was refused
                    files[course.target.folder] = _write(job, course, lessons)
                if not job.config.distill:
                    forget(job, course.target)
            else:
                _say_again(job, course, lessons, trained + 1)
    for target in targets:
        forget(job, target)
    made = [course for course in courses if course.target.folder in files]
    written = _with_advice(job, front, made, [files[course.target.folder] for course in made])
    for folder in [folder for folder in files if folder in refused]:
        job.report.warn(f"{folder}: {refused.pop(folder)} What was made for it before is left there")
    if refused:
        raise RefusedError(_reasons(refused), written)
    return written


def _reasons(refused: Mapping[str, str]) -> str:
    """Each reason once, after the folders that it keeps empty."""
    folders: dict[str, list[str]] = {}
    for folder, reason in refused.items():
        folders.setdefault(reason, []).append(folder)
    return " ".join(f"{', '.join(some)}: {reason}" for reason, some in folders.items())


def _new(courses: Sequence[Course], choices: Sequence[Choice | None]) -> list[tuple[Course, Choice]]:
    """What is to be trained, which each course takes down.

    A course is over where nothing is left, or only what was trained already: the nearest, or one whose file fits.
    """
    chosen = []
    for course, choice in zip(courses, choices, strict=True):
        missed = {outcome.shipment.architecture.key: outcome.too_slow for outcome in course.outcomes}
        key = None if choice is None else choice.architecture.key
        if choice is None or (key in missed and not (choice.fits and missed[key])):
            course.over = True
        else:
            course.decide(choice.architecture, choice.fits)
            chosen.append((course, choice))
    return chosen


def _train_and_measure(
    job: Job,
    chosen: Sequence[tuple[Course, Choice]],
    teacher: Architecture | None,
    bench: Bench | None,
    lessons: Lessons,
) -> dict[str, str]:
    """Makes the files of what was chosen. Returns why a network is refused, by the folder of its target."""
    made = train_each(job, [(course.target, choice.architecture) for course, choice in chosen], teacher)
    times = {course.target.folder: known for course, _ in chosen if (known := course.known_times) is not None}
    unknown = [one for one in made if isinstance(one, Shipment) and one.target.folder not in times]
    if bench is not None and unknown:
        times |= measure_files(unknown, job.space, bench, job.config.form)
    for (course, choice), shipment in zip(chosen, made, strict=True):
        if isinstance(shipment, Refused):
            course.over = True
            continue
        most = course.target.space.limits.file_bytes
        large = most is not None and len(shipment.file) > most
        outcome = Outcome(shipment, times.get(course.target.folder), large)
        course.outcomes.append(outcome)
        course.over = not large and not (choice.fits and outcome.too_slow) and course.pending is None
        _learn(course, outcome, lessons)
        if large:
            size, limit = format_bytes(len(shipment.file)), format_bytes(most or 0)
            job.report.warn(f"the file for {format_ms(course.target.budget_ms)} takes {size}; the limit is {limit}")
    return {one.target.folder: one.reason for one in made if isinstance(one, Refused)}


def _learn(course: Course, outcome: Outcome, lessons: Lessons) -> None:
    if outcome.times is None:
        return
    architecture = outcome.shipment.architecture
    lessons.note_file(architecture, outcome.times, outcome.too_slow)
    course.attempts.append(
        Attempt(
            architecture=str(architecture), predicted_ms=lessons.predict_ms(architecture),
            measured_ms=outcome.times.lasting_ms, what="shipped file", fits=not outcome.too_slow,
        )
    )  # fmt: skip


def _say_again(job: Job, course: Course, lessons: Lessons, attempt: int) -> None:
    outcome = course.outcomes[-1]
    if outcome.times is None or (outcome.too_large and not outcome.too_slow):
        return
    file_ms, ratio = outcome.times.lasting_ms, lessons.ratio(outcome.shipment.architecture, outcome.times)
    why = (
        f"{ratio:.2f} times as long as before its training, at one speed of the device: choosing again with that margin"
        if outcome.too_slow
        else f"{1 - file_ms / course.target.budget_ms:.0%} below it: looking again at networks that are preferred to it"
    )
    job.report.say(
        f"the file for {format_ms(course.target.budget_ms)} ({course.target.kind}) takes {format_ms(file_ms)}, {why} "
        f"(network {attempt} of at most {TRAININGS})"
    )


def _write(job: Job, course: Course, lessons: Lessons) -> ExportedFile:
    outcome = _preferred(course.outcomes)
    nearest_ms = above_ms(nearest_budget_ms(course, lessons)) if outcome.too_slow else None
    return write(job, outcome.shipment, outcome.times, tuple(course.attempts), nearest_ms)


def _preferred(outcomes: Sequence[Outcome]) -> Outcome:
    """Of those that are not too large the last within its budget: what is made after one that fits is a better network.

    Where none is, the fastest of them. Where every file is too large, the one that was preferred.
    """
    small = [outcome for outcome in outcomes if not outcome.too_large]
    if not small:
        return outcomes[0]
    fitting = [outcome for outcome in small if not outcome.too_slow]
    if fitting:
        return fitting[-1]
    return min(small, key=lambda outcome: 0.0 if outcome.times is None else outcome.times.lasting_ms)


def _with_advice(
    job: Job, front: Front, courses: Sequence[Course], files: Sequence[ExportedFile]
) -> list[ExportedFile]:
    """The files, those that missed with what to type."""
    pairs = list(zip(courses, files, strict=True))
    missed = []
    for course, file in pairs:
        if file.manifest.status == "missed":
            outcome = _preferred(course.outcomes)
            nearest_ms = None if outcome.too_large else file.manifest.nearest_ms
            faster = outcome.times is not None and outcome.times.is_device_faster
            missed.append(Missed(course.target, len(outcome.shipment.file), nearest_ms, faster))
    advice = advice_on(job, front, missed, [course.target for course in courses])
    return [replace(file, advice=advice.get(course.target.folder, "")) for course, file in pairs]
