"""One measured difference of a group, and the rule by which it counts.

A measure is `flagged` where three things hold: its q-value (Benjamini and Hochberg, over all measures of its family) is below
0.05, its effect is at least the family's threshold, and its 95 % interval ends beyond half of the threshold (of ratios: beyond
its square root). What rests on too few documents is `insufficient`, and is not counted among the tests. All else is `none`,
which says no more than that no difference of at least `detectable` would have been missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from curate.audit.bias.statistics import Estimate, adjusted

__all__ = ["LEAST_DOCUMENTS", "LEAST_JOINT", "RATIO", "SIGNIFICANT", "Measure", "decide", "passes"]

SIGNIFICANT = 0.05
RATIO = 1.5
"""An odds ratio of at least this, or at most its inverse, is an effect."""
DELTA = 0.147
"""Cliff's delta from which a difference is said to be more than negligible (Romano et al. 2006)."""
LEAST_DOCUMENTS = 30
LEAST_JOINT = 10
Verdict = Literal["flagged", "explained", "none", "insufficient"]
THRESHOLDS = {"odds ratio": RATIO, "ratio": 2.0, "delta": DELTA, "d": 0.5}


@dataclass(frozen=True, slots=True)
class Measure:
    """A difference between a group and all others.

    Attributes:
        family: What kind of difference.
        subject: The stage, attribute, score or label that it is about.
        axis: Of the group.
        group: Whose difference.
        n: Documents (or sentences) of the group.
        others: Those that it is compared with.
        effect: Name of `value`: `odds ratio`, `ratio` (of shares), `delta`, `d` (WEAT).
        estimate: The effect with its interval; None where there is too little to tell.
        q: Of the family.
        verdict: What follows.
        detectable: The least effect that would be found with 80 % power.
        facts: Other numbers of the family.
    """

    family: str
    subject: str
    axis: str
    group: str
    n: int
    others: int
    effect: str
    estimate: Estimate | None = None
    q: float | None = None
    verdict: Verdict = "insufficient"
    detectable: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Flat: `value`, `low`, `high`, `p` in place of the estimate."""
        plain = asdict(self) | {"facts": None, "estimate": None}
        numbers = self.estimate._asdict() if self.estimate else dict.fromkeys(Estimate._fields)
        return {key: plain[key] for key in plain if key not in ("facts", "estimate")} | numbers | dict(self.facts)


def passes(estimate: Estimate, effect: str) -> bool:
    """Whether an effect is large, and its interval ends beyond half of the threshold."""
    threshold = THRESHOLDS[effect]
    if effect in ("delta", "d"):
        low, value, high, half = estimate.low, estimate.value, estimate.high, threshold / 2
    else:
        low, value, high = (math.log(max(one, 1e-300)) for one in (estimate.low, estimate.value, estimate.high))
        threshold, half = math.log(threshold), math.log(threshold) / 2
    return (value >= threshold and low > half) or (value <= -threshold and high < -half)


def decide(measures: Sequence[Measure]) -> list[Measure]:
    """The measures of one family with their q-values and verdicts; those without an estimate are `insufficient`."""
    tested = [one for one in measures if one.estimate and one.estimate.p is not None]
    values = iter(adjusted([one.estimate.p for one in tested if one.estimate and one.estimate.p is not None]))
    decided = []
    for one in measures:
        if one.estimate is None:
            decided.append(replace(one, verdict="insufficient"))
            continue
        q = next(values) if one.estimate.p is not None else None
        large = q is not None and q < SIGNIFICANT and passes(one.estimate, one.effect)
        decided.append(replace(one, q=q, verdict="flagged" if large else "none"))
    return decided
