"""What every step of an export goes by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from latnas.data.images import ImageData
from latnas.spaces.space import Space
from latnas.stages.common.runs import FRONT, TABLE, RunFolder
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.final_training import divided, recipe_for
from latnas.training.trainer import Recipe
from latnas.words.files import read_bytes
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter
from latnas.words.table import LatencyTable


@dataclass(frozen=True)
class Job:
    """One call of `latnas export`.

    Attributes:
        config: what was asked for.
        run: the run that is exported.
        exports: the folder of the front's exports in it.
        space: with the run's limits.
        latency: of the front's table.
        data: the images of the run.
        report: what is told of it.
    """

    config: ExportConfig
    run: RunFolder
    exports: Path
    space: Space
    latency: LatencyModel
    data: ImageData
    report: Reporter

    @property
    def table(self) -> LatencyTable:
        """The front's."""
        return self.latency.table

    @cached_property
    def digests(self) -> list[str]:
        """Of the front and its table, which stay as they are."""
        folder = self.run.front(self.exports.name)
        return [hashlib.sha256(read_bytes(folder / name)).hexdigest() for name in (FRONT, TABLE)]

    @property
    def recipe(self) -> Recipe:
        """Of every final training, without a teacher."""
        config = self.config
        trained_on, _ = divided(self.data, config.seed, config.patience)
        recipe = recipe_for(self.data, len(trained_on), config.epochs, config.batch_size, config.learning_rate)
        return replace(recipe, auxiliary=config.auxiliary, ema=config.ema)
