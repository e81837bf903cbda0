"""How well predicted latencies agree with measured ones: errors, shares within 5 and 10 percent, rank correlations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from latnas.words.table import Quality


def agreement(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Quality:
    """Errors are relative to what was measured. Correlations are None where either side has one value only."""
    predicted, measured = np.asarray(predicted_ms, float), np.asarray(measured_ms, float)
    errors = np.abs(predicted / measured - 1.0)
    ranked = len(np.unique(predicted)) > 1 and len(np.unique(measured)) > 1
    return Quality(
        networks=len(errors),
        mean_error=float(errors.mean()),
        within5=float(np.mean(errors <= 0.05)),
        within10=float(np.mean(errors <= 0.10)),
        worst=float(errors.max()),
        spearman=float(stats.spearmanr(predicted, measured).statistic) if ranked else None,
        kendall=float(stats.kendalltau(predicted, measured).statistic) if ranked else None,
    )
