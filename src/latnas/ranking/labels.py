"""Accuracies after short trainings of several lengths, joined into one label for each architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from latnas.ranking.judge import LEAST_LABELS
from latnas.ranking.label_model import LEAST_LABEL_SPREAD

Observations = Mapping[int, Mapping[str, float]]
"""Accuracy by number of steps, then by key of the architecture."""


def joined(observations: Observations) -> dict[str, float]:
    """One label for each architecture, on the scale of the shortest trainings.

    Longer trainings reach more, and differ by less. So each length is moved and scaled until its mean and deviation
    are those of the shorter ones, among the architectures that have both; then an architecture's labels are averaged.
    Where fewer than four have both, a deviation says nothing, and labels are only moved. Where none has, all are
    compared as they are.
    """
    found: dict[str, list[float]] = {}
    for steps in sorted(observations):
        labels = observations[steps]
        known = {key: float(np.mean(values)) for key, values in found.items()}
        move = _onto(labels, known) if known else (1.0, 0.0)
        for key, label in labels.items():
            found.setdefault(key, []).append(move[0] * label + move[1])
    return {key: float(np.mean(values)) for key, values in found.items()}


def _onto(labels: Mapping[str, float], known: Mapping[str, float]) -> tuple[float, float]:
    """(scale, shift) of `labels`, after which they have mean and deviation of `known`."""
    both = [key for key in labels if key in known]
    ours, theirs = _values(labels, both or labels), _values(known, both or known)
    alike = min(ours.std(), theirs.std()) <= LEAST_LABEL_SPREAD
    scale = 1.0 if alike or 0 < len(both) < LEAST_LABELS else theirs.std() / ours.std()
    return float(scale), float(theirs.mean() - scale * ours.mean())


def _values(labels: Mapping[str, float], keys: Iterable[str]) -> np.ndarray:
    return np.array([labels[key] for key in keys])
