"""Which network is trained for each budget: the preferred one of those that measure within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latnas.data.randomness import generator
from latnas.spaces.solving import cheapest
from latnas.stages.common.largest import largest_within
from latnas.stages.export.courses import Course, best_of, nearest_of, next_looks, quickest
from latnas.stages.export.job import Job
from latnas.stages.export.lessons import FINALIST, HEADROOM, Lessons
from latnas.stages.export.measuring import Bench
from latnas.stages.export.targets import ATTEMPTS, random_fitting
from latnas.words.architecture import Architecture
from latnas.words.budgets import budget_name, format_ms


@dataclass(frozen=True)
class Choice:
    """The architecture to train for a budget, and whether it fits as far as is known."""

    architecture: Architecture
    fits: bool


def choose(job: Job, courses: Sequence[Course], bench: Bench | None, lessons: Lessons) -> list[Choice | None]:
    """What to train for each course; None where the files of all candidates are too large.

    What an export that was stopped has chosen stays chosen, whatever its finalists would measure now.
    Candidates are measured a few for each budget at a time, until the best that fits is known. Where none does, the
    solver adds networks that the search did not score, and the random baseline draws again; where the fastest does
    not, the nearest is taken.
    """
    if bench is None:
        certain = [course.not_too_large(course.target.candidates) for course in courses]
        return [Choice(candidates[0], True) if candidates else None for candidates in certain]
    undecided = [course for course in courses if course.pending is None]
    while any(looks := [_looks(job, course, lessons) for course in undecided]):
        _measure(job, bench, lessons, [one for some in looks for one in some])
        for course, some in zip(undecided, looks, strict=True):
            course.look(some, lessons)
    return [_choice(job, course, lessons) for course in courses]


def _looks(job: Job, course: Course, lessons: Lessons) -> list[Architecture]:
    """The networks to look at next; only where none fits, ones that the search did not score, and the fastest."""
    count = job.config.finalists
    looks = next_looks(course, lessons, count)
    if looks or best_of(course, lessons) is not None:
        return looks
    while not looks and course.extensions < ATTEMPTS:
        room = lessons.factor * lessons.slowdown * lessons.margin * HEADROOM**course.extensions
        course.extensions += 1
        course.add(_more(job, course, course.target.budget_ms / room))
        looks = next_looks(course, lessons, count)
    if not looks and not course.quickest_seen:
        course.quickest_seen = True
        course.add(cheapest(course.target.space, job.latency.cost, count))
        looks = quickest(course, lessons, count)
    return looks


def _more(job: Job, course: Course, within_ms: float) -> list[Architecture]:
    """Networks of the target's kind that nobody scored: random ones for the random baseline, else the largest."""
    target, count = course.target, job.config.finalists
    if target.kind != "random":
        return largest_within(target.space, job.latency, within_ms, count)
    random = generator(job.config.seed, "random baseline", budget_name(target.budget_ms), course.extensions)
    return random_fitting(target.space, job.latency, within_ms, ATTEMPTS * count, random)


def _measure(job: Job, bench: Bench, lessons: Lessons, looks: Sequence[Architecture]) -> None:
    known = lessons.finalists.keys() - lessons.doubted
    new = {one.key: one for one in looks if one.key not in known}
    if not new:
        return
    form = job.config.form
    workloads = {
        key: form.finalist(bench.network(one), job.space, job.table.batch, bench.takes_files)
        for key, one in new.items()
    }
    for key, times in bench.measure(workloads, new, form.called(FINALIST)).items():
        lessons.note_finalist(new[key], times)


def _choice(job: Job, course: Course, lessons: Lessons) -> Choice | None:
    before = course.pending
    if before is not None:
        course.look_back(before.looks)
        return Choice(Architecture.from_json(before.architecture), before.fits)
    best = best_of(course, lessons)
    if best is not None:
        return Choice(best, True)
    nearest = nearest_of(course, lessons)
    if nearest is None:
        return None
    target, file_ms = course.target, format_ms(lessons.file_ms(nearest))
    job.report.warn(
        f"no network was measured safely within {format_ms(target.budget_ms)} ({target.kind}): of the "
        f"{len(course.looked_at)} tried, the fastest file takes {file_ms}, measured or to be allowed for"
    )
    return Choice(nearest, False)
