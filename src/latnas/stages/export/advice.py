"""What to type where budgets were missed: the nearest within reach, or how to measure or search anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latnas.stages.common.options import WithTrainings, typed
from latnas.stages.common.reach import predicted_ends
from latnas.stages.common.runs import limits_of, search_again, which_front, which_run
from latnas.stages.common.tables import profile_again
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.job import Job
from latnas.stages.export.kept import WHICH
from latnas.stages.export.targets import Target
from latnas.words.budgets import budget_name, format_ms
from latnas.words.front import Front
from latnas.words.limits import Limits
from latnas.words.quantities import format_bytes


@dataclass(frozen=True)
class Missed:
    """A target that no file keeps.

    Attributes:
        target: the budget, and who chose for it.
        size: bytes of the file that was written all the same.
        nearest_ms: the nearest budget within reach; None where that file is too large.
        faster: whether the device is so much faster than for the table that it is warned of.
    """

    target: Target
    size: int
    nearest_ms: float | None
    faster: bool

    @property
    def of_search(self) -> bool:
        """Whether it is the search's own choice, and no baseline."""
        return self.target.kind == "search"


def advice_on(job: Job, front: Front, missed: Sequence[Missed], targets: Sequence[Target]) -> dict[str, str]:
    """What to type, by the folder of a target: one text for all budgets to which the same one is nearest.

    Where the search's own choice missed a budget, it alone has advice, whatever the baselines reach; else the baseline
    that is furthest off has, and the text says that it is of baselines.

    Args:
        missed: those of the targets that no file keeps.
        targets: everything that this command exports.
    """
    by_search = {_place(one.target) for one in missed if one.of_search}
    told: dict[tuple[float, Limits], Missed] = {}
    for one in missed:
        place = _place(one.target)
        if one.of_search or place not in by_search:
            told[place] = max(told.get(place, one), one, key=lambda some: some.nearest_ms or 0.0)
    alike: dict[tuple[Limits, bool, float | str], list[Missed]] = {}
    for one in told.values():
        alike.setdefault((one.target.limits, one.of_search, one.nearest_ms or one.target.folder), []).append(one)
    advice: dict[str, str] = {}
    for some in alike.values():
        first, others = some[0], _others(job, some[0], missed, targets)
        if first.nearest_ms is None:
            text = _on_size(job, first.target, first.size, others)
        else:
            text = _on_time(job, front, some, first.nearest_ms, others)
        advice |= {one.target.folder: text for one in some}
    return advice


def _place(target: Target) -> tuple[float, Limits]:
    """What the search's choice and the baselines for it have in common."""
    return target.budget_ms, target.limits


def _others(job: Job, one: Missed, missed: Sequence[Missed], targets: Sequence[Target]) -> list[str]:
    """The budgets of the same command that are kept, where networks learn from one another: they have one teacher.

    A budget that only baselines missed is kept, unless the command is to make baselines, as it does for every budget.
    """
    if not job.config.distill:
        return []
    again = {_place(other.target) for other in missed if other.of_search or not one.of_search}
    kept = [each for each in targets if each.limits == one.target.limits and _place(each) not in again]
    return [budget_name(each.budget_ms) for each in kept]


def _on_time(job: Job, front: Front, missed: Sequence[Missed], nearest_ms: float, others: Sequence[str]) -> str:
    """The nearest budget within reach, and the command that exports it; beyond the run's range, one that searches.

    Where no network of the table is slower than that, what its table is worth now.
    """
    budgets = ", ".join(budget_name(one.target.budget_ms) for one in missed)
    near = budget_name(nearest_ms)
    whose = "" if missed[0].of_search else " of both baselines"
    within = f"The nearest budget to {budgets} within reach{whose} is {near}: "
    if nearest_ms <= front.slowest_ms:
        return within + _export(job, missed[0].target, [near, *others])
    _, slowest = predicted_ends(job.space, job.latency)
    slowest_ms = job.latency.predict_ms(slowest)
    if nearest_ms < slowest_ms and near != budget_name(slowest_ms):
        return within + _search(job, nearest_ms, slowest_ms)
    return (
        f"Nothing nearer to {budgets} than {near} is within reach{whose} now, and by the table no network takes more "
        f"than {format_ms(slowest_ms)}: {_another_table(job, any(one.faster for one in missed))}"
    )


def _on_size(job: Job, target: Target, size: int, others: Sequence[str]) -> str:
    """What the file takes, the limit that it is over, and the command that allows it: an export, or a search."""
    budget, searched = budget_name(target.budget_ms), limits_of(job.run).file_bytes
    file = "The file" if target.kind == "search" else "A baseline's file"
    takes = f"{file} for {budget} takes {format_bytes(size)}, more than "
    if searched is not None and size > searched:
        again = f"latnas search {Limits(file_bytes=size).typed}"
        return f"{takes}{Limits(file_bytes=searched).typed} of the search. With its other options type: {again}"
    allowed = replace(target, limits=replace(target.limits, file_bytes=size))
    asked = Limits(file_bytes=target.limits.file_bytes).typed
    return f"{takes}{asked}. To allow it: {_export(job, allowed, [budget, *others])}"


def _another_table(job: Job, faster: bool) -> str:
    """What to do where files take longer than the slowest network of the table, on a device that is faster or not."""
    again = profile_again(job.table.model_copy(update={"precision": job.config.form.precision}), job.data.spec)
    as_long = "files come to about as much or more"
    if faster:
        return (
            f"{as_long} at the speed that the device had when the table was measured, by which budgets go; it is "
            f"faster now. Measure a new table to search by: {again}"
        )
    return f"{as_long}. Type the same command in quiet, or measure a new table to search by: {again}"


def _export(job: Job, target: Target, budgets: Sequence[str]) -> str:
    """The command for other budgets, with the same recipe; with baselines where it is one of them that missed."""
    named = "".join(f" --budget {budget}" for budget in dict.fromkeys(budgets))
    baselines = "" if target.kind == "search" else " --baselines"
    limits = f" {target.limits.typed}" if target.limits.limited else ""
    front = which_run(job.run) + which_front(job.run, job.exports.name)
    recipe = sorted(ExportConfig.model_fields.keys() - WHICH) + sorted(WithTrainings.model_fields)
    return typed(f"latnas export{named}{baselines}{limits}{front}", job.config, *recipe)


def _search(job: Job, tight_ms: float, slowest_ms: float) -> str:
    """The command for a front that begins with this budget, and ends before what the slowest network takes."""
    loose_ms = min(2 * tight_ms, slowest_ms)
    again = search_again(job.run, job.exports.name, job.config.data)
    return f"{again} {budget_name(tight_ms)}:{budget_name(loose_ms)}"
