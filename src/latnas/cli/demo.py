"""`latnas demo`: the three stages on this CPU, with embedded images, and the baselines that a search must beat."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from latnas.cli import show, show_latency
from latnas.data.sources import DEFAULT, load_images
from latnas.errors import UsageError
from latnas.ranking.features import Reduction
from latnas.spaces.space import make_space
from latnas.stages.common.estimate import ExportSizes, export_seconds, profile_seconds, search_seconds, time_steps
from latnas.stages.common.options import SearchOptions
from latnas.stages.export import ExportConfig, advice_of, export
from latnas.stages.profile import ProfileConfig, Profiled, profile, setting_of
from latnas.stages.search import SearchConfig, search
from latnas.words.files import at_home
from latnas.words.reporting import Reporter
from latnas.words.table import load_table

PROFILE_SECONDS = 30.0
SECONDS_PER_ROUND = 0.1
WORKERS = 2


@dataclass(frozen=True)
class Preset:
    """Sizes of the three stages."""

    width: int
    depth: int
    calibrate: int
    profile_rounds: int
    search: SearchOptions
    epochs: int


PRESETS = {
    "quick": Preset(
        width=8, depth=1, calibrate=24, profile_rounds=300, epochs=6,
        search=SearchOptions(
            pool=160, trainings=8, training_steps=300, long_trainings=0, warmup_steps=250, joint_steps=100,
            hypernetwork_steps=150, rounds=2, draws=4, budgets=3,
        ),
    ),
    "smoke": Preset(
        width=4, depth=1, calibrate=8, profile_rounds=12, epochs=1,
        search=SearchOptions(
            pool=16, trainings=4, training_steps=10, long_trainings=0, warmup_steps=20, joint_steps=10,
            hypernetwork_steps=20, rounds=1, draws=1, budgets=3,
        ),
    ),
}  # fmt: skip


def run_demo(preset: str, out: Path, json: bool, report: Reporter) -> None:
    """Runs the demo and prints its table.

    Raises:
        UsageError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}. Known: {', '.join(PRESETS)}.")
    sizes, out = PRESETS[preset], Path(at_home(str(out)))
    began = time.monotonic()
    for line in _plan(sizes):
        report.say(line)
    profiled = _profiled(
        ProfileConfig(
            width=sizes.width,
            depth=sizes.depth,
            calibrate=sizes.calibrate,
            rounds=sizes.profile_rounds,
            max_seconds=PROFILE_SECONDS,
            out=out / "latency_tables",
        ),
        report,
    )
    if not json:
        show_latency.show_profiled(profiled)
    searched = search(
        SearchConfig(table=profiled.path, out=out / "runs", **sizes.search.model_dump()),
        report,
    )
    if not json:
        show.show_searched(searched)
    files = export(
        ExportConfig(run=str(searched.run), all=True, baselines=True, epochs=sizes.epochs, batch_size=32), report
    )
    seconds = time.monotonic() - began
    if json:
        show.print_json({"seconds": seconds, **show.exported_json(files)})
    else:
        show.print_exported("one search, a network for each budget, beside two baselines with the same training", files)
        show.show_missed(files)
        print(f"The whole demo took {seconds:.0f} s.")
        show.show_where(files)
    for advice in advice_of(files):
        report.warn(advice)


def _profiled(config: ProfileConfig, report: Reporter) -> Profiled:
    """The table of an earlier demo, by which its search and its files stay; a new one where there is none."""
    path = config.out / f"{setting_of(config, report).name}.json"
    if not path.is_file():
        return profile(config, report)
    report.say(f"measured already: {path}; delete it and {config.out.with_name('runs')} for a demo from the start")
    return Profiled(path, load_table(path), config)


def _plan(sizes: Preset) -> list[str]:
    data = load_images(DEFAULT)
    space = make_space(
        "nasbench201", width=sizes.width, depth=sizes.depth,
        image_size=data.size, channels=data.channels, classes=len(data.classes),
    )  # fmt: skip
    each = time_steps(space, data, Reduction())
    networks = 3 * sizes.search.budgets - 2  # the tightest budget has one network for all three
    made = ExportSizes(networks, sizes.epochs, len(data.train), len(data.test))
    measuring = min(sizes.profile_rounds * SECONDS_PER_ROUND, PROFILE_SECONDS)
    seconds = {
        "profile": profile_seconds(len(space.trace.operations), sizes.calibrate, measuring),
        "search": search_seconds(sizes.search, each, WORKERS).total,
        "export": export_seconds(made, each, WORKERS),
    }
    lines = ", ".join(f"{stage} about {value:.0f} s" for stage, value in seconds.items())
    return [f"On this machine: {lines}; {sum(seconds.values()) / 60:.1f} minutes in all."]
