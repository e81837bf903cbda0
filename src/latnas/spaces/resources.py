"""What an architecture takes: parameters, multiply-adds, bytes of the exported file, peak memory of activations.

The first two add up over decisions. The last two do not; they are read off one run of the network. For them the solver
gets necessary conditions that do add up, so that it need not enumerate what can never fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from latnas.spaces.choice import path_of
from latnas.spaces.primitives import BATCH_NORM, CONVOLUTION, PrimitiveRun, run_primitives
from latnas.spaces.tracing import TracedOperation
from latnas.words.architecture import Architecture
from latnas.words.bounds import Limit
from latnas.words.costs import AdditiveCost, cost_of_sites, macs_cost, params_cost
from latnas.words.limits import Amounts, Limits
from latnas.words.sites import Site, SpaceTrace

BYTES_PER_WEIGHT = 4

FILE_BYTES = 700
"""What an ONNX file takes beside its weights and operations. Fitted with `OPERATION_BYTES` to twenty exported networks
of `nasbench201` and `mbconv` (widths 4 to 16, 19 kB to 1.1 MB): estimates lie 0.2 to 3.8 percent above the files. Of
four networks of `darts` three lie 0.6 to 1.6 percent above, and one, of 68 kB, 7 percent."""

OPERATION_BYTES: Mapping[str, int] = {
    CONVOLUTION: 580, "relu": 115, "add": 125, "mul": 125, "avg_pool2d": 280,
    "mean": 170, "addmm": 600, BATCH_NORM: 800,
}  # fmt: skip
"""Node, names and shapes of an operation and of its weights. A batch normalisation that is folded takes none."""

OTHER_OPERATION_BYTES = 500
SLICE_BYTES = 200


class Resources:
    """What the architectures of one space take.

    Args:
        network: a supernet.
        trace, operations: of the same network.
        example: one image, [1, C, H, W].
        metadata_bytes: what the exported file says of itself.
    """

    def __init__(
        self,
        network: nn.Module,
        trace: SpaceTrace,
        operations: Mapping[str, TracedOperation],
        example: Tensor,
        metadata_bytes: int,
    ) -> None:
        self._network, self._trace, self._operations, self._example = network.eval(), trace, operations, example
        self._metadata_bytes = metadata_bytes
        self.params, self.macs = params_cost(trace), macs_cost(trace)
        self._known: dict[str, Amounts] = {}

    def amounts(self, architecture: Architecture) -> Amounts:
        """What a canonical architecture takes. Remembered, since a large network takes some 10 ms."""
        if architecture.key not in self._known:
            run = run_primitives(self._network, [self._example], path_of(architecture, self._trace.decisions))
            self._known[architecture.key] = Amounts(
                int(self.params.cost(architecture)),
                int(self.macs.cost(architecture)),
                file_bytes(run) + self._metadata_bytes,
                run.peak_bytes,
            )
        return self._known[architecture.key]

    def keep(self, limits: Limits, architecture: Architecture) -> bool:
        """Whether a canonical architecture keeps to all limits. What is cheap to know is looked at first."""
        sums = ((limits.params, self.params), (limits.macs, self.macs))
        if any(most is not None and cost.cost(architecture) > most for most, cost in sums):
            return False
        if limits.file_bytes is None and limits.memory_bytes is None:
            return True
        return limits.allow(self.amounts(architecture))

    def solver_limits(self, limits: Limits, setting: str) -> tuple[Limit, ...]:
        """Additive limits that everything within `limits` keeps to; for parameters and multiply-adds exactly these."""
        found = []
        for most, cost in ((limits.params, self.params), (limits.macs, self.macs)):
            if most is not None:
                found.append(Limit(cost.vectors(setting), float(most), cost.fixed(setting)))
        if limits.file_bytes is not None:
            least = self._least_file_bytes(setting)
            found.append(Limit(least.vectors(setting), float(limits.file_bytes), least.fixed(setting)))
        if limits.memory_bytes is not None:
            peaks = self.part_peaks(setting)
            # Counts the items that need more than there is, however little else the network has.
            found.append(Limit(tuple((vector > limits.memory_bytes).astype(float) for vector in peaks), 0.0))
        return tuple(found)

    def part_peaks(self, setting: str) -> tuple[np.ndarray, ...]:
        """One vector [I] for each decision: bytes of activations that an item's parts need, each by itself."""
        peaks: dict[tuple[str, str], int] = {}
        for site in self._trace.sites[setting]:
            key = (site.decision, site.part)
            peaks[key] = max(peaks.get(key, 0), self._alone[site.operation].peak_bytes)
        return tuple(
            np.array([max(peaks.get((d.name, part), 0) for part in item.parts) for item in d.items])
            for d in self._trace.decisions
        )

    def _least_file_bytes(self, setting: str) -> AdditiveCost:
        """Bytes of the file that parts account for by themselves: never more than `file_bytes` of the network."""
        cost = cost_of_sites(self._trace, "bytes", lambda site: _least_bytes(self._alone[site.operation], site))
        return cost.scaled(1.0, offset=float(FILE_BYTES + self._metadata_bytes))

    @cached_property
    def _alone(self) -> Mapping[str, PrimitiveRun]:
        """Every operation of the trace, run by itself."""
        return {name: run_primitives(one.module, one.example) for name, one in self._operations.items()}


def file_bytes(run: PrimitiveRun) -> int:
    """The size of the exported FP32 ONNX file of a network, without its metadata: estimated from above.

    A batch normalisation that alone reads a convolution is folded into it: of its four numbers a channel one is left.
    """
    folded = run.folded_norms
    return FILE_BYTES + _node_bytes(run, len(folded)) + BYTES_PER_WEIGHT * (run.stored - 3 * sum(folded))


def _least_bytes(run: PrimitiveRun, site: Site) -> float:
    """What a part adds to the file at least: as if every batch normalisation could be folded."""
    norms = [operation for operation in run.operations if operation.kind == BATCH_NORM]
    # What runs a second time stores nothing more.
    weights = run.stored - 3 * sum(operation.constants[0] for operation in norms) if site.params else 0
    return float(_node_bytes(run, len(norms)) + BYTES_PER_WEIGHT * weights)


def _node_bytes(run: PrimitiveRun, folded_norms: int) -> int:
    nodes = sum(OPERATION_BYTES.get(operation.kind, OTHER_OPERATION_BYTES) for operation in run.operations)
    return nodes + SLICE_BYTES * run.slices - OPERATION_BYTES[BATCH_NORM] * folded_norms
