"""What better data is worth in compute: how many times the training the first arm would need to do as well.

A learning curve cannot tell: before the end of its schedule a model is worse than one that was trained for as long. So the
first arm is trained on half and on twice the tokens, too, each with a schedule of its own, and a power law L(C) = a C^-b is put
through the three budgets by least squares. An arm that is better by d bits of log L is worth 2^(d / b) times the compute.

d and b are means over the same seeds, so the interval of their quotient is Fieller's (1954), which holds however uncertain b
is; where b might be zero there is none. Nothing is told beyond the budgets that were tried: it says "more than 2 times".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curate.evaluation.ablation.infer import LEVEL, t_interval

__all__ = ["BUDGETS", "equivalents", "fieller"]

BUDGETS = (0.5, 2.0)
"""Of the first arm, beside what all arms get."""


def equivalents(
    first: Sequence[float | None],
    budgets: Mapping[float, Sequence[float | None]],
    arms: Mapping[str, Sequence[float | None]],
) -> dict[str, Any]:
    """The compute that each arm is worth, in multiples of what it was given.

    Args:
        first: The endpoint of the first arm by seed; None where it diverged.
        budgets: The same of its trainings with half and twice the tokens.
        arms: The endpoint of the other arms.

    Returns:
        Of each arm `times`, and `low` and `high` of its 95% interval, all between the least and the greatest budget, with
        `beyond`: which of the three lie outside and were put at the end; None where it cannot be told. `exponent`: b of the
        power law, mean over seeds. `bends`: whether the three budgets are shown not to lie on one.
    """
    half, twice = (budgets[one] for one in BUDGETS)
    rows = {at: row for at, row in enumerate(zip(half, first, twice, strict=True)) if None not in row}
    logs = {at: [math.log2(value or math.nan) for value in row] for at, row in rows.items()}
    slopes = {at: (high - low) / 2 for at, (low, _, high) in logs.items()}
    bends = t_interval([middle - (low + high) / 2 for low, middle, high in logs.values()]) if len(logs) > 1 else None
    found: dict[str, Any] = {}
    for name, values in arms.items():
        both = [at for at in logs if values[at] is not None]
        gains = [math.log2(values[at] or math.nan) - logs[at][1] for at in both]
        found[name] = _times(fieller(gains, [slopes[at] for at in both]))
    return {
        "budgets": {str(one): list(values) for one, values in budgets.items()},
        "exponent": -sum(slopes.values()) / len(slopes) if slopes else None,
        "bends": bends is not None and bends.p is not None and bends.p < LEVEL, "arms": found,
    }  # fmt: skip


def fieller(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float] | None:
    """The quotient of two means of paired values, and its 95% interval; None where the lower mean might be zero."""
    from scipy.stats import t

    count = len(above)
    if count < 2:
        return None
    mean = np.array([np.mean(above), np.mean(below)])
    spread = np.cov(above, below, ddof=1) * float(t.ppf(1 - LEVEL / 2, count - 1)) ** 2 / count
    # all g for which t does not refuse a zero mean of above - g below: a g^2 - 2 b g + c <= 0
    a, b, c = (
        mean[1] ** 2 - spread[1, 1], mean[0] * mean[1] - spread[0, 1], mean[0] ** 2 - spread[0, 0],
    )  # fmt: skip
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return float(mean[0] / mean[1]), float((b - root) / a), float((b + root) / a)


def _times(found: tuple[float, float, float] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    ends = [math.log2(one) for one in BUDGETS]
    inside = [min(max(value, ends[0]), ends[1]) for value in found]
    names = ("times", "low", "high")
    beyond = [name for name, value, shown in zip(names, found, inside, strict=True) if value != shown]
    return {**{name: 2**value for name, value in zip(names, inside, strict=True)}, "beyond": beyond}
