"""Which networks are worth measuring: those after which the predictions of all others are surest.

Drawn blindly, 40 networks leave some classes of contexts to one or two of them. Chosen greedily, each so that the mean
variance of all predictions falls most (an A-optimal design, here of a Bayesian linear model: Chaloner and Verdinelli,
"Bayesian experimental design: a review", 1995, section 2), 40 networks are worth 80: `docs/latency.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latnas.latency.problem import Freedom, Problem, Sample, features, problem_of, varying
from latnas.words.costs import PartCosts

FREEDOM = Freedom(kind=1.0, part=0.03, context=1.0)


def most_informative(
    sample: Sample, prior: PartCosts, measured: Sequence[int], candidates: Sequence[int], count: int
) -> list[int]:
    """The candidates to measure next, the most informative first.

    Args:
        sample: networks that predictions are wanted for.
        prior: isolated milliseconds of their parts.
        measured: positions in `sample` of networks that will be measured anyway.
        candidates: positions to choose from, without repetition.
        count: how many; all candidates if there are no more.
    """
    problem = problem_of(sample, None, prior, varying(sample.contexts))
    rows = features(problem, problem, FREEDOM)
    covariance = np.eye(rows.shape[1])
    for position in measured:
        covariance = _after(covariance, rows[position])
    left, chosen = list(candidates), list[int]()
    while left and len(chosen) < count:
        reached = rows[left] @ covariance
        falls = np.square(rows @ reached.T).mean(axis=0) / (1.0 + np.einsum("ij,ij->i", reached, rows[left]))
        chosen.append(left.pop(int(falls.argmax())))
        covariance = _after(covariance, rows[chosen[-1]])
    return chosen


def spreads(fitted: Problem, freedom: Freedom, typical: Problem) -> tuple[np.ndarray, np.ndarray]:
    """How far measurements should lie from predictions, in units of the noise.

    Returns:
        [N] of the networks that were fitted, each predicted from all others; and [M] of `typical` ones.
    """
    rows, others = features(fitted, fitted, freedom), features(typical, fitted, freedom)
    covariance = np.linalg.inv(rows.T @ rows + np.eye(rows.shape[1]))
    own = np.einsum("ij,jk,ik->i", rows, covariance, rows)
    new = np.einsum("ij,jk,ik->i", others, covariance, others)
    return 1.0 / np.sqrt(np.maximum(1.0 - own, 1e-6)), np.sqrt(1.0 + new)


def _after(covariance: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The covariance of the parameters once a network has been measured (Sherman and Morrison)."""
    reached = covariance @ row
    updated: np.ndarray = covariance - np.outer(reached, reached) / (1.0 + row @ reached)
    return updated
