"""What an export has decided for files that are not finished: the same command goes on with the same networks.

A network near the edge of a budget fits by one measurement and not by the next. Were it measured again after an
interruption, another one might be trained, and what was trained so far be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from latnas.stages.export.courses import Course
from latnas.stages.export.job import Job
from latnas.stages.export.kept import is_budget, recipe_digest
from latnas.stages.export.lessons import Lessons
from latnas.stages.export.targets import Target
from latnas.stages.export.trainings import KEPT
from latnas.words.architecture import Architecture
from latnas.words.files import write_json
from latnas.words.forms import FileTimes, Unfinished, read_as


def take_up(job: Job, courses: Iterable[Course], lessons: Lessons) -> None:
    """Lets courses go on where an export with the same options was stopped, and says so.

    Raises:
        LatnasError: what was left of that is damaged.
    """
    for course in courses:
        target, path = course.target, _path(job, course.target)
        if not path.exists():
            continue
        found = Unfinished.model_validate(read_as(Unfinished, path))
        if not is_budget(found.budget_ms, target):
            continue
        course.decided = list(found.decided)
        for one in found.decided:
            for look in one.looks:
                lessons.finalists[Architecture.from_json(look.architecture).key] = look.attempt.measured_ms
        job.report.say(f"{target.folder}: going on with what was chosen before the export was stopped")


def note(job: Job, courses: Sequence[Course]) -> None:
    """Writes down what was chosen for these, and what the files took that were made meanwhile."""
    for course in courses:
        decided = [
            one
            if made is None or made.times is None
            else one.model_copy(update={"times": FileTimes(**vars(made.times))})
            for one, made in zip_longest(course.decided, course.outcomes)
        ]
        if decided:
            found = Unfinished(budget_ms=course.target.budget_ms, decided=decided)
            write_json(_path(job, course.target), found.model_dump(mode="json"))


def forget(job: Job, target: Target) -> None:
    """Where a file is finished, whoever loses it decides anew."""
    _path(job, target).unlink(missing_ok=True)


def _path(job: Job, target: Target) -> Path:
    """In the name is all that decides, so that an export with other options finds nothing."""
    return job.exports / KEPT / f"{target.folder}-{recipe_digest(job, target)}.json"
