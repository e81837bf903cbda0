"""From budgets to files that keep them: choose, train, measure, and choose again with what the file has taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latnas.stages.common.options import typed
from latnas.stages.common.reach import predicted_ends
from latnas.stages.common.runs import limits_of, search_again, which_front, which_run
from latnas.stages.common.tables import profile_again
from latnas.stages.export.choosing import Choice, choose
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.courses import Course, Outcome, begin, nearest_budget_ms
from latnas.stages.export.job import Job
from latnas.stages.export.kept import WHICH, warn_of_another_teacher
from latnas.stages.export.last_word import measure_files
from latnas.stages.export.lessons import Lessons
from latnas.stages.export.measuring import Bench
from latnas.stages.export.shipments import train_each
from latnas.stages.export.targets import Target
from latnas.stages.export.trainings import teacher_among
from latnas.stages.export.unfinished import forget, note, take_up
from latnas.stages.export.writing import ExportedFile, write
from latnas.words.architecture import Architecture
from latnas.words.budgets import above_ms, budget_name, format_ms
from latnas.words.front import Front
from latnas.words.limits import Limits
from latnas.words.manifest import Attempt
from latnas.words.quantities import format_bytes

TRAININGS = 4
"""How many networks are trained for a budget before it counts as missed."""

_Place = tuple[float, Limits]


def derive(
    job: Job, front: Front, targets: Sequence[Target], bench: Bench | None, lessons: Lessons
) -> list[ExportedFile]:
    """One file for each target, written as soon as it is known to be the one.

    A file over its budget, or over the limit on its size, gives way to the next best network, a few times. An export
    that was stopped goes on with what it had chosen; of networks that learn from one another all count as one file.
    """
    courses = [begin(target, front) for target in targets]
    if bench is not None:
        take_up(job, courses, lessons)
    files: dict[str, ExportedFile] = {}
    teacher: Architecture | None = None
    for trained in range(1, TRAININGS + 1):
        going = [course for course in courses if not course.over]
        chosen = _new(going, choose(job, going, bench, lessons))
        if chosen:
            if trained == 1:
                searched = [
                    (course.target, choice.architecture) for course, choice in chosen if course.target.kind == "search"
                ]
                teacher = teacher_among(job, front, searched)
                if job.config.distill:
                    pairs = ((course.target, choice.architecture) for course, choice in chosen)
                    warn_of_another_teacher(job, pairs, teacher)
            if bench is not None:
                note(job, courses if job.config.distill else going)
            _train_and_measure(job, chosen, teacher, bench, lessons)
        for course in going:
            if course.over or trained == TRAININGS:
                files[course.target.folder] = _write(job, course, lessons)
                if not job.config.distill:
                    forget(job, course.target)
            else:
                _say_again(job, course, lessons, trained + 1)
    for target in targets:
        forget(job, target)
    return _with_advice(job, front, courses, [files[course.target.folder] for course in courses])


def _new(courses: Sequence[Course], choices: Sequence[Choice | None]) -> list[tuple[Course, Choice]]:
    """What is to be trained, which each course takes down.

    A course is over where nothing is left, or only the nearest that was trained already.
    """
    chosen = []
    for course, choice in zip(courses, choices, strict=True):
        made = {outcome.shipment.architecture.key for outcome in course.outcomes}
        if choice is None or (choice.architecture.key in made and not choice.fits):
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
) -> None:
    shipments = train_each(job, [(course.target, choice.architecture) for course, choice in chosen], teacher)
    times = {course.target.folder: known for course, _ in chosen if (known := course.known_times) is not None}
    unknown = [shipment for shipment in shipments if shipment.target.folder not in times]
    if bench is not None and unknown:
        times |= measure_files(unknown, job.space, bench, job.config.form)
    for (course, choice), shipment in zip(chosen, shipments, strict=True):
        most = course.target.space.limits.file_bytes
        large = most is not None and len(shipment.file) > most
        outcome = Outcome(shipment, times.get(course.target.folder), large)
        course.outcomes.append(outcome)
        course.over = not large and not (choice.fits and outcome.too_slow)
        _learn(course, outcome, lessons)
        if large:
            size, limit = format_bytes(len(shipment.file)), format_bytes(most or 0)
            job.report.warn(f"the file for {format_ms(course.target.budget_ms)} takes {size}; the limit is {limit}")


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
    if outcome.times is None or not outcome.too_slow:
        return
    file_ms, finalist_ms = outcome.times.lasting_ms, lessons.finalists[outcome.shipment.architecture.key]
    job.report.say(
        f"the file for {format_ms(course.target.budget_ms)} ({course.target.kind}) takes {format_ms(file_ms)}, "
        f"{file_ms / finalist_ms:.2f} times as long as before its training: choosing again with that margin "
        f"(network {attempt} of at most {TRAININGS})"
    )


def _write(job: Job, course: Course, lessons: Lessons) -> ExportedFile:
    outcome = _preferred(course.outcomes)
    nearest_ms = above_ms(nearest_budget_ms(course, lessons)) if outcome.too_slow else None
    return write(job, outcome.shipment, outcome.times, tuple(course.attempts), nearest_ms)


def _preferred(outcomes: Sequence[Outcome]) -> Outcome:
    """The fastest of those that are not too large. Where every file is too large, the one that was preferred."""
    small = [outcome for outcome in outcomes if not outcome.too_large]
    if not small:
        return outcomes[0]
    return min(small, key=lambda outcome: 0.0 if outcome.times is None else outcome.times.lasting_ms)


def _with_advice(
    job: Job, front: Front, courses: Sequence[Course], files: Sequence[ExportedFile]
) -> list[ExportedFile]:
    """The files, those that missed with what to type: the same for all budgets to which the same one is nearest.

    Where the search's own choice missed a budget, it alone has advice, whatever the baselines reach.
    """
    pairs = list(zip(courses, files, strict=True))
    missed = [course.target for course, file in pairs if file.manifest.status == "missed"]
    by_search = {_place(target) for target in missed if target.kind == "search"}
    told = {one.folder: one for one in missed if one.kind == "search" or _place(one) not in by_search}
    sizes, nearest, faster = dict[str, int](), dict[_Place, float](), set[_Place]()
    for course, file in pairs:
        outcome, place, nearest_ms = _preferred(course.outcomes), _place(course.target), file.manifest.nearest_ms
        if outcome.too_large or nearest_ms is None:
            sizes[course.target.folder] = len(outcome.shipment.file)
        elif course.target.folder in told:
            nearest[place] = max(nearest_ms, nearest.get(place, 0.0))
            faster |= {place} if outcome.times is not None and outcome.times.is_device_faster else set()
    advice = {}
    for folder, target in told.items():
        others = _others(job, [course.target for course in courses], missed, target)
        if folder in sizes:
            advice[folder] = _advice_on_size(job, target, sizes[folder], others)
        else:
            near_ms = nearest[_place(target)]
            alike = [one for one in told.values() if _as_asked(one) == _as_asked(target)]
            same = [one for one in alike if nearest.get(_place(one)) == near_ms]
            is_faster = any(_place(one) in faster for one in same)
            advice[folder] = _advice(job, front, same, near_ms, is_faster, others)
    return [replace(file, advice=advice.get(course.target.folder, "")) for course, file in pairs]


def _place(target: Target) -> _Place:
    """What the search's choice and the baselines have in common."""
    return target.budget_ms, target.limits


