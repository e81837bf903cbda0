"""Manifests of exports, damaged by a catalogue: `latnas verify` and `measure.py` end with a code of theirs."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import pytest
from damages import of_any_file, of_json
from small import run_in
from typed_here import everything, restore, type_here

from latnas.latency import on_device

EACH = 40
"""Of so many damages one is tried."""
DONE, FAILED, MISSED = 0, 1, 3


def test_a_damaged_manifest_is_taken_or_refused_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted(run_in(here).glob("exports/*/*/manifest.json"))[0]
    start, content = everything(here), path.read_bytes()
    faults = []
    for damage in islice(chain(of_any_file(content), of_json(content)), 0, None, EACH):
        damage.apply(path)
        shown = type_here(["verify", "--rounds", "4", "--quiet"])
        alone = on_device.main(path.parent, ["--rounds", "2"])
        printed = capsys.readouterr()
        # A file with a budget of the analytic runtime is measured, and then said to be not checked.
        verdicts = [line for line in printed.out.splitlines() if line.startswith("not checked: ")]
        lines = shown.stderr.splitlines() + printed.err.splitlines() + verdicts
        sound = shown.raised is None and {shown.code, alone} <= {DONE, FAILED, MISSED}
        refused = [line for line in lines if line.startswith(("latnas: ", "measure.py: ", "not checked: "))]
        expected = (shown.code != DONE) + (alone == FAILED)
        if not sound or len(refused) != expected or not all(line.isprintable() for line in lines):
            faults.append(f"{damage.name}: {shown.code}, {alone}, {lines}, {shown.raised!r}"[:400])
        restore(here, everything(here), start)
    assert not faults, "\n".join(faults)
