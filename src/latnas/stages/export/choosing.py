"""Which network is trained for each budget: the preferred one of those that measure within it."""

from __future__ import annotations

from collections.abc import Sequence

from latnas.latency.workload import Workload
from latnas.stages.export.job import Job
from latnas.stages.export.measuring import Bench
from latnas.stages.export.targets import ATTEMPTS, Target, first_within
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms


def choose(
    job: Job, targets: Sequence[Target], bench: Bench | None, quoted: dict[str, float]
) -> list[tuple[Architecture, bool]]:
    """For each target the architecture to train, and whether it fits as far as was measured.

    Candidates are measured a few for each budget at a time, until one fits or there are no more; `quoted` remembers the
    measurements, in ms by key.
    """
    if bench is None:
        return [(target.candidates[0], True) for target in targets]
    supernet, finalists = job.space.network(seed=0), job.config.finalists
    for attempt in range(ATTEMPTS):
        wanted = {
            candidate.key: candidate
            for target in targets
            if first_within(target, quoted) is None
            for candidate in target.candidates[attempt * finalists : (attempt + 1) * finalists]
            if candidate.key not in quoted
        }
        if wanted:
            workloads = {key: Workload(job.space.derive(supernet, a), bench.example) for key, a in wanted.items()}
            found = bench.measure(workloads, wanted, "untrained module")
            quoted |= {key: times.lasting_ms for key, times in found.items()}
    chosen = []
    for target in targets:
        fitting = first_within(target, quoted)
        if fitting is None:
            fitting = min((c for c in target.candidates if c.key in quoted), key=lambda c: quoted[c.key])
            job.report.warn(
                f"no candidate measured safely within {format_ms(target.budget_ms)} ({target.kind}); the nearest takes "
                f"{format_ms(quoted[fitting.key])}"
            )
            chosen.append((fitting, False))
        else:
            chosen.append((fitting, True))
    return chosen