def _as_asked(target: Target) -> tuple[Limits, bool]:
    """What budgets that one command exports have in common."""
    return target.limits, target.kind == "search"


def _others(job: Job, targets: Sequence[Target], missed: Sequence[Target], target: Target) -> list[str]:
    """The budgets of the same command that are kept, where networks learn from one another: they have one teacher.

    A budget that only baselines missed is kept, unless the command is to make baselines, as it does for every budget.
    """
    if not job.config.distill:
        return []
    again = {_place(one) for one in missed if target.kind != "search" or one.kind == "search"}
    kept = [one for one in targets if one.limits == target.limits and _place(one) not in again]
    return [budget_name(one.budget_ms) for one in kept]


def _advice(
    job: Job, front: Front, targets: Sequence[Target], nearest_ms: float, faster: bool, others: Sequence[str]
) -> str:
    """The nearest budget within reach, and the command that exports it; beyond the run's range, one that searches.

    Where no network of the table is as slow as that, what its table is worth now.
    """
    missed = ", ".join(dict.fromkeys(budget_name(target.budget_ms) for target in targets))
    near = budget_name(nearest_ms)
    within = f"The nearest budget to {missed} within reach is {near}: "
    if nearest_ms <= front.slowest_ms:
        return within + _export(job, targets[0], [near, *others])
    _, slowest = predicted_ends(job.space, job.latency)
    slowest_ms = job.latency.predict_ms(slowest)
    if nearest_ms < slowest_ms:
        return within + _search(job, nearest_ms, slowest_ms)
    return (
        f"Nothing nearer to {missed} than {near} is kept now, and by the table no network takes more than "
        f"{format_ms(slowest_ms)}: {_another_table(job, faster)}"
    )


