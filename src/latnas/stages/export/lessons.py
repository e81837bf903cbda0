"""What measurements have taught of the networks of one front: those of this export, and of earlier ones.

Front and table stay as they are; this corrects them. All times are ms in the quoted statistic. A time *at the table's
speed* is one measured, divided by what the anchor took meanwhile over what it took for the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from latnas.errors import LatnasError
from latnas.stages.export.form import PLAIN, Form
from latnas.stages.export.measuring import Times
from latnas.words.architecture import Architecture
from latnas.words.files import read_lines
from latnas.words.forms import LoggedMeasurement
from latnas.words.front import Front
from latnas.words.latency import LatencyModel
from latnas.words.versioned import first_problem

HEADROOM = 1.03
"""A finalist must measure this far below its budget: minutes later, after its training, a device is up to 3 percent
slower, and the trained file itself up to one."""

FINALIST, FILE, MODULE = "untrained module", "shipped file", "trained module"
"""What the log calls a network before its training, and after: what ships, or where the runtime takes no files, the
module in its place."""


@dataclass
class Lessons:
    """What is known of each network before its file is measured.

    Attributes:
        latency: the front's model of it, for networks that the front does not know.
        frozen: the front's predictions by key.
        before: finalists by key, at the table's speed: of earlier exports, and by now of this one.
        errors: measured over frozen prediction by key, at the table's speed, earlier exports included.
        margin: how much longer than its finalist a file may be expected to take, both at one speed of the device.
        slowdown: of the device at the moment against the table, at least 1: a fast one will be slower again.
        finalists: of this export by key, as measured, or at the table's speed if that is slower.
        doubted: those of them that are to be measured again, since the device was slower then than it is now.
        files: shipped files of this export by the key of their network, likewise.
    """

    latency: LatencyModel
    frozen: Mapping[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    margin: float = HEADROOM
    slowdown: float = 1.0
    finalists: dict[str, float] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)
    files: dict[str, float] = field(default_factory=dict)

    @property
    def factor(self) -> float:
        """How much longer than predicted networks take, by the median of those of the front that were measured."""
        return median(self.errors.values()) if self.errors else 1.0

    def predict_ms(self, architecture: Architecture) -> float:
        """The prediction as it was when the search ended."""
        known = self.frozen.get(architecture.key)
        return self.latency.predict_ms(architecture) if known is None else known

    def expected_ms(self, architecture: Architecture) -> float:
        """The corrected prediction: what the network measures, or would measure now, before its training."""
        key = architecture.key
        if key in self.finalists and key not in self.doubted:
            return self.finalists[key]
        corrected = self.before[key] if key in self.before else self.factor * self.predict_ms(architecture)
        return corrected * self.slowdown

    def doubt(self, architecture: Architecture, budget_ms: float) -> bool:
        """Has a finalist measured again, and says so, if by what the device takes now it would fit."""
        key = architecture.key
        known = key in self.finalists and key in self.before and key not in self.files
        if known and self.before[key] * self.slowdown * self.margin <= budget_ms:
            self.doubted.add(key)
        return key in self.doubted

    def may_fit(self, architecture: Architecture, budget_ms: float) -> bool:
        """Whether the lower end of the corrected interval is within the budget."""
        return self.expected_ms(architecture) * self.latency.table.calibration.low <= budget_ms

    def should_fit(self, architecture: Architecture, budget_ms: float) -> bool:
        """Whether the network is expected to leave its file the room that it needs."""
        return self.expected_ms(architecture) * self.margin <= budget_ms

    def file_ms(self, architecture: Architecture) -> float:
        """What the network's file takes, or is to be allowed for; infinite if nothing was measured."""
        return self.files[architecture.key] if architecture.key in self.files else self._allowed_ms(architecture)

    def measured_ms(self, architecture: Architecture) -> float:
        """What was measured of a network: of its file, or else before its training."""
        key = architecture.key
        return self.files[key] if key in self.files else self.finalists[key]

    def fits(self, architecture: Architecture, budget_ms: float) -> bool:
        """Whether what was measured of the network says that its file is within the budget."""
        return self.file_ms(architecture) <= budget_ms

    def reachable_ms(self, architecture: Architecture) -> float:
        """A budget that another export of the network keeps to."""
        return max(self._allowed_ms(architecture), self.files.get(architecture.key, 0.0) * HEADROOM)

    def _allowed_ms(self, architecture: Architecture) -> float:
        """Of a file that is not measured: as its finalist, or as that would take by now if the device is slower."""
        key = architecture.key
        finalist_ms = self.finalists.get(key, float("inf"))
        return max(finalist_ms, self.before.get(key, 0.0) * self.slowdown) * self.margin

    def note_finalist(self, architecture: Architecture, times: Times) -> None:
        """Learns from a network that was measured before its training."""
        key = architecture.key
        self.finalists[key], self.before[key] = times.lasting_ms, times.quoted_ms / times.drift
        self.doubted.discard(key)
        if self.frozen.get(key, 0.0) > 0:
            self.errors[key] = self.before[key] / self.frozen[key]
        self.slowdown = max(times.drift, 1.0)

    def note_file(self, architecture: Architecture, times: Times, missed: bool) -> None:
        """Learns from a file. Only of one that missed a budget the ratio counts: it was looked at several times."""
        self.files[architecture.key] = times.lasting_ms
        self.slowdown = max(times.drift, 1.0)
        if missed and architecture.key in self.finalists:
            self.margin = max(self.margin, self.ratio(architecture, times))

    def ratio(self, architecture: Architecture, times: Times) -> float:
        """How much longer a file takes than its finalist, both at the table's speed.

        Of a finalist of an export that was stopped, whose log is gone, that speed is taken for its own.
        """
        key = architecture.key
        return times.quoted_ms / times.drift / self.before.get(key, self.finalists[key])


def read_lessons(log: Path, front: Front, latency: LatencyModel, form: Form = PLAIN) -> Lessons:
    """What earlier exports in this form have left in `measurements.jsonl`; nothing if there were none.

    Raises:
        LatnasError: a line is no measurement.
    """
    frozen = {network.as_architecture.key: network.predicted_ms.value for network in front.networks}
    names = {form.called(FINALIST): FINALIST, **{form.called(what): FILE for what in (FILE, MODULE)}}
    looks: dict[str, dict[str, list[float]]] = {FINALIST: {}, FILE: {}}
    for number, line in enumerate(read_lines(log), start=1):
        one = _logged(line, log, number)
        if one.what in names:
            key = Architecture.from_json(one.architecture).key
            looks[names[one.what]].setdefault(key, []).append(latency.quoted_ms(one.floor_ms) / one.anchor_drift)
    finalists, files = ({key: median(found) for key, found in looks[what].items()} for what in (FINALIST, FILE))
    ratios = [files[key] / finalists[key] for key in files.keys() & finalists.keys()]
    return Lessons(
        latency,
        frozen,
        before=finalists,
        errors={key: ms / frozen[key] for key, ms in finalists.items() if frozen.get(key, 0.0) > 0},
        margin=max(HEADROOM, median(ratios)) if ratios else HEADROOM,
    )


def _logged(line: object, log: Path, number: int) -> LoggedMeasurement:
    try:
        return LoggedMeasurement.model_validate(line)
    except ValidationError as error:
        raise LatnasError(
            f"{log}, line {number} is no measurement: {first_problem(error)}. Remove the line or the file."
        ) from error
