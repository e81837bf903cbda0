"""One budget on its way: which networks were looked at for it, and which should be looked at next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from latnas.stages.export.lessons import HEADROOM, Lessons
from latnas.stages.export.measuring import Times
from latnas.stages.export.shipments import Shipment
from latnas.stages.export.targets import ATTEMPTS, Target, scored_within
from latnas.words.architecture import Architecture
from latnas.words.forms import Decided, Looked
from latnas.words.front import Front
from latnas.words.manifest import Attempt

MOST_UNUSED = 0.07
"""Where more of a budget is left than this, every better network that may fit is measured."""


@dataclass(frozen=True)
class Outcome:
    """A file that was made for a budget, as measured; None where nothing can be measured."""

    shipment: Shipment
    times: Times | None
    too_large: bool

    @property
    def too_slow(self) -> bool:
        """Over its budget as measured, or at the table's speed where the device is faster at the moment."""
        return self.times is not None and self.times.lasting_ms > self.shipment.target.budget_ms

    @property
    def wasteful(self) -> bool:
        """Within its budget, of which much is left."""
        return self.times is not None and _leaves_much(self.times.lasting_ms, self.shipment.target.budget_ms)


@dataclass
class Course:
    """A target and what was done for it.

    Attributes:
        target: the file to be made.
        candidates: in the order in which they are preferred, whether or not they fit.
        looked_at: those that were measured before their training, by key.
        attempts: everything measured, in order, for the manifest.
        outcomes: the files that were made.
        decided: the networks that were chosen for it, those first that an export which was stopped has chosen.
        looks: what was measured for it before any training, in order.
        extensions: how many times networks were added that the search did not score.
        quickest_seen: whether those that are expected to be fastest were looked at.
        reopened: whether it went on once after a file that keeps the budget.
        over: whether nothing more is to be tried.
    """

    target: Target
    candidates: list[Architecture]
    looked_at: dict[str, Architecture] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    looks: list[Looked] = field(default_factory=list)
    extensions: int = 0
    quickest_seen: bool = False
    reopened: bool = False
    over: bool = False

    @property
    def left(self) -> list[Architecture]:
        """Candidates whose files are not known to be over the limit on their size."""
        return self.not_too_large(self.candidates)

    def not_too_large(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        """Those of these whose files are not known to be over that limit."""
        refused = {outcome.shipment.architecture.key for outcome in self.outcomes if outcome.too_large}
        return [one for one in architectures if one.key not in refused]

    @property
    def pending(self) -> Decided | None:
        """The network that was chosen and whose file was not made yet, by this export or by one that was stopped."""
        return self.decided[len(self.outcomes)] if len(self.decided) > len(self.outcomes) else None

    @property
    def known_times(self) -> Times | None:
        """What the file of that network took before an export was stopped; None if it was not measured."""
        times = None if self.pending is None else self.pending.times
        return None if times is None else Times(**vars(times))

    def decide(self, architecture: Architecture, fits: bool) -> None:
        """Takes down which network is to be trained, unless it was chosen before."""
        if self.pending is None:
            before = sum(len(one.looks) for one in self.decided)
            self.decided.append(Decided(architecture=architecture.to_json(), fits=fits, looks=self.looks[before:]))

    def look_back(self, looks: Sequence[Looked]) -> None:
        """Takes down what was measured before an export was stopped."""
        seen = {one.key: one for one in (Architecture.from_json(look.architecture) for look in looks)}
        self.add(list(seen.values()))
        self.looked_at |= seen
        self.looks += looks
        self.attempts += [look.attempt for look in looks]

    def add(self, architectures: Sequence[Architecture]) -> None:
        """Networks that the search did not score, after all others."""
        known = {one.key for one in self.candidates}
        self.candidates += [one for one in architectures if one.key not in known]

    def look(self, architectures: Sequence[Architecture], lessons: Lessons) -> None:
        """Takes down what the measurements of these say."""
        for one in architectures:
            self.looked_at[one.key] = one
            attempt = Attempt(
                architecture=str(one), predicted_ms=lessons.predict_ms(one), what="finalist",
                measured_ms=lessons.finalists[one.key], fits=lessons.fits(one, self.target.budget_ms),
            )  # fmt: skip
            self.looks.append(Looked(architecture=one.to_json(), attempt=attempt))
            self.attempts.append(attempt)


def begin(target: Target, front: Front) -> Course:
    """The search's target may have any network of the front, the best score first: predictions may prove wrong."""
    if target.kind == "search":
        scored = scored_within(front, target.space, math.inf)
        return Course(target, scored or list(target.candidates))
    return Course(target, list(target.candidates))


def best_of(course: Course, lessons: Lessons) -> Architecture | None:
    """The preferred one of those that were looked at and fit; None if none does."""
    for one in course.left:
        if one.key in course.looked_at and lessons.fits(one, course.target.budget_ms):
            return one
    return None


def nearest_of(course: Course, lessons: Lessons) -> Architecture | None:
    """Of those that were looked at, the one whose file takes least; None of nothing."""
    seen = [one for one in course.left if one.key in course.looked_at]
    return min(seen, key=lessons.file_ms, default=None)


def next_looks(course: Course, lessons: Lessons, count: int) -> list[Architecture]:
    """Up to `count` networks to measure next, in the order of preference; none where that would change nothing.

    Only networks preferred to the best that fits. A few times any that may fit; then only those that should, unless one
    fits that leaves much of the budget unused.
    """
    budget, best = course.target.budget_ms, best_of(course, lessons)
    left = course.left
    preferred = left if best is None else left[: left.index(best)]
    unseen = [one for one in preferred if one.key not in course.looked_at]
    early = len(course.looked_at) < ATTEMPTS * count
    wasteful = best is not None and _leaves_much(lessons.measured_ms(best), budget)
    if early or wasteful:
        daring = [one for one in unseen if lessons.may_fit(one, budget)][:count]
        if daring or best is not None:
            return daring
    return [one for one in unseen if best is None and lessons.should_fit(one, budget)][:count]


def reopen(course: Course, lessons: Lessons) -> bool:
    """Whether there is more to choose from after a file that leaves much of its budget: once for each budget.

    Better networks that were measured while the device was slower than it is now are looked at again where they would
    fit by now, and those that were not measured then may be.
    """
    outcome = course.outcomes[-1] if course.outcomes else None
    if course.reopened or outcome is None or outcome.too_large or not outcome.wasteful:
        return False
    course.reopened = True
    for one in course.left[: course.left.index(outcome.shipment.architecture)]:
        if lessons.doubt(one, course.target.budget_ms):
            course.looked_at.pop(one.key, None)
    return bool(next_looks(course, lessons, 1))


def _leaves_much(taken_ms: float, budget_ms: float) -> bool:
    """Whether so much of a budget is unused that a better network is worth another look."""
    return taken_ms < (1 - MOST_UNUSED) * budget_ms


def quickest(course: Course, lessons: Lessons, count: int) -> list[Architecture]:
    """The `count` networks that are expected to be fastest of all, as far as they were not looked at."""
    ordered = sorted(course.left, key=lessons.expected_ms)[:count]
    return [one for one in ordered if one.key not in course.looked_at]


def nearest_budget_ms(course: Course, lessons: Lessons) -> float:
    """The least budget beyond the target's that a network which was looked at keeps to, after a file missed it."""
    reachable = [lessons.reachable_ms(one) for one in course.left if one.key in course.looked_at]
    # The file that missed is among them, but another budget's look at it may have been faster since.
    reachable += [outcome.times.lasting_ms * HEADROOM for outcome in course.outcomes if outcome.times is not None]
    return min(ms for ms in reachable if ms > course.target.budget_ms)
