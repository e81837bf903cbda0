"""The trained files measured on the device of the table: what a manifest calls measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from latnas.latency.looks import LOOKS
from latnas.latency.workload import Workload
from latnas.spaces.space import Space
from latnas.stages.export.form import PLAIN, Form
from latnas.stages.export.lessons import FILE, MODULE
from latnas.stages.export.measuring import Bench, Times
from latnas.stages.export.shipments import Shipment
from latnas.words.architecture import Architecture


def measure_files(shipments: Sequence[Shipment], space: Space, bench: Bench, form: Form = PLAIN) -> dict[str, Times]:
    """Times by the folder of the target; of each distinct network one file, which is of this form, is measured.

    Where the runtime takes no files, the modules are measured in their place.
    """
    by_key: dict[str, list[Shipment]] = {}
    for shipment in shipments:
        by_key.setdefault(shipment.architecture.key, []).append(shipment)
    if bench.takes_files:
        example = form.example(space, len(bench.example))
        workloads = {key: Workload.from_file(same[0].file, example) for key, same in by_key.items()}
    else:
        workloads = {
            key: form.finalist(bench.network(same[0].architecture), space, len(bench.example), False)
            for key, same in by_key.items()
        }
    names = {key: same[0].architecture for key, same in by_key.items()}
    what = form.called(FILE if bench.takes_files else MODULE)
    budgets_ms = {key: min(shipment.target.budget_ms for shipment in same) for key, same in by_key.items()}
    found = look_again(bench, workloads, names, what, lambda key, times: times.lasting_ms > budgets_ms[key])
    return {shipment.target.folder: found[key] for key, same in by_key.items() for shipment in same}


def look_again(
    bench: Bench,
    workloads: Mapping[str, Workload],
    names: Mapping[str, Architecture],
    what: str,
    fails: Callable[[str, Times], bool],
) -> dict[str, Times]:
    """Measures workloads, those that fail a few times more; of each a look that passes counts, else the fastest.

    A floor is the mean of the faster bursts, and nothing but the network makes it low: a device that is busy for a
    minute raises the floors of large networks by a tenth.
    """
    found = bench.measure(workloads, names, what)
    for _ in range(LOOKS - 1):
        failing = {key: workloads[key] for key in workloads if fails(key, found[key])}
        if not failing:
            break
        again = bench.measure(failing, names, what)
        for key, times in again.items():
            passes = not fails(key, times)
            found[key] = times if passes else min(found[key], times, key=lambda look: look.lasting_ms)
    bench.warn_of_slow_calls(found.values())
    return found