def _advice_on_size(job: Job, target: Target, size: int, others: Sequence[str]) -> str:
    """What the file takes, the limit that it is over, and the command that allows it: an export, or a search."""
    missed, searched = budget_name(target.budget_ms), limits_of(job.run).file_bytes
    takes = f"The file for {missed} takes {format_bytes(size)}, more than "
    if searched is not None and size > searched:
        again = f"latnas search {Limits(file_bytes=size).typed}"
        return f"{takes}{Limits(file_bytes=searched).typed} of the search. With its other options type: {again}"
    allowed = replace(target, limits=replace(target.limits, file_bytes=size))
    asked = Limits(file_bytes=target.limits.file_bytes).typed
    return f"{takes}{asked}. To allow it: {_export(job, allowed, [missed, *others])}"


def _another_table(job: Job, faster: bool) -> str:
    """What to do where files take longer than the slowest network of the table, on a device that is faster or not."""
    table, precision = job.table, job.config.form.precision
    again = profile_again(table.model_copy(update={"precision": precision}), job.data.spec)
    if faster:
        return (
            "the device is faster than when the table was measured, but files by less than the anchor network, and "
            f"budgets go by the speed that it had then. Measure a new table to search by: {again}"
        )
    slower = "the device is" if precision == table.precision else f"the device, or {precision} on it, is"
    return (
        f"{slower} slower than when the table was measured. Type the same command in quiet, or measure a new table "
        f"to search by: {again}"
    )


def _export(job: Job, target: Target, budgets: Sequence[str]) -> str:
    """The command for other budgets, with the same recipe; with baselines where it is one of them that missed."""
    named = "".join(f" --budget {budget}" for budget in dict.fromkeys(budgets))
    baselines = "" if target.kind == "search" else " --baselines"
    limits = f" {target.limits.typed}" if target.limits.limited else ""
    front = which_run(job.run) + which_front(job.run, job.exports.name)
    recipe = sorted(ExportConfig.model_fields.keys() - WHICH)
    return typed(f"latnas export{named}{baselines}{limits}{front}", job.config, *recipe)


def _search(job: Job, tight_ms: float, slowest_ms: float) -> str:
    """The command for a front that begins with this budget, and ends before what the slowest network takes."""
    loose_ms = min(2 * tight_ms, slowest_ms)
    return f"{search_again(job.run, job.exports.name)} {budget_name(tight_ms)}:{budget_name(loose_ms)}"
